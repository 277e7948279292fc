r"""Where a request goes: the route tables, the breakers and the balancer as one decision.

The exact class comes first; a larger class of the same zone takes what the exact one cannot: when
its replicas are saturated, its breaker is open, or it has none. Where every one is saturated the
exact class takes it all the same: to refuse for load is admission's business, not routing's.

The life of a request, by its key::

    route -> started -> first_token -> progress ... -> finished
                   \-> failed, to be routed again   \-> failed | abandoned

In a disaggregated pool `route` knows the decode replicas alone. `prefill_route` finds a prefill
replica for a request that was routed there, and `decode_route` a decode replica for what prefill
has finished. Each half lives as above, one after the other, both by one key; a prefill replica has
proved to work only when the first token has come from decode.

Call `started` right after the route was chosen, without waiting in between, so that the next
decision sees this one. An event for a key that is not known, or no longer, does nothing.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from app.errors import UnknownZone
from app.routing.balancer import Balancer, Replica
from app.routing.breaker import BreakerSettings
from app.routing.flights import Flight, Reads
from app.routing.group import Group, MarketState
from app.routing.route_table import RouteTable, prefill_group
from app.routing.size_class import SizeClass
from app.routing.unavailable import Asked, why_not

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """Where to send a request."""

    pool: str
    """The pool's name; from `prefill_route`, the name of its prefill replicas."""
    market: str
    """The market within the pool."""
    replica_id: str
    """The replica."""
    spilled: bool
    """Whether the pool is one of a larger class than the request's own."""


