"""The service without Ray: engines, a classifier and gateways on one loop in a thread.

Tests run on the main thread and speak to it over HTTP, over raw sockets, or by `Stack.run`.
"""

import asyncio
import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest import mock

import httpx
import uvicorn
from openai import OpenAI
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.executor.uniproc_executor import UniProcExecutor

from app.admission.isolation import Claim
from app.api.presence import while_present
from app.config import Deployed, FleetConfig, parse_config
from deployments.admission import OpenAdmission
from deployments.classifier import ClassifierReplica
from deployments.engine_args import engine_args
from deployments.engine_core import StreamedEngineCore
from deployments.engine_host import EngineHost
from deployments.service import GatewayService
from deployments.wire import Connection, Endpoint, Kind

T = TypeVar("T")

LOCALHOST = "127.0.0.1"
MODEL = "demo"

_ENGINE = {
    "dtype": "float32",
    "max_num_seqs": 8,
    "max_num_batched_tokens": 512,
    "block_size": 32,
    "enforce_eager": True,
    "kv_cache_memory": "64MiB",
    "omp_threads": 1,
}
_LONG = _ENGINE | {
    "max_model_len": 32768,
    "max_num_batched_tokens": 1024,
    "kv_cache_memory": "160MiB",
}
_CPU = {"device": "cpu", "cpus": 0.25}

ARGS: dict[str, Any] = {
    "models": [
        {
            "name": MODEL,
            "source": "models/demo",
            "max_model_len": 32768,
            "tool_call_parser": "hermes",
        }
    ],
    "weights": {"keys": [{"id": "demo", "public_key": "models/demo.pub"}]},
    "zones": {"public": {"isolation": "medium"}, "private": {"isolation": "high"}},
    "default_zone": "public",
    "access": {"keys": "off"},
    "pools": [
        {
            "name": "public-small",
            "model": MODEL,
            "zone": "public",
            "size_classes": ["small", "medium"],
            "engine": _ENGINE | {"max_model_len": 2048},
            "resources": _CPU,
        },
        {
            "name": "public-large",
            "model": MODEL,
            "zone": "public",
            "size_classes": ["large", "xl"],
            "engine": _LONG,
            "resources": _CPU,
        },
        {
            "name": "private",
            "model": MODEL,
            "zone": "private",
            "size_classes": ["small", "medium", "large", "xl"],
            "engine": _LONG,
            "resources": _CPU,
        },
    ],
    "gateway": {"request_timeout_s": 120},
    "classifier": {
        "timeout_s": 10,
        "zone_markers": {"private": [r"\binternal( use)? only\b"]},
    },
}

REPLICAS = {"small-a": "public-small", "small-b": "public-small", "large": "public-large"} | {
    "private": "private"
}
"""Each engine of the stack and its pool."""


def configured(args: Mapping[str, Any]) -> FleetConfig:
    """A configuration whose key ring has been read, as `app.main.build` does it."""
    config = parse_config(args)
    return config.model_copy(update={"weights": config.weights.absolute(Path.cwd())})


