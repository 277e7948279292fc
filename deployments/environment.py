"""Environment variables of every process: Ray Serve's modes, and vLLM's settings by role."""

import atexit
import contextlib
import os
import shutil
import socket
import tempfile

from app.config import Device, Executor, PoolConfig
from app.placement import engine_executor


def serve_environment() -> dict[str, str]:
    """What must be set where the cluster is started, since Serve's controller reads it there.

    Of Serve's ingress modes, HAProxy straight to the gateways together with the throughput mode
    (user code on the replica's main loop) costs the least; benchmarks/ has the figures.
    """
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # Without it the first token waits for more data to share its packet.
        "RAY_SERVE_HAPROXY_TCP_NODELAY": "1",
        # Ray would have each request's log line parsed in Python; the gateway counts for itself.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # How long a stopping gateway stays reachable for proxies that have not heard.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
    }


def second_cluster_environment() -> dict[str, str]:
    """What a further cluster on the same machine needs: HAProxy's files and ports of its own."""
    folder = tempfile.mkdtemp(prefix="tg-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    metrics, stats = _free_ports(2)
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
    }


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def front_end_environment() -> dict[str, str]:
    """Environment of every process that runs a part of vLLM."""
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "WARNING"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if "HF_HUB_OFFLINE" in os.environ:
        environment["HF_HUB_OFFLINE"] = os.environ["HF_HUB_OFFLINE"]
    return environment


def engine_environment(pool: PoolConfig) -> dict[str, str]:
    """Environment of an engine's process, to be set before vLLM is imported."""
    environment = front_end_environment()
    if pool.resources.device is Device.CPU:
        # One engine must neither pin itself to the first cores nor start threads for all of them:
        # several share a node.
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        environment["OMP_NUM_THREADS"] = str(pool.engine.omp_threads or os.cpu_count() or 1)
        if engine_executor(pool.engine, pool.resources) is Executor.UNI:
            environment["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        if pool.engine.enforce_eager and pool.engine.world_size > 1:
            # A function of vLLM's that only divided engines use would be compiled all the same, for
            # seconds, while the first request waits.
            environment["TORCHDYNAMO_DISABLE"] = "1"
        if pool.disaggregated is not None:
            # What a node without fast network hardware has; UCX would look for more for seconds.
            environment["UCX_TLS"] = "tcp,self,sm"
    if pool.disaggregated is not None:
        environment["NIXL_LOG_LEVEL"] = "WARN"
    if pool.engine.world_size > 1:
        environment["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
    return environment | pool.engine.env
