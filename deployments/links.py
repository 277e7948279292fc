"""The gateway's streams to the replicas of every pool, and the requests on them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.config import Deployed, Role
from app.errors import (
    EngineLost,
    HandoffFailed,
    NoCapacity,
    ReplicaUnreachable,
    TidegateError,
    error_from_code,
)
from app.routing.router import Route, Router
from deployments.flight import Flight
from deployments.link import Link, OnOutputs, can_be_sent_to, introduce, opposite
from deployments.membership import Members
from deployments.messages import (
    Alert,
    KvPeer,
    Leaving,
    Load,
    Refusal,
    SharedBatch,
    Submission,
    encode,
    encode_ids,
)
from deployments.wire import Kind, connect

RECONNECT_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
LISTEN_S = 1.0

log = structlog.get_logger(__name__)


class Links:
    """Keeps a stream to every replica that Serve says is running, and tells the router.

    Args:
        router: the routing core; sees only replicas that can be sent to.
        on_change: called whenever the set of replicas that can be sent to has changed.
        on_alert: called with a replica's id, its pool and what it reports, when an engine has
            found a breach of isolation.
        silence_s: a replica that reports nothing for so many seconds is taken for lost. They do
            once a second, whatever they compute.

    Attributes:
        on_lost: called with a replica's id when its stream was lost.
        on_leaving: called with a stream whose replica has begun to drain.
    """

    def __init__(
        self,
        router: Router,
        on_change: Callable[[], None],
        on_alert: Callable[[str, str, Alert], None] | None = None,
        silence_s: float = 20.0,
    ) -> None:
        self._router = router
        self._on_change = on_change
        self._on_alert = on_alert
        self._silence_s = silence_s
        self._listener: asyncio.Task[None] | None = None
        self.on_lost: Callable[[str], None] = lambda _: None
        self.on_leaving: Callable[[Link], None] = lambda _: None
        self._links: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreOutputs)

    def set_members(self, deployed: Deployed, members: Members, on_outputs: OnOutputs) -> None:
        """Takes Serve's list of a deployment's running replicas."""
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(self._listen_forever())
        group, market = deployed.group, deployed.market.value
        for link in [link for link in self._of(group, market) if link.replica_id not in members]:
            self._leave(link)
        for replica_id, endpoint in members.items():
            if replica_id not in self._links:
                link = Link(replica_id, deployed, endpoint, on_outputs)
                self._links[replica_id] = link
                self._spawn(link)
        self._publish(deployed)

    def send(
        self,
        route: Route,
        flight: Flight,
        submission: Submission,
        *,
        request: EngineCoreRequest | None = None,
        prompt_tokens: int | None = None,
    ) -> None:
        """Sends a request to the replica that the router chose.

        Args:
            route: where to.
            flight: the request.
            submission: what goes with it.
            request: what is sent of it; by default `flight.request`.
            prompt_tokens: tokens that the replica has to read; by default all there are.

        Raises:
            ReplicaUnreachable: the replica has just gone.
        """
        link = self._links.get(route.replica_id)
        if link is None or link.connection is None:
            raise ReplicaUnreachable("the replica has just gone")
        sent = flight.request if request is None else request
        wire_id = flight.wire_id
        if sent.request_id != wire_id:
            sent = msgspec.structs.replace(sent, request_id=wire_id)
        present = len(sent.prompt_token_ids or ()) + len(submission.generated)
        now = time.monotonic()
        flight.took_off(link, now)
        link.flights[wire_id] = flight
        self._router.started(
            wire_id,
            route,
            present if prompt_tokens is None else prompt_tokens,
            max(0, submission.tokens - present),
            now,
        )
        link.connection.send(Kind.ADD, [encode(submission), *self._encoder.encode(sent)])

    def drop(self, flights: Iterable[Flight]) -> None:
        """Aborts requests that are still on their way; harmless for those that have ended."""
        for flight in flights:
            link, wire_id = flight.link, flight.wire_id
            if link is not None and link.flights.get(wire_id) is flight:
                del link.flights[wire_id]
                self._router.abandoned(wire_id)
                if link.connection is not None:
                    link.connection.send(Kind.ABORT, [encode_ids([wire_id])])
                self._retire(link)

    @property
    def in_flight(self) -> int:
        """Requests on all streams."""
        return sum(len(link.flights) for link in self._links.values())

    def loads(self) -> Mapping[str, Load]:
        """The last report of each replica, by its id."""
        return {rid: link.load for rid, link in self._links.items() if link.load is not None}

    def warm_with(self, replica_id: str) -> frozenset[str]:
        """Replicas that a KV cache of this one can go over to without a handshake."""
        link = self._links.get(replica_id)
        if link is None:
            return frozenset()
        others = opposite(link, self._links.values())
        return frozenset(other.replica_id for other in others if link.warm_with(other))

    def close(self) -> None:
        """Ends every stream."""
        for task in self._tasks:
            task.cancel()
        if self._listener is not None:
            self._listener.cancel()
        for link in list(self._links.values()):
            link.member = False
            if link.connection is not None:
                link.connection.close()

    # Streams.

    def _spawn(self, link: Link) -> None:
        task = asyncio.get_running_loop().create_task(self._open(link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, link: Link) -> None:
        """Connects, again and again while Serve counts the replica as running."""
        attempt = 0
        while link.member:
            try:
                link.connection = await connect(
                    link.endpoint,
                    lambda _, kind, buffers: self._frame(link, kind, buffers),
                    lambda _: self._lost(link),
                )
            except ReplicaUnreachable as error:
                log.warning("replica unreachable", replica=link.replica_id, error=str(error))
                await asyncio.sleep(RECONNECT_S[min(attempt, len(RECONNECT_S) - 1)])
                attempt += 1
                continue
            link.heard_at = time.monotonic()
            if not link.member:
                link.connection.close()
                return
            self._publish(link.deployed)
            return

    async def _listen_forever(self) -> None:
        """Gives up replicas that have fallen silent: stopped, or cut off without a word."""
        while True:
            await asyncio.sleep(LISTEN_S)
            now = time.monotonic()
            for link in list(self._links.values()):
                if link.connection is not None and now - link.heard_at > self._silence_s:
                    log.warning("replica silent", replica=link.replica_id)
                    link.connection.abort()

    def _lost(self, link: Link) -> None:
        link.connection = None
        link.peer, link.warm, link.leaves_at, link.standby = None, frozenset(), None, False
        flights, link.flights = link.flights, {}
        now = time.monotonic()
        for wire_id in flights:
            self._router.failed(wire_id, now, lost=True)
        if self._links.get(link.replica_id) is link:
            if link.member:
                log.warning("replica lost", replica=link.replica_id, requests=len(flights))
                self._publish(link.deployed)
                self._spawn(link)
            else:
                del self._links[link.replica_id]
        # Only now, when nobody can be sent here again.
        for flight in flights.values():
            flight.fail(flight, ReplicaUnreachable("the replica was lost"))
        self.on_lost(link.replica_id)

    def _leave(self, link: Link) -> None:
        link.member = False
        if link.connection is None:
            self._links.pop(link.replica_id, None)
        else:
            self._retire(link)

    def _retire(self, link: Link) -> None:
        if not link.member and not link.flights and link.connection is not None:
            link.connection.close()

    def _of(self, group: str, market: str) -> list[Link]:
        return [
            link
            for link in self._links.values()
            if link.group == group and link.market == market and link.member
        ]

    def _publish(self, deployed: Deployed) -> None:
        self._offer(deployed)
        if deployed.role is not Role.WHOLE:
            introduce(deployed.pool.name, self._links.values())
        self._on_change()

    def _offer(self, deployed: Deployed) -> None:
        """Tells the router which replicas of a deployment may get requests."""
        group, market = deployed.group, deployed.market.value
        all_links = self._links.values()
        ready = [
            link.replica_id for link in self._of(group, market) if can_be_sent_to(link, all_links)
        ]
        self._router.set_replicas(group, market, ready, time.monotonic())

    # Transfers of KV caches.

    def _peer(self, link: Link, peer: KvPeer) -> None:
        link.peer = peer
        introduce(link.deployed.pool.name, self._links.values())

    def _warmed(self, link: Link, engine_ids: list[str]) -> None:
        link.warm = frozenset(engine_ids)
        for each in [link, *opposite(link, self._links.values())]:
            if each.deployed.role is Role.PREFILL:
                self._offer(each.deployed)
        self._on_change()

    # Frames from replicas.

    def _frame(self, link: Link, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.OUTPUTS:
            self._outputs(link, self._decoder.decode(buffers))
        elif kind is Kind.LOAD:
            link.load, link.heard_at = _LOAD.decode(buffers[0]), time.monotonic()
            self._router.report(link.replica_id, link.load.foreign_tokens)
        elif kind is Kind.REFUSED:
            self._refused(link, _REFUSAL.decode(buffers[0]))
        elif kind is Kind.BATCHMATES:
            for wire_id, tenants in _SHARED_BATCH.decode(buffers[0]).tenants.items():
                if (flight := link.flights.get(wire_id)) is not None:
                    flight.batch_tenants.update(tenants)
        else:
            self._about_itself(link, kind, buffers)

    def _about_itself(self, link: Link, kind: Kind, buffers: list[memoryview]) -> None:
        """What a replica says of itself rather than of a request."""
        if kind is Kind.PEER:
            self._peer(link, _PEER.decode(buffers[0]))
        elif kind is Kind.WARM:
            self._warmed(link, _IDS.decode(buffers[0]))
        elif kind is Kind.LEAVING:
            link.leaves_at = time.monotonic() + _LEAVING.decode(buffers[0]).deadline_s
            self._publish(link.deployed)
            self.on_leaving(link)
        elif kind is Kind.STANDBY:
            link.standby = _FLAG.decode(buffers[0])
            if not link.standby:
                link.leaves_at = None
            self._publish(link.deployed)
        elif kind is Kind.SECURITY:
            alert = _ALERT.decode(buffers[0])
            log.error("breach of isolation", replica=link.replica_id, code=alert.code)
            if self._on_alert is not None:
                self._on_alert(link.replica_id, link.deployed.pool.name, alert)
        else:
            assert link.connection is not None
            link.connection.close()

    def _outputs(self, link: Link, message: EngineCoreOutputs) -> None:
        now = time.monotonic()
        outputs = message.outputs
        passed = [output for output in outputs if self._output(link, output, now)]
        if len(passed) != len(outputs):
            if not passed:
                self._retire(link)
                return
            message.outputs = passed
        surplus = link.on_outputs(message)
        if surplus:
            self._surplus(link, surplus, now)
        if not link.member:
            self._retire(link)

    def _output(self, link: Link, output: EngineCoreOutput, now: float) -> bool:
        """Accounts for one request's output; whether the output processor is to have it."""
        wire_id = output.request_id
        flight = link.flights.get(wire_id)
        if flight is None:
            # Of a request that goes on elsewhere, perhaps: its tokens must not come twice.
            return False
        router, count = self._router, len(output.new_token_ids)
        if count:
            if flight.fresh:
                router.first_token(wire_id, now)
                flight.came(output, now)
            flight.last_at = now
            router.progress(wire_id, count)
        if flight.landed is None:
            try:
                passes = flight.take(output)
            except EngineLost as error:
                self.drop([flight])
                flight.fail(flight, error)
                return False
            # The output processor knows a request by its own id, whichever attempt this is.
            output.request_id = flight.request.request_id
        else:
            passes = False
        if output.finish_reason is not None:
            del link.flights[wire_id]
            if output.finish_reason is FinishReason.ERROR:
                router.failed(wire_id, now)
            else:
                router.finished(wire_id, now)
            if flight.landed is not None:
                flight.landed(output)
        return passes

    def _surplus(self, link: Link, request_ids: list[str], now: float) -> None:
        """Ends at the engine what has ended here."""
        surplus = set(request_ids)
        ended = [
            wire_id
            for wire_id, flight in link.flights.items()
            if flight.request.request_id in surplus
        ]
        for wire_id in ended:
            del link.flights[wire_id]
            self._router.finished(wire_id, now)
        if link.connection is not None:
            link.connection.send(Kind.ABORT, [encode_ids(ended)])

    def _refused(self, link: Link, refusal: Refusal) -> None:
        flight = link.flights.pop(refusal.request_id, None)
        if flight is None:
            return
        error: TidegateError = error_from_code(refusal.code, refusal.message)
        if isinstance(error, NoCapacity | HandoffFailed):
            # It is draining or dying, or another one is: not this one's fault.
            self._router.abandoned(refusal.request_id)
            if isinstance(error, NoCapacity):
                error = ReplicaUnreachable(refusal.message)
        else:
            self._router.failed(refusal.request_id, time.monotonic())
        flight.fail(flight, error)


_LOAD = msgspec.msgpack.Decoder(Load)
_REFUSAL = msgspec.msgpack.Decoder(Refusal)
_SHARED_BATCH = msgspec.msgpack.Decoder(SharedBatch)
_ALERT = msgspec.msgpack.Decoder(Alert)
_PEER = msgspec.msgpack.Decoder(KvPeer)
_LEAVING = msgspec.msgpack.Decoder(Leaving)
_IDS = msgspec.msgpack.Decoder(list[str])
_FLAG = msgspec.msgpack.Decoder(bool)
