"""A pool's replicas in one market: the unit that a breaker guards and that metrics describe."""

from dataclasses import dataclass

from app.routing.balancer import Balancer
from app.routing.breaker import Breaker, BreakerState
from app.routing.route_table import MarketRoute, PoolRoute


@dataclass(frozen=True, slots=True)
class MarketState:
    """How a pool and market is at the moment, for metrics and readiness."""

    pool: str
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
    """A pool and market, with its breaker. Its replicas are the balancer's."""

    __slots__ = ("breaker", "market", "pool", "wanted", "zone")

    def __init__(self, route: PoolRoute, market: MarketRoute, breaker: Breaker) -> None:
        self.pool = route.pool
        self.zone = route.zone
        self.market = market.market
        self.wanted = market.replicas
        self.breaker = breaker

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