class Router:
    """Decides where requests go, and learns from how they fare.

    It remembers as many requests as are between `started` and their end; the gateway's own limit
    on open requests bounds them.

    Args:
        tables: the route tables by zone, as `build_tables` makes them.
        breaker: when the breaker of a pool and market opens and closes.
        retry_after_s: what to answer, in seconds, where nothing tells when capacity is back.

    Raises:
        ValueError: a table stands under the name of another zone than its own.
    """

    __slots__ = ("_balancer", "_flights", "_groups", "_reads", "_retry_after_s", "_tables")

    def __init__(
        self,
        tables: Mapping[str, RouteTable],
        breaker: BreakerSettings | None = None,
        retry_after_s: float = 1.0,
    ) -> None:
        for zone, table in tables.items():
            if table.zone != zone:
                raise ValueError(f"the table of zone {table.zone} is given for zone {zone}")
        settings = breaker or BreakerSettings()
        self._tables = tables
        self._balancer = Balancer()
        self._flights: dict[Hashable, Flight] = {}
        self._reads = Reads()
        self._retry_after_s = retry_after_s
        self._groups: dict[str, tuple[Group, ...]] = {
            name: groups
            for table in tables.values()
            for route in table.routes
            for name, groups in Group.of(route, settings).items()
        }

    @property
    def open_requests(self) -> int:
        """How many requests are on their way."""
        return len(self._flights)

    def set_replicas(self, pool: str, market: str, ids: Iterable[str], now: float) -> None:
        """Replaces the replicas of a pool and market by those that can be sent to.

        A new one is reason enough to try a pool again whose breaker is open.

        Raises:
            ValueError: there is no such pool and market, or a replica belongs to another one.
        """
        group = self._group(pool, market)
        if self._balancer.set_replicas(pool, market, ids):
            group.breaker.try_again(now)

    def report(self, replica_id: str, foreign_tokens: int) -> None:
        """Sets the tokens that other gateways have outstanding at a replica."""
        self._balancer.report(replica_id, foreign_tokens)

    def route(
        self,
        model: str,
        zone: str,
        size_class: SizeClass,
        need_tokens: int,
        now: float,
        exclude: frozenset[str] = _NONE,
        *,
        isolated: bool = False,
    ) -> Route:
        """Chooses a replica; reserves nothing yet.

        Args:
            model: the model asked for.
            zone: the zone that the request belongs to.
            size_class: its class.
            need_tokens: the longest that its sequence can become, in tokens.
            now: the time, in monotonic seconds.
            exclude: ids of replicas that have failed this request already.
            isolated: whether to use a pool set apart for risky requests, if the zone has one.

        Raises:
            UnknownZone: no pool is of that zone.
            UnknownModel: no pool of the zone serves the model.
            ContextLengthExceeded: no pool that may serve the class takes so long a sequence.
            NoCapacity: nothing is available now; the message says why, pool by pool.
        """
        table = self._tables.get(zone)
        if table is None:
            raise UnknownZone(f"There is no zone {zone!r}.")
        tiers = table.tiers(model, size_class, need_tokens, isolated=isolated)
        fallback: Replica | None = None
        fallback_rank = (True, len(tiers), 0, 0)
        for depth, tier in enumerate(tiers):
            best: Replica | None = None
            best_rank = (0, 0)
            for route in tier:
                for group in self._groups[route.pool]:
                    if not group.breaker.allow(now):
                        continue
                    replica = self._balancer.least_loaded(route.pool, group.market, now, exclude)
                    if replica is None:
                        continue
                    load = replica.own + replica.foreign
                    rests = replica.rests_until > now
                    if not rests and load < route.max_outstanding_tokens:
                        if best is None or (load, replica.turn) < best_rank:
                            best, best_rank = replica, (load, replica.turn)
                    elif (rests, depth, load, replica.turn) < fallback_rank:
                        fallback, fallback_rank = replica, (rests, depth, load, replica.turn)
            if best is not None:
                return Route(best.pool, best.market, best.id, depth > 0)
        if fallback is None:
            asked = Asked(model, size_class, need_tokens, exclude, isolated)
            raise why_not(asked, table, self._groups, self._balancer, now, self._retry_after_s)
        return Route(fallback.pool, fallback.market, fallback.id, fallback_rank[1] > 0)

    def prefill_route(self, pool: str, now: float, exclude: frozenset[str] = _NONE) -> Route | None:
        """Chooses the prefill replica of a disaggregated pool that has the least left to read.

        One that has just failed is not chosen while it rests: a decode replica can read the prompt
        itself, which takes less time than a hand-off that fails.

        Args:
            pool: the pool that the request was routed to.
            now: the time, in monotonic seconds.
            exclude: ids of replicas that have failed this request already.

        Returns:
            The route, in the group `prefill_group(pool)`; None where there is no replica now.
        """
        found = self._least_loaded(prefill_group(pool), now, exclude)
        return None if found is None or found.rests_until > now else _to(found)

    def decode_route(
        self,
        pool: str,
        now: float,
        exclude: frozenset[str] = _NONE,
        prefer: frozenset[str] = _NONE,
    ) -> Route | None:
        """Chooses the replica of a pool with the least outstanding, whatever the request's class.

        Args:
            pool: the pool that the request was routed to.
            now: the time, in monotonic seconds.
            exclude: ids of replicas that have failed this request already.
            prefer: ids of replicas to choose first, such as those that know the prefill replica;
                heeded while one of them works and is not saturated.

        Returns:
            The route; None where there is no replica now.
        """
        if prefer:
            best = self._least_loaded(pool, now, exclude, prefer)
            if (
                best is not None
                and best.rests_until <= now
                and best.outstanding < self._groups[pool][0].saturated_at
            ):
                return _to(best)
        found = self._least_loaded(pool, now, exclude)
        return None if found is None else _to(found)

    def started(
        self,
        request_key: Hashable,
        route: Route,
        prompt_tokens: int,
        output_tokens: int,
        now: float,
    ) -> None:
        """Records that a request is being sent where `route` said.

        Args:
            request_key: names the request in what follows; one that is on its way already is
                taken to have been abandoned there. Both halves of a hand-off go by one key.
            route: the answer of `route`, `prefill_route` or `decode_route`.
            prompt_tokens: the length of its prompt, in tokens.
            output_tokens: its expected output, in tokens.
            now: the time, in monotonic seconds.
        """
        if request_key in self._flights:
            self.abandoned(request_key)
        replica = self._balancer.replicas.get(route.replica_id)
        if replica is None:  # it went away since the decision; sending will fail
            return
        group = self._group(route.pool, route.market)
        ticket = group.breaker.admit(now)
        self._balancer.reserve(request_key, route.replica_id, prompt_tokens + output_tokens)
        self._flights[request_key] = Flight(
            replica, group.breaker, ticket, prompt_tokens, now, reads=group.reads
        )

    def first_token(self, request_key: Hashable, now: float) -> None:
        """Records that the prompt has been read: the replica works, and has so much less to do."""
        flight = self._flights.get(request_key)
        if flight is None or flight.told:
            return
        self._balancer.progress(request_key, flight.prompt_tokens)
        if not flight.reads:
            self._succeeded(request_key, flight, now)

    def progress(self, request_key: Hashable, tokens: int) -> None:
        """Records that so many more output tokens have come."""
        self._balancer.progress(request_key, tokens)

    def finished(self, request_key: Hashable, now: float) -> None:
        """Records that a request has come to its end."""
        flight = self._end(request_key)
        if flight is None:
            return
        if flight.reads:
            self._reads.keep(request_key, flight)
        elif not flight.told:
            self._succeeded(request_key, flight, now)

    def failed(self, request_key: Hashable, now: float, *, lost: bool = False) -> None:
        """Records that a request has failed for a reason of the replica's own.

        Args:
            request_key: the request.
            now: the time, in monotonic seconds.
            lost: whether the replica itself was lost. Then everything that was under way there
                fails together, and counts as one failure: a pool should not be closed because one
                busy replica of many has died.
        """
        self._reads.give_up(request_key)
        flight = self._end(request_key)
        if flight is None:
            return
        replica = flight.replica
        self._balancer.failed(replica, now)
        if lost and flight.started <= replica.lost_at:
            flight.breaker.abandoned(flight.ticket)
            return
        if lost:
            replica.lost_at = now
        flight.breaker.failed(flight.ticket, now)

    def abandoned(self, request_key: Hashable) -> None:
        """Records that a request has ended for a reason not the replica's: its client left."""
        self._reads.give_up(request_key)
        flight = self._end(request_key)
        if flight is not None and not flight.told:
            flight.breaker.abandoned(flight.ticket)

    def blamed(self, route: Route, now: float) -> None:
        """Records that a replica has failed a request that it had ended well, as far as it knew.

        So does a prefill replica whose KV cache never came to the decode replica.
        """
        replica = self._balancer.replicas.get(route.replica_id)
        if replica is not None:
            self._balancer.failed(replica, now)
            breaker = self._group(route.pool, route.market).breaker
            breaker.failed(breaker.admit(now), now)

    def states(self, now: float) -> tuple[MarketState, ...]:
        """How every pool and market is at the time `now`."""
        return tuple(
            group.state(self._balancer, now) for groups in self._groups.values() for group in groups
        )

    def _least_loaded(
        self, pool: str, now: float, exclude: frozenset[str], among: frozenset[str] | None = None
    ) -> Replica | None:
        """The replica to choose in all markets of a pool whose breakers allow it."""
        found = [
            replica
            for group in self._groups.get(pool, ())
            if group.breaker.allow(now)
            and (replica := self._balancer.least_loaded(pool, group.market, now, exclude, among))
        ]
        return min(
            found,
            key=lambda each: (each.rests_until > now, each.outstanding, each.turn),
            default=None,
        )

    def _group(self, pool: str, market: str) -> Group:
        for group in self._groups.get(pool, ()):
            if group.market == market:
                return group
        raise ValueError(f"there is no pool {pool} with market {market}")

    def _succeeded(self, request_key: Hashable, flight: Flight, now: float) -> None:
        for each in (flight, self._reads.take(request_key)):
            if each is not None:
                each.told = True
                each.breaker.succeeded(each.ticket, now)
                self._balancer.succeeded(each.replica)

    def _end(self, request_key: Hashable) -> Flight | None:
        self._balancer.release(request_key)
        return self._flights.pop(request_key, None)


def _to(replica: Replica) -> Route:
    return Route(replica.pool, replica.market, replica.id, False)
