"""A running Tidegate on a Ray cluster of its own, and the ways to speak to it."""

import contextlib
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import httpx
import pytest
import ray
import yaml
from openai import OpenAI
from ray import serve
from ray._private.authentication_test_utils import reset_auth_token_state
from ray.serve.context import _get_global_client, _set_global_client
from ray.serve.handle import DeploymentHandle

from app.security.secrets import ADMIN_KEY_VARIABLE
from tests.cluster.processes import descendants, kill, left_over
from tests.cluster.settings import MODEL, ROOT, cluster_environment, keep_in

APP = "tidegate"
READY_TIMEOUT_S = 240.0
AUTHENTICATION = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
STOP_TIMEOUT_S = 90.0


@dataclass(slots=True)
class Probe:
    """One answer of `/readyz` while the service starts."""

    status: int
    body: dict[str, Any]


@dataclass(slots=True)
class Fleet:
    """The service on a cluster of labelled nodes.

    Args:
        config: a Serve configuration.
        folder: for Ray's files; a short path, since sockets lie in it.
        orderly: whether it is stopped as Ctrl-C does, and leaves nothing behind; that takes most of
            a minute, and need not be seen of every cluster.
    """

    config: dict[str, Any]
    folder: Path
    orderly: bool = True
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    startup: list[Probe] = field(default_factory=list)
    address: str = ""
    url: str = ""
    http: httpx.Client = field(init=False)
    openai: OpenAI = field(init=False)
    _handles: dict[str, DeploymentHandle] = field(default_factory=dict)
    _before: dict[int, str] = field(default_factory=dict)
    _nodes: subprocess.Popen[str] | None = None
    _serve: subprocess.Popen[bytes] | None = None
    _log: IO[bytes] | None = None
    _environment: pytest.MonkeyPatch = field(default_factory=pytest.MonkeyPatch)

    def __enter__(self) -> Self:
        self._before = descendants()
        environment = cluster_environment(self.folder) | {ADMIN_KEY_VARIABLE: self.key}
        keep_in(self.config, self.folder)
        port = self.config["http_options"]["port"]
        self.url = f"http://127.0.0.1:{port}"
        authorization = {"authorization": f"Bearer {self.key}"}
        self.http = httpx.Client(base_url=self.url, timeout=300, headers=authorization)
        self.openai = OpenAI(
            base_url=f"{self.url}/v1", api_key=self.key, max_retries=0, timeout=300
        )
        try:
            self._start(environment)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *args: object) -> None:
        left = self.stop()
        assert not left, f"processes left behind: {left}"

    def _start(self, environment: dict[str, str]) -> None:
        self._log = (self.folder / "log").open("wb")
        self._nodes = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.nodes"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
            text=True,
        )
        assert self._nodes.stdout is not None
        line = self._nodes.stdout.readline()
        assert line, f"the nodes did not start:\n{self.log()}"
        self.address = json.loads(line)["address"]
        file = self.folder / "serve_config.yaml"
        file.write_text(yaml.safe_dump(self.config, sort_keys=False))
        self._serve = subprocess.Popen(
            [
                Path(sys.executable).with_name("serve"),
                "run",
                "--address",
                self.address,
                str(file),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
            start_new_session=True,
        )
        self._wait_ready()
        self._authenticate({name: environment[name] for name in AUTHENTICATION})
        ray.init(address=self.address, namespace="serve", log_to_driver=False)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            with contextlib.suppress(httpx.TransportError, ValueError):
                answer = self.http.get("/readyz", timeout=5)
                self.startup.append(Probe(answer.status_code, answer.json()))
                if answer.status_code == 200:
                    return
            assert self._serve is not None
            if self._serve.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"not ready: {self.startup[-1:]}\n{self.log()}")
            time.sleep(0.25)

    def stop(self) -> dict[int, str]:
        """Ends the service as Ctrl-C does, then the nodes; returns what then still ran."""
        self.http.close()
        self.openai.close()
        for handle in self._handles.values():
            # They would go on telling the controller what they have to do.
            handle.shutdown()
        self._handles.clear()
        if ray.is_initialized():
            ray.shutdown()
        # Serve keeps the client of one cluster, and would ask this one for the next one's replicas.
        _set_global_client(None)
        self._authenticate({})
        for process, end in ((self._serve, self._interrupt), (self._nodes, self._close)):
            if process is not None and self.orderly:
                with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
                    end()
                    process.wait(STOP_TIMEOUT_S)
        left = left_over(self._before, 15 if self.orderly else 0)
        kill(left)
        while not self.orderly and left_over(self._before, 0):
            # What has been started while the others were being killed.
            kill(left_over(self._before, 0.2))
        if self._nodes is not None and self._nodes.stdout is not None:
            self._nodes.stdout.close()
        for process in (self._serve, self._nodes):
            if process is not None:
                process.wait(10)
        if self._log is not None:
            self._log.close()
        return left if self.orderly else {}

    def _interrupt(self) -> None:
        assert self._serve is not None
        interrupt(self._serve)

    def _close(self) -> None:
        assert self._nodes is not None
        assert self._nodes.stdin is not None
        self._nodes.stdin.close()

    def _authenticate(self, variables: Mapping[str, str]) -> None:
        self._environment.undo()
        for name, value in variables.items():
            self._environment.setenv(name, value)
        # Ray has read them already if any other test has imported it.
        reset_auth_token_state()

    def log(self) -> str:
        """The end of what the nodes and Serve have printed."""
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    # Requests.

    def chat(self, text: str = "What is the capital of France?", **fields: Any) -> dict[str, Any]:
        """The body of a chat request."""
        return {
            "model": MODEL,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": 24,
        } | fields

    def post(self, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        """A chat request; underscores in header names stand for hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post("/v1/chat/completions", json=body, headers=names)

    def handle(self) -> DeploymentHandle:
        """The application's Python handle."""
        return self._kept(APP, serve.get_app_handle)

    def deployment(self, name: str) -> DeploymentHandle:
        """The handle of one deployment."""
        return self._kept(name, lambda name: serve.get_deployment_handle(name, APP))

    def _kept(self, name: str, make: Callable[[str], DeploymentHandle]) -> DeploymentHandle:
        if name not in self._handles:
            self._handles[name] = make(name)
        return self._handles[name]

    # What Serve and the engines know.

    def status(self) -> dict[str, Any]:
        """The gateway's own account."""
        status: dict[str, Any] = self.handle().status.remote().result(timeout_s=20)
        return status

    def engines(self) -> list[str]:
        """The deployments of engines."""
        return [name for name in self.details() if "--" in name and not name.startswith("ledger--")]

    def engine_status(self, deployment: str) -> dict[str, Any]:
        """The status of a deployment's only replica."""
        answer = self.deployment(deployment).status.remote()
        status: dict[str, Any] = answer.result(timeout_s=20)
        return status

    def details(self) -> dict[str, Any]:
        """The application's deployments as Serve's controller describes them, by name."""
        client = _get_global_client()
        assert client is not None
        deployments: dict[str, Any] = client.get_serve_details()["applications"][APP]["deployments"]
        return deployments

    def replicas(self, deployment: str) -> list[dict[str, Any]]:
        """The running replicas of a deployment, with `pid`, `node_id` and `replica_id`."""
        replicas = self.details()[deployment]["replicas"]
        return [replica for replica in replicas if replica["state"] == "RUNNING"]

    def node_labels(self, node_id: str) -> dict[str, str]:
        """The labels of one of the cluster's nodes."""
        labels: dict[str, str] = next(n["Labels"] for n in ray.nodes() if n["NodeID"] == node_id)
        return labels

    def busy(self) -> dict[str, float]:
        """Everything that requests may leave behind, by what it is; empty when nothing is."""
        status = self.status()
        counts = {name: status[name] for name in ("open_requests", "in_flight")}
        for state in status["pools"]:
            counts[f"{state['pool']} outstanding"] = state["outstanding_tokens"]
        for name in self.engines():
            engine = self.engine_status(name)
            for what in ("live_requests", "running", "waiting", "outstanding_tokens"):
                counts[f"{name} {what}"] = engine[what]
        return {what: count for what, count in counts.items() if count}

    def settle(self, timeout_s: float = 30) -> None:
        """Waits until no request is left anywhere."""
        with contextlib.suppress(TimeoutError):
            until(lambda: not self.busy(), timeout_s)
        assert self.busy() == {}

    def whole(self) -> bool:
        """Whether every pool has its replicas."""
        return self.http.get("/readyz").status_code == 200


def until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.25) -> float:
    """Waits for a condition and returns the seconds it took.

    Raises:
        TimeoutError: it did not become true in time.
    """
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout_s:
            raise TimeoutError(f"not so within {timeout_s:g} s")
        time.sleep(every_s)
    return time.monotonic() - begun


def interrupt(process: subprocess.Popen[Any]) -> None:
    """What Ctrl-C does."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
