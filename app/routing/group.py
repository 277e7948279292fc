"""A pool's replicas in one market: the unit that a breaker guards and that metrics describe."""

from dataclasses import dataclass

from app.routing.balancer import Balancer
from app.routing.breaker import Breaker, BreakerSettings, BreakerState
from app.routing.route_table import MarketRoute, PoolRoute, prefill_group


@dataclass(frozen=True, slots=True)
class MarketState:
    """How a pool and market is at the moment, for metrics and readiness."""

    pool: str
    """The pool's name; for its prefill replicas, if it has such, that of `prefill_group`."""
    market: str
    zone: str
    ready: int
    """Replicas that can be sent to."""
    wanted: int
    """Replicas that there should be at least."""
    outstanding_tokens: int
    """Tokens that the ready replicas still have to work off."""
    breaker: BreakerState


class Group:
    """A pool and market, with its breaker. Its replicas are the balancer's.

    The prefill replicas of a disaggregated pool are groups of their own: they take other work than
    its decode replicas, and fail for other reasons.
    """

    __slots__ = ("breaker", "market", "pool", "reads", "saturated_at", "wanted", "zone")

    def __init__(self, route: PoolRoute, pool: str, market: MarketRoute, breaker: Breaker) -> None:
        self.pool = pool
        self.reads = pool != route.pool
        self.zone = route.zone
        self.market = market.market
        self.wanted = market.replicas
        self.saturated_at = route.max_outstanding_tokens
        self.breaker = breaker

    @classmethod
    def of(cls, route: PoolRoute, breaker: BreakerSettings) -> "dict[str, tuple[Group, ...]]":
        """The groups of a pool, by the name that their replicas go by."""
        markets = {route.pool: route.markets}
        if route.prefill:
            markets[prefill_group(route.pool)] = route.prefill
        return {
            name: tuple(cls(route, name, entry, Breaker(breaker)) for entry in entries)
            for name, entries in markets.items()
        }

    def state(self, balancer: Balancer, now: float) -> MarketState:
        """How it is at the time `now` (seconds, monotonic)."""
        replicas = balancer.in_group(self.pool, self.market)
        return MarketState(
            pool=self.pool,
            market=self.market,
            zone=self.zone,
            ready=len(replicas),
            wanted=self.wanted,
            outstanding_tokens=sum(replica.outstanding for replica in replicas),
            breaker=self.breaker.state(now),
        )
