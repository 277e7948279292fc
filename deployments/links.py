"""The gateway's streams to the replicas of every pool, and the requests on them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
import structlog
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, FinishReason
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.errors import NoCapacity, ReplicaUnreachable, TidegateError, error_from_code
from app.routing.router import Route, Router
from deployments.membership import Members
from deployments.messages import (
    Alert,
    Load,
    Refusal,
    SharedBatch,
    Submission,
    encode,
    encode_ids,
)
from deployments.wire import Connection, Endpoint, Kind, connect

RECONNECT_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

log = structlog.get_logger(__name__)

OnOutputs = Callable[[EngineCoreOutputs], list[str]]
"""Takes one message of an engine, returns the ids of requests that it need not go on with."""


@dataclass(slots=True, eq=False)
class Flight:
    """A request on its way through one replica.

    Attributes:
        request: vLLM's own request, whose id names it on the wire.
        fail: told what kept the request from being finished.
        tokens: output tokens that have come back.
        batch_tenants: tenants that shared a batch with it, as the engines said.
    """

    request: EngineCoreRequest
    fail: Callable[[Exception], None]
    tokens: int = 0
    link: "Link | None" = None
    batch_tenants: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Link:
    """A stream to one replica. It outlives the replica's membership while requests are on it."""

    replica_id: str
    pool: str
    market: str
    endpoint: Endpoint
    on_outputs: OnOutputs
    connection: Connection | None = None
    flights: dict[str, Flight] = field(default_factory=dict)
    load: Load | None = None
    member: bool = True


