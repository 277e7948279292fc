"""One stream from a gateway to a replica, and how both sides of a pool get to know each other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from vllm.v1.engine import EngineCoreOutputs

from app.config import Deployed, Role
from deployments.flight import Flight
from deployments.messages import KvPeer, Load, encode
from deployments.wire import Connection, Endpoint, Kind

OnOutputs = Callable[[EngineCoreOutputs], list[str]]
"""Takes one message of an engine, returns the ids of requests that it need not go on with."""


@dataclass(slots=True, eq=False)
class Link:
    """A stream to one replica. It outlives the replica's membership while requests are on it.

    Attributes:
        replica_id: Serve's id of the replica.
        deployed: the deployment that it is of.
        endpoint: where it listens.
        on_outputs: takes its outputs; those of flights that `landed` takes are kept from it.
        connection: the stream; None while it is not open.
        flights: requests that are on it, by their ids on the wire.
        load: what it last reported.
        member: whether Serve counts it as running.
        standby: whether it is on standby and takes no requests.
        leaves_at: when it will stop, in monotonic seconds; None while it does not drain.
        peer: where it takes part in transfers of KV caches; None where it does not.
        warm: engine ids that it has shaken hands with.
        heard_at: when it last reported, in monotonic seconds.
    """

    replica_id: str
    deployed: Deployed
    endpoint: Endpoint
    on_outputs: OnOutputs
    connection: Connection | None = None
    flights: dict[str, Flight] = field(default_factory=dict)
    load: Load | None = None
    member: bool = True
    standby: bool = False
    leaves_at: float | None = None
    peer: KvPeer | None = None
    warm: frozenset[str] = frozenset()
    heard_at: float = 0.0

    @property
    def group(self) -> str:
        """The name that routing knows its kind by."""
        return self.deployed.group

    @property
    def market(self) -> str:
        """Its market."""
        return self.deployed.market.value

    @property
    def takes_requests(self) -> bool:
        """Whether it can be sent to."""
        open_ = self.connection is not None and not self.standby
        return self.member and open_ and self.leaves_at is None

    def warm_with(self, other: "Link") -> bool:
        """Whether a KV cache can go over to or from another replica without a handshake."""
        mine, its = self.peer, other.peer
        if mine is None or its is None:
            return False
        return its.engine_id in self.warm and mine.engine_id in other.warm


def opposite(link: Link, links: Iterable[Link]) -> Iterator[Link]:
    """Of all streams those to replicas of the same pool that do the other half of the work."""
    other = Role.DECODE if link.deployed.role is Role.PREFILL else Role.PREFILL
    return (
        each
        for each in links
        if each.deployed.role is other and each.deployed.pool.name == link.deployed.pool.name
    )


def can_be_sent_to(link: Link, links: Iterable[Link]) -> bool:
    """Whether a replica may get requests."""
    if not link.takes_requests or link.deployed.role is not Role.PREFILL:
        return link.takes_requests
    # What it reads must be able to go somewhere, without a request waiting for a handshake.
    return any(link.warm_with(other) for other in opposite(link, links))


def introduce(pool: str, links: Iterable[Link]) -> None:
    """Tells the replicas of both sides of a pool of each other."""
    known = [link for link in links if link.deployed.pool.name == pool]
    for link in known:
        if link.connection is not None:
            peers = [each.peer for each in opposite(link, known) if each.peer is not None]
            link.connection.send(Kind.PEERS, [encode(peers)])
