"""The warm pools of one group, a deployment for each market, and what they do for each other."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from autoscaling.keeper_news import Throughput
from autoscaling.plan_terms import Ask
from autoscaling.pool_terms import PoolSettings, Report
from autoscaling.reactive import needed_replicas

ON_DEMAND = "on-demand"
SATURATED = 0.5


class Pool(Protocol):
    """What a group has to know of a pool, see `autoscaling.warm_pool.WarmPool`."""

    @property
    def wanted(self) -> int:
        """Replicas that should take requests."""

    @property
    def active(self) -> Sequence[Report]:
        """Those that take requests, on nodes that stay."""

    @property
    def doomed(self) -> Sequence[Report]:
        """Those that take or took requests, on nodes that go."""

    @property
    def work(self) -> float:
        """Tokens outstanding."""

    def ask(self, active: int, now: float, *, covered: bool = False) -> None:
        """Takes how many active replicas are asked for."""

    def hold(self, least: int) -> None:
        """Wants at least so many active replicas, in the place of doomed ones elsewhere."""

    def cover(self, active: int) -> None:
        """Takes how many active replicas elsewhere stand in for doomed ones here."""


class MarketGroup:
    """Has on-demand replicas stand in for those whose nodes go, and passes on what is asked.

    Times are monotonic, in seconds.

    Args:
        pools: The group's pools, by market.
        settings: What tells how much work a replica takes; the same for all of them.
    """

    __slots__ = ("_before", "_pools", "_settings")

    def __init__(self, pools: Mapping[str, Pool], settings: PoolSettings) -> None:
        self._pools = dict(pools)
        self._settings = settings
        self._before: int | None = None

    def ask(self, asks: Mapping[str, Ask], now: float) -> None:
        """Takes how many replicas whoever looks ahead asks for.

        Args:
            asks: By market. A market that is missing is not asked for anything.
            now: The time.
        """
        counts = {
            market: _count(ask.active) for market, ask in asks.items() if market in self._pools
        }
        work = sum(pool.work for pool in self._pools.values())
        settings = self._settings
        needed = needed_replicas(work, settings.tokens_per_replica, settings.target_load)
        there = sum(
            min(len(pool.active), counts.get(market, pool.wanted))
            for market, pool in self._pools.items()
        )
        for market, count in counts.items():
            self._pools[market].ask(count, now, covered=there >= needed)

    def balance(self) -> None:
        """Has as many on-demand replicas stand in as are doomed elsewhere, until those are gone.

        It does not wait for whoever looks ahead; what they ask for takes over afterwards.
        """
        on_demand = self._pools.get(ON_DEMAND)
        others = [pool for market, pool in self._pools.items() if market != ON_DEMAND]
        if on_demand is None or not others:
            return
        doomed = sum(len(pool.doomed) for pool in others)
        if not doomed:
            self._before = None
            on_demand.hold(0)
        else:
            if self._before is None:
                self._before = on_demand.wanted
            on_demand.hold(self._before + doomed)
        spare = 0 if self._before is None else max(0, len(on_demand.active) - self._before)
        for pool in others:
            pool.cover(spare)

    def throughput(self) -> Throughput:
        """What the group's active replicas do now."""
        reports = [
            report for pool in self._pools.values() for report in (*pool.active, *pool.doomed)
        ]
        saturated = sum(report.saturated for report in reports)
        return Throughput(
            prefill_tps=sum(report.prefill_tps for report in reports),
            decode_tps=sum(report.decode_tps for report in reports),
            replicas=len(reports),
            saturated=bool(reports) and saturated >= SATURATED * len(reports),
        )


def _count(active: object) -> int:
    """What was asked for; nothing where it makes no sense, since it comes from elsewhere."""
    return active if isinstance(active, int) and active > 0 else 0
