"""The service under test: Tidegate on a Ray cluster of its own, and what it says of itself."""

from __future__ import annotations

import http.client
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.gateway.arms import ArmError
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.ray_arms import RayServeArm

__all__ = ["APP", "Cluster", "Service", "authenticate", "started", "until"]

APP = "tidegate"
_ASK_S = 30.0
_LOOK_S = 0.2
# What is for one process with an engine in it; Tidegate sets it itself where it is needed.
_ENGINES_OWN = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CPU_OMP_THREADS_BIND", "OMP_NUM_THREADS")


def authenticate() -> None:
    """Has this process and the clusters it starts share one token; before Ray is imported."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


class Service(RayServeArm):
    """``serve run`` of a configuration, as ``make serve`` would, on free ports.

    Args:
        args: Tidegate's part of a Serve configuration.
        settings: whose model; nothing else of them is used.
        work: an empty directory with a short path, since sockets lie in it.
    """

    name = APP
    ready_path = "/readyz"
    first_replica_port = 20600

    def __init__(self, args: Mapping[str, Any], settings: EngineSettings, work: Path) -> None:
        super().__init__(settings, work)
        self._key = secrets.token_urlsafe(32)
        self._args = {
            **args,
            "store": {"url": f"sqlite:///{work}/store.db", "data_dir": str(work / "data")},
        }
        self.headers = {"authorization": f"Bearer {self._key}"}

    def config(self) -> dict[str, Any]:
        return self._file(
            {
                "name": APP,
                "route_prefix": "/",
                "import_path": "app.main:build",
                "args": self._args,
            }
        )

    def environment(self) -> dict[str, str]:
        environment = super().environment()
        for name in _ENGINES_OWN:
            environment.pop(name, None)
        return environment | {
            "TIDEGATE_ADMIN_KEY": self._key,
            "RAY_TMPDIR": str(self.work),
            # Ray counts cores; that all fits on those of this machine is what is tried here.
            "RAY_OVERRIDE_RESOURCES": '{"CPU": 16}',
        }

    def address(self) -> str:
        """Where the cluster's GCS listens.

        Raises:
            ArmError: no process of the service knows.
        """
        for pid in self.pids():
            with suppress(OSError):
                for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    if word.startswith(b"--gcs-address="):
                        return word.removeprefix(b"--gcs-address=").decode()
        raise ArmError("the cluster's address is not known: no raylet runs")

    def ready(self) -> bool:
        """Whether every pool has its replicas, by `/readyz`."""
        connection = http.client.HTTPConnection(self.target.host, self.port, timeout=5)
        try:
            connection.request("GET", self.ready_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Cluster:
    """What Serve, the gateway and the engines say of themselves."""

    def gateway(self) -> dict[str, Any]:
        """The gateway's own account."""
        from ray import serve

        handle = serve.get_app_handle(APP)
        status: dict[str, Any] = handle.status.remote().result(timeout_s=_ASK_S)
        return status

    def moves(self) -> dict[str, int]:
        """How often requests that had begun went on elsewhere, by the way they did."""
        moves: dict[str, int] = self.gateway()["moves"]
        return moves

    def engines(self, part: str = "") -> list[str]:
        """The deployments of engines whose name holds this part."""
        return [
            name
            for name in self._details()
            if "--" in name and not name.startswith("ledger--") and part in name
        ]

    def engine(self, deployment: str) -> dict[str, Any]:
        """The status of a deployment's only replica."""
        from ray import serve

        handle = serve.get_deployment_handle(deployment, APP)
        status: dict[str, Any] = handle.status.remote().result(timeout_s=_ASK_S)
        return status

    def drain(self, deployment: str, deadline_s: float) -> None:
        """Tells a deployment's only replica to drain, as a node watcher would."""
        from ray import serve

        serve.get_deployment_handle(deployment, APP).drain.remote(deadline_s).result(
            timeout_s=_ASK_S
        )

    def pids(self, deployment: str) -> list[int]:
        """The processes of a deployment's running replicas."""
        replicas = self._details()[deployment]["replicas"]
        return [int(r["pid"]) for r in replicas if r["state"] == "RUNNING"]

    def kill(self, deployment: str) -> float:
        """SIGKILL to a deployment's only replica; returns when, by ``time.perf_counter``."""
        (pid,) = self.pids(deployment)
        os.kill(pid, signal.SIGKILL)
        return time.perf_counter()

    @staticmethod
    def _details() -> dict[str, Any]:
        from ray.serve.context import _get_global_client

        client = _get_global_client()
        assert client is not None
        deployments: dict[str, Any] = client.get_serve_details()["applications"][APP]["deployments"]
        return deployments


def until(condition: Callable[[], bool], timeout_s: float) -> float:
    """Waits for a condition; returns the seconds it took.

    Raises:
        TimeoutError: it did not become true in time.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"not so within {timeout_s:g} s")
        time.sleep(_LOOK_S)
    return time.monotonic() - began


@contextmanager
def started(
    args: Mapping[str, Any], model: Path, step: Callable[[str], None], timeout_s: float = 600.0
) -> Iterator[tuple[Service, Cluster]]:
    """Starts the service, joins its cluster as a driver, and ends both.

    Raises:
        ConfigError: the configuration is wrong.
        ArmError: it did not become ready; with the end of its log.
    """
    import ray

    from app.config import parse_config

    # Serve would try again and again.
    parse_config(dict(args))

    with tempfile.TemporaryDirectory(prefix="tg", ignore_cleanup_errors=True) as work:
        service = Service(args, EngineSettings(model.resolve()), Path(work))
        step("starting the service")
        try:
            service.start()
            step(f"ready after {service.wait_ready(timeout_s):.0f} s")
            ray.init(address=service.address(), namespace="serve", log_to_driver=False)
            yield service, Cluster()
        finally:
            ray.shutdown()
            step("stopping the service")
            service.stop()
