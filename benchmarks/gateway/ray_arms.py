"""The arms that run on Ray Serve: Tidegate, and ``ray.serve.llm`` in its best mode."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gateway.arms import Arm, ArmError, free_port
from benchmarks.gateway.engine import MODEL_NAME, EngineSettings

__all__ = ["KeyedTidegateArm", "RayLlmArm", "RayServeArm", "TidegateArm", "one_pool"]

_ROOT = Path(__file__).resolve().parents[2]
_BUILD = "app.main:build"
_SIZE_CLASSES = ["small", "medium", "large", "xl"]


def _serve_environment() -> dict[str, str]:
    """The environment ``make serve`` gives Ray; imported late, for the arms without it."""
    from deployments.environment import serve_environment

    return serve_environment()


class RayServeArm(Arm):
    """``serve run`` of a generated file, on a Ray cluster of its own.

    Several may run side by side: what Serve would put at a fixed port or path gets a free one.
    """

    first_replica_port: int

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The Serve configuration."""

    def command(self) -> list[str]:
        path = self.work / f"{self.name}.yaml"
        path.write_text(yaml.safe_dump(self.config(), sort_keys=False))
        serve = Path(sys.executable).with_name("serve")
        return [str(serve), "run", "--address", "local", "--app-dir", str(_ROOT), str(path)]

    def environment(self) -> dict[str, str]:
        haproxy = self.work
        first = self.first_replica_port
        return {
            **_serve_environment(),
            **self.settings.environment(),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH")))),
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
            "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "state"),
            "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
            "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
            "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(free_port()),
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(first),
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(first + 99),
            "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(first + 100),
            "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(first + 199),
        }

    def _file(self, application: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "http_options": {"host": self.target.host, "port": self.port},
            "grpc_options": {"port": free_port()},
            "logging_config": {"enable_access_log": False},
            "applications": [dict(application)],
        }


class TidegateArm(RayServeArm):
    """Tidegate as serve_config.yaml has it, but for one pool, one replica and one zone."""

    name = "tidegate"
    ready_path = "/readyz"
    first_replica_port = 20000

    def config(self) -> dict[str, Any]:
        base = yaml.safe_load((_ROOT / "serve_config.yaml").read_text())
        application = next(a for a in base["applications"] if a["import_path"] == _BUILD)
        application["args"] = one_pool(application["args"], self.settings)
        return self._file(application)


class RayLlmArm(RayServeArm):
    """``ray.serve.llm`` with direct streaming, haproxy and throughput mode.

    It chooses vLLM's multi-process executor on a CPU by itself, whatever it is asked for. It needs
    pyarrow, which nothing else here does: a directory with it may stand in PYTHONPATH.
    """

    name = "ray-llm"
    ready_path = "/v1/models"
    first_replica_port = 20200

    def environment(self) -> dict[str, str]:
        return {
            **super().environment(),
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
            "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
            "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": "1",
        }

    def start(self) -> None:
        """See :meth:`Arm.start`.

        Raises:
            ArmError: pyarrow is missing; Serve would try again until the time is over.
        """
        if find_spec("pyarrow") is None:
            raise ArmError("ray.serve.llm needs pyarrow, which is not installed")
        super().start()

    def config(self) -> dict[str, Any]:
        llm = {
            "model_loading_config": {
                "model_id": MODEL_NAME,
                "model_source": str(self.settings.model),
            },
            "accelerator_config": {"kind": "cpu"},
            "engine_kwargs": self.settings.vllm_kwargs(),
            "deployment_config": {"num_replicas": 1},
        }
        return self._file(
            {
                "name": "llm",
                "route_prefix": "/",
                "import_path": "ray.serve.llm:build_openai_app",
                "args": {"llm_configs": [llm]},
            }
        )


class KeyedTidegateArm(TidegateArm):
    """Tidegate with keys, limits that are never met, budgets, prices, journal, store and audit."""

    name = "tidegate-keys"
    first_replica_port = 20400

    def __init__(self, settings: EngineSettings, work: Path) -> None:
        super().__init__(settings, work)
        self._admin_key = secrets.token_urlsafe(32)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "TIDEGATE_ADMIN_KEY": self._admin_key}

    def config(self) -> dict[str, Any]:
        config = super().config()
        plenty = 10**9
        config["applications"][0]["args"] |= {
            "access": {"keys": "required"},
            "store": {
                "url": f"sqlite:///{self.work}/store.db",
                "data_dir": str(self.work / "data"),
            },
            "limits": dict.fromkeys(
                ("user_tokens_per_minute", "user_tokens_per_hour", "tenant_tokens_per_minute"),
                plenty,
            ),
            "budgets": {"tenant_month": plenty, "key_month": plenty},
        }
        return config

    def authenticate(self, connection: http.client.HTTPConnection) -> None:
        """Makes a key of an ordinary tenant: the admin's own passes by all limits."""
        if self.headers:
            return
        body = json.dumps({"tenant": "bench", "user": "load", "zone": "public"})
        admin = {"authorization": f"Bearer {self._admin_key}", "content-type": "application/json"}
        connection.request("POST", "/admin/v1/keys", body, admin)
        answer = json.loads(connection.getresponse().read())
        if "key" not in answer:
            raise ValueError(f"no key was made: {answer}")
        self.headers = {"authorization": f"Bearer {answer['key']}"}


def one_pool(args: Mapping[str, Any], settings: EngineSettings) -> dict[str, Any]:
    """Tidegate's ``args:`` reduced to the default zone and one pool of every size class.

    Args:
        args: those of serve_config.yaml; everything else in them stays on.
        settings: the engine's, also its model.
    """
    reduced = deepcopy(dict(args))
    zone = reduced["default_zone"]
    pool = next(p for p in reduced["pools"] if p["zone"] == zone)
    kept = {k: v for k, v in pool.items() if k not in ("markets", "max_outstanding_tokens")}
    reduced["pools"] = [
        {
            **kept,
            "model": MODEL_NAME,
            "size_classes": _SIZE_CLASSES,
            "engine": settings.tidegate(),
            "markets": {"on-demand": {"min_replicas": 1, "max_replicas": 1}},
        }
    ]
    model = next(m for m in reduced["models"] if m["name"] == pool["model"])
    reduced["models"] = [{**model, "name": MODEL_NAME, "source": str(settings.model)}]
    reduced["zones"] = {zone: reduced["zones"][zone]}
    markers = reduced.get("classifier", {}).get("zone_markers")
    if markers:
        # All patterns stay, so that the classifier has as much to do as ever.
        every = [pattern for patterns in markers.values() for pattern in patterns]
        reduced["classifier"]["zone_markers"] = {zone: every}
    policies = reduced.get("guards", {}).get("zones")
    if policies:
        reduced["guards"]["zones"] = {z: p for z, p in policies.items() if z == zone}
    # What is compared has none.
    reduced["access"] = {"keys": "off"}
    return reduced
