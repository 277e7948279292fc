"""One engine, served to any number of gateways: the state between the wire and the core."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
from vllm.config import VllmConfig
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest
from vllm.v1.request import Request
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.admission.isolation import Claim
from app.admission.tier import Tier
from app.config import Role
from app.errors import (
    EngineLost,
    HandoffFailed,
    InternalError,
    IsolationViolated,
    NoCapacity,
    TidegateError,
    ZoneMismatch,
)
from deployments.engine_core import EngineThread, StreamedEngineCore
from deployments.isolation import EnginePolicy
from deployments.kv_group import check_transfer, kv_group
from deployments.kv_warmth import Warmth, own_peer
from deployments.messages import (
    Alert,
    KvPeer,
    Leaving,
    Load,
    Refusal,
    SharedBatch,
    Submission,
    encode,
)
from deployments.own_requests import OWN_CLIENT, OwnRequests
from deployments.scheduler import Batchmates, TidegateScheduler
from deployments.wire import Connection, Endpoint, Kind, StreamServer

REPORT_INTERVAL_S = 1.0
DRAIN_POLL_S = 0.05
LEAST_WEIGHT, MOST_WEIGHT = 1e-3, 1e3
T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Live:
    """A request in the engine: whose it is and how many tokens it still stands for."""

    client: int
    tokens: int


class EngineHost:
    """Carries one engine core and its stream server.

    Requests of another zone are refused here, whatever a gateway believes; the check stands in
    front of the only way into the core.

    Args:
        vllm_config: the engine's configuration, made by `engine_args`.
        zone: the zone this engine belongs to.
        on_violation: called with the zone named by a request that was refused for it.
        standby: whether it begins on standby: it takes no requests until `resume`.

    Attributes:
        endpoint: where its stream listens, once it has started.

    Raises:
        IsolationViolated: the configuration was made for another zone.
    """

    def __init__(
        self,
        vllm_config: VllmConfig,
        zone: str,
        on_violation: Callable[[str], None] = lambda zone: None,
        *,
        standby: bool = False,
    ) -> None:
        policy = EnginePolicy.read(vllm_config)
        if policy.zone != zone:
            raise IsolationViolated(f"an engine made for zone {policy.zone!r} is to serve {zone!r}")
        self._zone = zone
        self._role = Role(policy.role)
        self._group = kv_group(zone, policy.pool)
        self._config = vllm_config
        self._warmth: Warmth | None = None
        self._peer: KvPeer | None = None
        self._on_violation = on_violation
        self._loop = asyncio.get_running_loop()
        self._thread = EngineThread(vllm_config, self._emit, self._died)
        self._server = StreamServer(
            self._frame, self._disconnected, self._writable, self._connected
        )
        self._clients: dict[int, Connection] = {}
        self._index: dict[Connection, int] = {}
        self._next_client = 0
        self._live: dict[str, _Live] = {}
        # What the engine's thread has produced and the loop has not yet sent, by client.
        self._pending: dict[int, list[EngineCoreOutput]] = {}
        self._batchmates: dict[int, Batchmates] = {}
        self._lock = threading.Lock()
        self._flush_due = False
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreRequest)
        self._draining = False
        self._standby = standby
        self._leaves_at: float | None = None
        self._death: BaseException | None = None
        self._reporter: asyncio.Task[None] | None = None
        self._prefilled = 0
        self._decoded = 0
        self._reported_at = time.monotonic()
        self._rates = (0.0, 0.0)

    async def start(self, host: str) -> Endpoint:
        """Loads the engine and listens on an address of this node.

        Raises:
            BaseException: whatever kept the engine from loading.
        """
        self._core = await self._loop.run_in_executor(None, self._thread.start)
        self._own = OwnRequests(self._core, self._zone)
        if self._role is not Role.WHOLE:
            self._peer = own_peer(self._config, self._core)
            self.scheduler.handoff_lapsed = self._handoff_lapsed
            self._warmth = Warmth(self._config, self._core, self._tell_warm)
            self._warmth.start()
        self.endpoint = await self._server.start(host)
        self._reporter = self._loop.create_task(self._report_forever())
        return self.endpoint

    @property
    def live_requests(self) -> int:
        """Requests queued or running in the engine."""
        return len(self._live)

    @property
    def scheduler(self) -> TidegateScheduler:
        """The engine's scheduler, which works on the engine's own thread."""
        scheduler: TidegateScheduler = self._core.scheduler
        return scheduler

    @property
    def role(self) -> Role:
        """What the engine does of a request."""
        return self._role

    def counts(self) -> dict[str, float]:
        """What the engine has counted since it started, for the replica's status."""
        counts = self.scheduler.counts
        # Every rank ends the lease on its part of a KV cache.
        ranks = self._config.parallel_config.world_size
        return {
            "prompt_tokens_computed": float(counts.computed),
            "prompt_tokens_cached": float(counts.cached),
            "prompt_tokens_transferred": float(counts.transferred),
            "kv_leases_lapsed": float(-(-counts.leases_lapsed // ranks)),
            "handoffs_lapsed": float(counts.handoffs_lapsed),
            "warm_peers": float(0 if self._warmth is None else len(self._warmth.warm)),
        }

    def check(self) -> None:
        """Raises EngineLost if the engine has died."""
        if self._death is not None:
            raise EngineLost(f"the engine died: {type(self._death).__name__}: {self._death}")

    def load(self, client: int | None = None) -> Load:
        """The engine's load; tokens outstanding are those of all clients but the one given."""
        waiting, running = self._core.scheduler.get_request_counts()[::-1]
        foreign = sum(live.tokens for live in self._live.values() if live.client != client)
        usage = self._core.scheduler.get_kv_cache_usage()
        return Load(foreign, waiting, running, usage, *self._rates)

    async def infer(self, token_ids: list[int], max_tokens: int = 1) -> list[int]:
        """What the engine generates after a prompt of our own, see `OwnRequests.infer`."""
        return await self._own.infer(token_ids, max_tokens)

    async def call(self, work: Callable[[StreamedEngineCore], T]) -> T:
        """Has something done on the engine's thread, between two steps, and waits for it."""
        return await asyncio.wrap_future(self._core.call(work))

    async def set_aside(self, timeout_s: float) -> bool:
        """Goes on standby: as `drain`, but `resume` brings it back."""
        self._standby = True
        self._tell_standby()
        return await self._emptied(timeout_s)

    def resume(self) -> None:
        """Takes requests again after standby."""
        self._standby, self._leaves_at = False, None
        self._tell_standby()

    async def drain(self, timeout_s: float) -> bool:
        """Takes no new requests and waits for those it has; True if none is left.

        Gateways are told at once, so that they move elsewhere what would not end in time.
        """
        self._draining = True
        return await self._emptied(timeout_s)

    async def _emptied(self, timeout_s: float) -> bool:
        self._leaves_at = deadline = self._loop.time() + timeout_s
        for connection in self._clients.values():
            connection.send(Kind.LEAVING, [encode(Leaving(timeout_s))])
        while self._busy and self._death is None and self._loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(DRAIN_POLL_S)
        return not self._busy

    @property
    def _busy(self) -> bool:
        """Whether somebody still needs this engine: for a request, or for a KV cache it holds."""
        return bool(self._live) or self.scheduler.keeps_for_others

    async def close(self, timeout_s: float = 10.0) -> None:
        """Ends the engine and every stream."""
        self._draining = True
        if self._reporter is not None:
            self._reporter.cancel()
        if self._warmth is not None:
            await self._warmth.close()
        await self._server.close()
        await self._loop.run_in_executor(None, self._thread.stop, timeout_s)

    def _tell_standby(self) -> None:
        for connection in self._clients.values():
            connection.send(Kind.STANDBY, [encode(self._standby)])

    # From the wire, on the loop.

    def _connected(self, connection: Connection) -> None:
        self._next_client += 1
        self._clients[self._next_client] = connection
        self._index[connection] = self._next_client
        if self._peer is not None and self._warmth is not None:
            connection.send(Kind.PEER, [encode(self._peer)])
            connection.send(Kind.WARM, [encode(self._warmth.warm)])
        if self._standby:
            connection.send(Kind.STANDBY, [encode(True)])
        if self._leaves_at is not None:
            left = max(0.0, self._leaves_at - self._loop.time())
            connection.send(Kind.LEAVING, [encode(Leaving(left))])
        connection.send(Kind.LOAD, [encode(self.load(self._next_client))])

    def _disconnected(self, connection: Connection) -> None:
        client = self._index.pop(connection)
        del self._clients[client]
        if self._warmth is not None:
            self._warmth.gone(client)
        orphans = [rid for rid, live in self._live.items() if live.client == client]
        for request_id in orphans:
            del self._live[request_id]
        with self._lock:
            self._pending.pop(client, None)
            self._batchmates.pop(client, None)
        if orphans:
            self._core.cancel(orphans)

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.ADD:
            self._add(connection, buffers)
        elif kind is Kind.ABORT:
            self._abort(connection, msgspec.msgpack.decode(buffers[0], type=list[str]))
        elif kind is Kind.PEERS and self._warmth is not None:
            peers = msgspec.msgpack.decode(buffers[0], type=list[KvPeer])
            self._warmth.name(self._index[connection], peers)
        else:
            connection.close()

    def _add(self, connection: Connection, buffers: list[memoryview]) -> None:
        submission = _SUBMISSION.decode(buffers[0])
        request: EngineCoreRequest = self._decoder.decode(buffers[1:])
        try:
            self._look(submission, request)
        except TidegateError as error:
            self._refuse(connection, request.request_id, error.code, error.message)
            return
        if self._death is not None or self._draining or self._standby:
            why = "the engine is on standby" if self._standby else "the engine is leaving"
            self._refuse(connection, request.request_id, NoCapacity.code, why)
            return
        if request.request_id in self._live:
            self._refuse(
                connection, request.request_id, InternalError.code, "the request id is in use"
            )
            return
        client = self._index[connection]
        request.client_index = client
        self._live[request.request_id] = _Live(client, submission.tokens)
        self._prefilled += len(request.prompt_token_ids or ()) + len(submission.generated)
        try:
            self._core.submit(request, _claim(submission, request), submission.generated)
        except Exception as error:  # noqa: BLE001 - one request must not end the engine
            # Such as a grammar that does not compile: this request's fault, not the engine's.
            del self._live[request.request_id]
            self._refuse(connection, request.request_id, InternalError.code, str(error))

    def _look(self, submission: Submission, request: EngineCoreRequest) -> None:
        """Raises ZoneMismatch, or InternalError, for what must not come into this engine."""
        if submission.zone != self._zone:
            self._violated(submission.zone, "the request is of another")
            raise ZoneMismatch(
                f"this engine serves zone {self._zone!r}, the request is of {submission.zone!r}"
            )
        params = request.sampling_params
        transfer = ((params and params.extra_args) or {}).get("kv_transfer_params")
        if transfer is None:
            return
        try:
            check_transfer(transfer, self._role, self._group)
        except ZoneMismatch:
            self._violated(self._group, "the KV cache is to come from another")
            raise

    def _violated(self, named: str, what: str) -> None:
        self._on_violation(named)
        # The engine goes on: whoever can send such requests must not be able to stop it.
        message = f"this engine serves zone {self._zone!r}, {what}"
        self._alarm(Alert(self._zone, ZoneMismatch.code, message, fatal=False))

    def _tell_warm(self, warm: list[str]) -> None:
        for connection in self._clients.values():
            connection.send(Kind.WARM, [encode(warm)])

    def _alarm(self, alert: Alert) -> None:
        for connection in self._clients.values():
            connection.send(Kind.SECURITY, [encode(alert)])

    def _refuse(self, connection: Connection, request_id: str, code: str, message: str) -> None:
        connection.send(Kind.REFUSED, [encode(Refusal(request_id, code, message))])

    def _abort(self, connection: Connection, request_ids: list[str]) -> None:
        client = self._index[connection]
        own = [
            request_id
            for request_id in request_ids
            if (live := self._live.get(request_id)) is not None and live.client == client
        ]
        for request_id in own:
            del self._live[request_id]
        if own:
            self._core.cancel(own)

    def _writable(self, connection: Connection) -> None:
        self._flush()

    # From the engine, on its thread.

    def _emit(self, client: int, outputs: EngineCoreOutputs, batchmates: Batchmates) -> None:
        if not outputs.outputs:
            return
        if client == OWN_CLIENT:
            self._loop.call_soon_threadsafe(self._own.take, outputs.outputs)
            return
        with self._lock:
            if batchmates:
                known = self._batchmates.setdefault(client, {})
                for request_id, tenants in batchmates.items():
                    known.setdefault(request_id, []).extend(tenants)
            pending = self._pending.get(client)
            if pending is None:
                self._pending[client] = outputs.outputs
            else:
                pending.extend(outputs.outputs)
            wake, self._flush_due = not self._flush_due, True
        if wake:
            self._loop.call_soon_threadsafe(self._flush)

    def _handoff_lapsed(self, request: Request) -> None:
        self._loop.call_soon_threadsafe(self._refuse_lapsed, request.request_id)

    def _died(self, error: BaseException) -> None:
        log.error("engine died", error=type(error).__name__)
        self._death = error
        self._loop.call_soon_threadsafe(self._hang_up)

    # Back to the wire, on the loop.

    def _refuse_lapsed(self, request_id: str) -> None:
        live = self._live.pop(request_id, None)
        connection = None if live is None else self._clients.get(live.client)
        if connection is not None:
            message = "the prompt's KV cache did not come over in time"
            self._refuse(connection, request_id, HandoffFailed.code, message)

    def _hang_up(self) -> None:
        if self._death is not None:
            self._own.fail(self._death)
        # Gateways learn of the death from the stream's end, long before a health check would say.
        if isinstance(self._death, IsolationViolated):
            self._alarm(Alert(self._zone, self._death.code, str(self._death), fatal=True))
        for connection in list(self._clients.values()):
            connection.close()

    def _flush(self) -> None:
        """Sends what the engine has produced; several steps leave as one message if need be."""
        with self._lock:
            self._flush_due = False
            ready = [
                (connection, self._pending.pop(client), self._batchmates.pop(client, None))
                for client, connection in self._clients.items()
                if connection.writable and client in self._pending
            ]
            for gone in self._pending.keys() - self._clients.keys():
                del self._pending[gone]
                self._batchmates.pop(gone, None)
        for connection, outputs, batchmates in ready:
            if batchmates:
                connection.send(Kind.BATCHMATES, [encode(SharedBatch(batchmates))])
            live = self._live
            for output in outputs:
                self._decoded += len(output.new_token_ids)
                if output.finish_reason is not None:
                    live.pop(output.request_id, None)
            message = EngineCoreOutputs(outputs=outputs)
            connection.send(Kind.OUTPUTS, self._encoder.encode(message))

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            now = time.monotonic()
            elapsed = now - self._reported_at
            self._rates = (self._prefilled / elapsed, self._decoded / elapsed)
            self._prefilled = self._decoded = 0
            self._reported_at = now
            for client, connection in list(self._clients.items()):
                connection.send(Kind.LOAD, [encode(self.load(client))])


def _claim(submission: Submission, request: EngineCoreRequest) -> Claim:
    resumed = len(submission.generated)
    expected = submission.tokens - len(request.prompt_token_ids or ()) - resumed
    return Claim(
        zone=submission.zone,
        tenant=submission.tenant,
        user=submission.user,
        tier=Tier(submission.tier),
        # In this order, which makes NaN the least.
        weight=min(MOST_WEIGHT, max(LEAST_WEIGHT, submission.weight)),
        expected_tokens=max(1, expected),
        resumed=resumed,
    )


_SUBMISSION = msgspec.msgpack.Decoder(Submission)