class Links:
    """Keeps a stream to every replica that Serve says is running, and tells the router.

    Args:
        router: the routing core; sees only replicas whose stream is open.
        on_change: called whenever the set of replicas that can be sent to has changed.
        on_alert: called with a replica's id, its pool and what it reports, when an engine has
            found a breach of isolation.
    """

    def __init__(
        self,
        router: Router,
        on_change: Callable[[], None],
        on_alert: Callable[[str, str, Alert], None] | None = None,
    ) -> None:
        self._router = router
        self._on_change = on_change
        self._on_alert = on_alert
        self._links: dict[str, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreOutputs)

    def set_members(self, pool: str, market: str, members: Members, on_outputs: OnOutputs) -> None:
        """Takes Serve's list of a pool's running replicas in one market."""
        for link in [link for link in self._of(pool, market) if link.replica_id not in members]:
            self._leave(link)
        for replica_id, endpoint in members.items():
            if replica_id not in self._links:
                link = Link(replica_id, pool, market, endpoint, on_outputs)
                self._links[replica_id] = link
                self._spawn(link)
        self._publish(pool, market)

    def send(self, route: Route, flight: Flight, submission: Submission) -> None:
        """Sends a request to the replica that the router chose.

        Raises:
            ReplicaUnreachable: the replica has just gone.
        """
        link = self._links.get(route.replica_id)
        if link is None or link.connection is None:
            raise ReplicaUnreachable("the replica has just gone")
        request = flight.request
        prompt_tokens = len(request.prompt_token_ids or ())
        flight.link = link
        flight.tokens = 0
        link.flights[request.request_id] = flight
        self._router.started(
            request.request_id,
            route,
            prompt_tokens,
            max(0, submission.tokens - prompt_tokens),
            time.monotonic(),
        )
        link.connection.send(Kind.ADD, [encode(submission), *self._encoder.encode(request)])

    def drop(self, flights: Iterable[Flight]) -> None:
        """Aborts requests that are still on their way; harmless for those that have ended."""
        for flight in flights:
            link, request_id = flight.link, flight.request.request_id
            if link is not None and link.flights.pop(request_id, None) is not None:
                self._router.abandoned(request_id)
                if link.connection is not None:
                    link.connection.send(Kind.ABORT, [encode_ids([request_id])])
                self._retire(link)

    @property
    def in_flight(self) -> int:
        """Requests on all streams."""
        return sum(len(link.flights) for link in self._links.values())

    def loads(self) -> Mapping[str, Load]:
        """The last report of each replica, by its id."""
        return {rid: link.load for rid, link in self._links.items() if link.load is not None}

    def close(self) -> None:
        """Ends every stream."""
        for task in self._tasks:
            task.cancel()
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
            if not link.member:
                link.connection.close()
                return
            self._publish(link.pool, link.market)
            return

    def _lost(self, link: Link) -> None:
        link.connection = None
        flights, link.flights = link.flights, {}
        now = time.monotonic()
        for request_id, flight in flights.items():
            self._router.failed(request_id, now, lost=True)
            flight.fail(ReplicaUnreachable("the replica was lost"))
        if self._links.get(link.replica_id) is link:
            if link.member:
                log.warning("replica lost", replica=link.replica_id, requests=len(flights))
                self._publish(link.pool, link.market)
                self._spawn(link)
            else:
                del self._links[link.replica_id]

    def _leave(self, link: Link) -> None:
        link.member = False
        if link.connection is None:
            self._links.pop(link.replica_id, None)
        else:
            self._retire(link)

    def _retire(self, link: Link) -> None:
        if not link.member and not link.flights and link.connection is not None:
            link.connection.close()

    def _of(self, pool: str, market: str) -> list[Link]:
        return [
            link
            for link in self._links.values()
            if link.pool == pool and link.market == market and link.member
        ]

    def _publish(self, pool: str, market: str) -> None:
        ready = [link.replica_id for link in self._of(pool, market) if link.connection is not None]
        self._router.set_replicas(pool, market, ready, time.monotonic())
        self._on_change()

    # Frames from replicas.

    def _frame(self, link: Link, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.OUTPUTS:
            self._outputs(link, self._decoder.decode(buffers))
        elif kind is Kind.LOAD:
            link.load = _LOAD.decode(buffers[0])
            self._router.report(link.replica_id, link.load.foreign_tokens)
        elif kind is Kind.REFUSED:
            self._refused(link, _REFUSAL.decode(buffers[0]))
        elif kind is Kind.BATCHMATES:
            for request_id, tenants in _SHARED_BATCH.decode(buffers[0]).tenants.items():
                if (flight := link.flights.get(request_id)) is not None:
                    flight.batch_tenants.update(tenants)
        elif kind is Kind.SECURITY:
            alert = _ALERT.decode(buffers[0])
            log.error("breach of isolation", replica=link.replica_id, code=alert.code)
            if self._on_alert is not None:
                self._on_alert(link.replica_id, link.pool, alert)
        else:
            assert link.connection is not None
            link.connection.close()

    def _outputs(self, link: Link, message: EngineCoreOutputs) -> None:
        now = time.monotonic()
        router, flights = self._router, link.flights
        for output in message.outputs:
            request_id = output.request_id
            flight = flights.get(request_id)
            if flight is None:
                continue
            count = len(output.new_token_ids)
            if count:
                if not flight.tokens:
                    router.first_token(request_id, now)
                flight.tokens += count
                router.progress(request_id, count)
            if output.finish_reason is not None:
                del flights[request_id]
                if output.finish_reason is FinishReason.ERROR:
                    router.failed(request_id, now)
                else:
                    router.finished(request_id, now)
        surplus = link.on_outputs(message)
        for request_id in surplus:
            if flights.pop(request_id, None) is not None:
                router.finished(request_id, now)
        if surplus and link.connection is not None:
            link.connection.send(Kind.ABORT, [encode_ids(surplus)])
        if not link.member:
            self._retire(link)

    def _refused(self, link: Link, refusal: Refusal) -> None:
        flight = link.flights.pop(refusal.request_id, None)
        if flight is None:
            return
        error: TidegateError = error_from_code(refusal.code, refusal.message)
        if isinstance(error, NoCapacity):
            # It is draining or dying: nobody's fault, and another replica will do.
            self._router.abandoned(refusal.request_id)
            flight.fail(ReplicaUnreachable(refusal.message))
        else:
            self._router.failed(refusal.request_id, time.monotonic())
            flight.fail(error)


_LOAD = msgspec.msgpack.Decoder(Load)
_REFUSAL = msgspec.msgpack.Decoder(Refusal)
_SHARED_BATCH = msgspec.msgpack.Decoder(SharedBatch)
_ALERT = msgspec.msgpack.Decoder(Alert)