class RecordingHost(EngineHost):
    """An engine host that remembers what arrived, while told to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recording = False
        # Takes requests and does nothing about them, like an engine that has got stuck.
        self.deaf = False
        self.frames: list[tuple[Kind, bytes]] = []
        self.requests: list[EngineCoreRequest] = []

    async def start(self, host: str) -> Endpoint:
        endpoint = await super().start(host)
        submit = self._core.submit

        def record(request: EngineCoreRequest, claim: Claim, generated: Sequence[int] = ()) -> None:
            if self.recording:
                self.requests.append(request)
            if not self.deaf:
                submit(request, claim, generated)

        self._core.submit = record  # type: ignore[method-assign]
        return endpoint

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if self.recording:
            self.frames.append((kind, b"".join(bytes(buffer) for buffer in buffers)))
        super()._frame(connection, kind, buffers)

    def _died(self, error: BaseException) -> None:
        # pytest shows it with the test that killed the engine.
        traceback.print_exception(error)
        super()._died(error)

    def stay(self) -> None:
        """Has never begun to drain."""
        self._draining = False
        self._leaves_at = None
        self.hang_up()

    def hang_up(self) -> None:
        """Ends every stream at once, as a death of the process would."""
        for connection in list(self._clients.values()):
            connection._transport.abort()  # type: ignore[union-attr]


class QuietClassifier(ClassifierReplica):
    """A classifier that its garbage collection does not start a coroutine for."""

    def __del__(self) -> None:  # type: ignore[override]
        """Serve awaits the real one; here `Stack` closes the server."""


@dataclass(slots=True)
class Replica:
    """One engine of the stack."""

    name: str
    pool: str
    host: RecordingHost
    endpoint: Endpoint
    violations: list[str]


@dataclass(slots=True)
class Gateway:
    """One gateway of the stack, listening on a port of its own."""

    service: GatewayService
    port: int
    config: FleetConfig
    replicas: Mapping[str, Replica]
    http: httpx.Client = field(init=False)
    openai: OpenAI = field(init=False)

    def __post_init__(self) -> None:
        url = f"http://{LOCALHOST}:{self.port}"
        self.http = httpx.Client(base_url=url, timeout=110)
        self.openai = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=110)

    def close(self) -> None:
        self.http.close()
        self.openai.close()

    def post(self, path: str, body: Any, **kwargs: Any) -> httpx.Response:
        return self.http.post(path, json=body, **kwargs)

    def chat(self, text: str = "Hello", /, **fields: Any) -> dict[str, Any]:
        """The body of a chat request."""
        message = {"role": "user", "content": text}
        return {"model": MODEL, "messages": [message], "max_tokens": 8, "temperature": 0} | fields

    def connected(self) -> set[str]:
        """Replicas that the router can send to."""
        router = self.service.fleet.router
        return set(router._balancer.replicas)

    def busy(self) -> dict[str, int]:
        """Everything that a request may leave behind, by what it is; empty when nothing is."""
        fleet = self.service.fleet
        counts = {
            "open requests": self.service.api.desk.open_requests,
            "router": fleet.router.open_requests,
            "reserved": fleet.router._balancer.reserved,
            "in flight": fleet.links.in_flight,
        }
        for name, engine in self.service._engines.items():
            outputs = engine._outputs
            counts |= {
                f"{name} states": len(outputs.request_states),
                f"{name} parents": len(outputs.parent_requests),
                f"{name} ids": len(outputs.external_req_ids),
            }
        return {what: count for what, count in counts.items() if count}


class Stack:
    """Engines, a classifier and any number of gateways."""

    def __init__(self) -> None:
        self.config = parse_config(ARGS)
        self.replicas: dict[str, Replica] = {}
        self.gateways: list[Gateway] = []
        self._servers: list[tuple[uvicorn.Server, asyncio.Task[None]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stack", daemon=True)
        self._lock = mock.patch.object(
            UniProcExecutor, "collective_rpc", _one_at_a_time(UniProcExecutor.collective_rpc)
        )

    def __enter__(self) -> Self:
        self._lock.start()
        self._thread.start()
        self.run(self._start(), 100)
        return self

    def __exit__(self, *args: object) -> None:
        for gateway in self.gateways:
            gateway.close()
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._lock.stop()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        """Runs a coroutine on the service's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def call(self, work: Callable[[], T]) -> T:
        """Calls a function on the service's loop; not from there."""

        async def wrapped() -> T:
            return work()

        return self.run(wrapped())

    def gateway(
        self, changes: Mapping[str, Any] | None = None, replicas: set[str] | None = None
    ) -> Gateway:
        """Starts a gateway.

        Args:
            changes: sections of the configuration with what is different in them.
            replicas: names of the engines that it knows; all by default.
        """
        args = deepcopy(ARGS)
        for section, values in (changes or {}).items():
            args[section] = args.get(section, {}) | values
        gateway = self.run(self._gateway(configured(args)))
        self.gateways.append(gateway)
        self.members(gateway, set(REPLICAS) if replicas is None else replicas)
        return gateway

    @contextlib.contextmanager
    def unwatched(self, gateway: Gateway) -> Iterator[Gateway]:
        """The same gateway behind an ingress that does not watch for clients leaving."""
        port = self.run(self._listen(gateway.service.api))
        bare = Gateway(gateway.service, port, gateway.config, self.replicas)
        try:
            yield bare
        finally:
            bare.close()

    @contextlib.contextmanager
    def only(self, gateway: Gateway, names: set[str]) -> Iterator[None]:
        """Has a gateway know only some of the engines, for a while."""
        self.members(gateway, names)
        try:
            yield
        finally:
            self.members(gateway, set(REPLICAS))

    @contextlib.contextmanager
    def draining(self, name: str, deadline_s: float) -> Iterator[None]:
        """An engine that drains, and is then as it was before."""
        host = self.replicas[name].host
        thread = threading.Thread(target=lambda: self.run(host.drain(deadline_s), 200))
        thread.start()
        try:
            yield
        finally:
            thread.join()
            self.call(host.stay)
            for gateway in self.gateways:
                links = gateway.service.fleet.links._links
                while name in links and name not in self.call(gateway.connected):
                    time.sleep(0.01)

    def members(self, gateway: Gateway, names: set[str], connected: set[str] | None = None) -> None:
        """Tells a gateway which engines there are, and waits until it is connected to them.

        Args:
            gateway: whom to tell.
            names: the engines.
            connected: those that it will be able to send to; by default all.
        """

        def tell() -> None:
            for deployed in gateway.config.deployments():
                gateway.service.set_engines(deployed, self._members(deployed, names))

        self.call(tell)
        wanted = names if connected is None else connected
        self.until(lambda: gateway.connected() == wanted)

    def until(self, condition: Callable[[], bool], timeout_s: float = 5) -> None:
        """Waits for something to become true on the service's loop."""
        deadline = time.monotonic() + timeout_s
        while not self.call(condition):
            if time.monotonic() > deadline:
                raise TimeoutError("it did not become true in time")
            time.sleep(0.01)

    def busy(self) -> dict[str, Any]:
        """What requests have left behind, anywhere."""
        left: dict[str, Any] = {}
        for number, gateway in enumerate(self.gateways):
            left |= {f"gateway {number}: {what}": n for what, n in gateway.busy().items()}
        for replica in self.replicas.values():
            scheduler = replica.host._core.scheduler
            for what, count in (
                ("live", replica.host.live_requests),
                ("in engine", sum(scheduler.get_request_counts())),
                ("pending", len(replica.host._pending)),
            ):
                if count:
                    left[f"{replica.name}: {what}"] = count
        return left

    def settle(self) -> None:
        """Waits until no request is left anywhere.

        Raises:
            AssertionError: something is left; the message says what.
        """
        try:
            self.until(lambda: not self.busy())
        except TimeoutError:
            raise AssertionError(f"left behind: {self.call(self.busy)}") from None

    # On the loop.

    async def _start(self) -> None:
        for name, pool_name in REPLICAS.items():
            pool = self.config.pool(pool_name)
            violations: list[str] = []
            args = engine_args(
                self.config.model(pool.model),
                pool,
                self.config.zones[pool.zone],
                self.config.fairness,
            )
            host = RecordingHost(args.create_engine_config(), pool.zone, violations.append)
            endpoint = await host.start(LOCALHOST)
            self.replicas[name] = Replica(name, pool_name, host, endpoint, violations)
        with mock.patch("ray.util.get_node_ip_address", return_value=LOCALHOST):
            self.classifier = QuietClassifier.__new__(QuietClassifier)
            await ClassifierReplica.__init__(
                self.classifier, self.config.classifier, tuple(self.config.zones)
            )

    async def _gateway(self, config: FleetConfig) -> Gateway:
        admission = OpenAdmission(config.access, list(config.zones)[-1])
        service = GatewayService(config, admission)
        await service.start()
        service.set_classifiers({"classifier": self.classifier._endpoint})
        while service._classifier is not None and not service._classifier.ready:
            await asyncio.sleep(0.01)
        port = await self._listen(until_disconnected(service.api))
        return Gateway(service, port, config, self.replicas)

    async def _listen(self, app: Any) -> int:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=LOCALHOST,
                port=0,
                ws="none",
                lifespan="off",
                log_level="critical",
                access_log=False,
            )
        )
        task = asyncio.get_running_loop().create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        self._servers.append((server, task))
        port: int = server.servers[0].sockets[0].getsockname()[1]
        return port

    def _members(self, deployed: Deployed, names: set[str]) -> dict[str, Endpoint]:
        return {
            name: replica.endpoint
            for name, replica in self.replicas.items()
            if replica.pool == deployed.pool.name and name in names
        }

    async def _stop(self) -> None:
        for server, task in self._servers:
            server.should_exit = True
            server.force_exit = True
            await task
        for gateway in self.gateways:
            gateway.service.fleet.close()
            gateway.service.set_classifiers({})
        await self.classifier._server.close()
        for replica in self.replicas.values():
            await replica.host.close()


def until_disconnected(app: Any) -> Any:
    """Ends a request when its client leaves, as Serve's ingress does around every application."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        await while_present(receive, lambda relayed: app(scope, relayed, send))

    return wrapped


@contextlib.contextmanager
def side_by_side() -> Iterator[None]:
    """Lets further engines run in this process, and end before the others do."""
    locked = _one_at_a_time(UniProcExecutor.collective_rpc)
    with (
        mock.patch.object(UniProcExecutor, "collective_rpc", locked),
        # The end of one would take torch's process groups from all.
        mock.patch.object(StreamedEngineCore, "shutdown"),
    ):
        yield


def _one_at_a_time(rpc: Callable[..., Any]) -> Callable[..., Any]:
    """Engines of one process share vLLM's forward context: only one may compute at a time."""
    lock = threading.Lock()

    def locked(self: UniProcExecutor, *args: Any, **kwargs: Any) -> Any:
        with lock:
            return rpc(self, *args, **kwargs)

    return locked
