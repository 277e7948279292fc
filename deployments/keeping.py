"""What the keeper knows of all replicas: the warm pools' cores, and the starts under way."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from app.config import Deployed, FleetConfig
from autoscaling.keeper_news import KeeperNews, Start
from autoscaling.market_group import MarketGroup
from autoscaling.nodes import Kind, Nodes
from autoscaling.plan_terms import Ask, Site
from autoscaling.start_clock import StartClock
from autoscaling.warm_pool import Order, Plan, PoolSettings, RecycleSettings, Report, WarmPool

DEMAND_S = 5.0
START_S = 60.0
"""Seconds for which a start is shown after it was last heard of."""
SILENT_START_S = 300.0
"""Seconds after which a start that has said nothing is taken to have failed: a stage that cannot
tell how far it is, such as compiling, may take minutes."""
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Starting:
    """Where the start of a replica is.

    Attributes:
        deployment: the replica's deployment.
        replica: its id.
        stage: the stage it is in; `refused` if the model must not be loaded.
        done: how much of the stage is done, in bytes; 0 where that is not known.
        total: how much there is, in bytes; 0 where that is not known.
        began: when the start began, in monotonic seconds.
        heard: when it was last heard of, in monotonic seconds.
        node: id of the node that it is on; empty where that is not known.
        site: where that node is.
        reason: why the model must not be loaded, see `app.weights.refusal.Reason`.
    """

    deployment: str
    replica: str
    stage: str
    done: int
    total: int
    began: float
    heard: float
    node: str = ""
    site: Site | None = None
    reason: str = ""


class Told(NamedTuple):
    """What a replica is answered."""

    order: Order
    leaves_in_s: float | None = None
    """Seconds until its node is gone; None if it stays or nobody has said when."""


class Keeping:
    """Feeds the cores of all deployments; decides nothing itself.

    Args:
        config: the fleet's configuration.
    """

    def __init__(self, config: FleetConfig) -> None:
        self._deployed = {each.name: each for each in config.deployments()}
        settings = {name: pool_settings(config, each) for name, each in self._deployed.items()}
        self.pools = {name: WarmPool(each) for name, each in settings.items()}
        self._clocks = {name: StartClock() for name in self.pools}
        self._nodes = Nodes()
        # Where nobody has named sites, all spot nodes are one.
        self._names_sites = bool(config.scaling.spot.sites)
        self._groups = {
            group: MarketGroup(
                {
                    each.market.value: self.pools[each.name]
                    for each in self._deployed.values()
                    if each.group == group
                },
                next(
                    settings[each.name] for each in self._deployed.values() if each.group == group
                ),
            )
            for group in {each.group for each in self._deployed.values()}
        }
        self._demand: dict[str, tuple[float, Mapping[str, tuple[float, int]]]] = {}
        self._starts: dict[str, Starting] = {}

    def report(self, deployment: str, report: Report, now: float) -> Told:
        """Takes one replica's report; what it is to do.

        Raises:
            KeyError: there is no such deployment.
        """
        pool = self.pools[deployment]
        self._starts.pop(report.replica, None)
        if not self._names_sites:
            report = replace(report, site=Site(report.site.market))
        self._nodes.heard(report.replica, report.node, report.site, report.age_s, now)
        leaves_at = self._nodes.leaves_at(report.node)
        if leaves_at is not None:
            pool.doom(report.replica, leaves_at, now)
        order = pool.report(report, now)
        if order is Order.EXIT:
            self._nodes.released(report.replica, report.node)
        self._clocks[deployment].heard(report, order, now)
        return Told(order, pool.leaves_in(report.replica, now))

    def planned(self, asks: Mapping[str, Ask], now: float) -> KeeperNews:
        """Takes what whoever looks ahead asks for, and says what has happened since.

        Args:
            asks: what is asked for, by deployment; of what there is not, nothing is done.
            now: the time, in monotonic seconds.
        """
        for name, group in self._groups.items():
            group.balance()
            group.ask(
                {
                    each.market.value: asks[each.name]
                    for each in self._deployed.values()
                    if each.group == name and each.name in asks
                },
                now,
            )
        self._sum_up(now)
        exposed, lost, warned = self._nodes.news(now)
        coming = self._coming(now)
        return KeeperNews(
            running={name: pool.running(now, coming[name]) for name, pool in self.pools.items()},
            starts=[
                Start(self._deployed[name].group, self._deployed[name].market.value, *taken)
                for name, clock in self._clocks.items()
                for taken in clock.taken(now)
            ],
            lost=lost,
            exposed=exposed,
            warned=warned,
            work={name: group.throughput() for name, group in self._groups.items()},
        )

    def notice(self, node: str, kind: Kind, leaves_at: float | None, now: float) -> bool:
        """Takes that a node goes, or that it may.

        Args:
            node: its id.
            kind: `preempted` for one that goes, on which Ray starts nothing any more; `rebalance`
                for one that may go, whose replicas are replaced before they leave.
            leaves_at: when it is gone, in monotonic seconds; None where nobody has said.
            now: the time, in monotonic seconds.

        Returns:
            Whether any replica has reported from it.
        """
        if not self._nodes.notice(node, kind, leaves_at, now):
            return self._nodes.knows(node)
        if kind == "preempted":
            self._doom(node, now)
        else:
            for replica in self._nodes.replicas(node):
                for pool in self.pools.values():
                    pool.replace(replica)
        return self._nodes.knows(node)

    def seen(self, present: Collection[str], leaving: Mapping[str, float], now: float) -> None:
        """Takes what Ray says of its nodes.

        Args:
            present: those that are there, by id.
            leaving: those of them that go, with the time in monotonic seconds, `inf` where nobody
                has said.
            now: the time, in monotonic seconds.
        """
        for node in self._nodes.seen(present, leaving, now):
            self._doom(node, now)

    def waiting(self, gateway: str, demand: Mapping[str, tuple[float, int]], now: float) -> None:
        """Takes what waits at one gateway for a replica.

        Args:
            gateway: the gateway.
            demand: tokens and requests that wait, by deployment.
            now: the time, in monotonic seconds.
        """
        self._demand[gateway] = now, demand
        self._sum_up(now)

    def starting(
        self,
        deployment: str,
        replica: str,
        stage: str,
        done: int,
        total: int,
        now: float,
        *,
        node: str = "",
        site: Site | None = None,
    ) -> None:
        """Takes how far a replica's start is, and where it is."""
        known = self._starts.get(replica)
        began = now if known is None else known.began
        if site is not None and not self._names_sites:
            site = Site(site.market)
        self._starts[replica] = Starting(
            deployment, replica, stage, done, total, began, now, node, site
        )

    def refused(self, deployment: str, replica: str, reason: str, now: float) -> None:
        """Takes that a replica does not start, because its model must not be loaded."""
        self._starts[replica] = Starting(
            deployment, replica, REFUSED, 0, 0, now, now, reason=reason
        )

    def plans(self, now: float) -> dict[str, Plan]:
        """What every deployment should have."""
        self._sum_up(now)
        for group in self._groups.values():
            group.balance()
        plans = {name: pool.plan(now) for name, pool in self.pools.items()}
        for name, plan in plans.items():
            if plan.settled:
                self._clocks[name].wanted(self.pools[name].running(now).starting, now)
        return plans

    def starts(self, now: float) -> list[dict[str, Any]]:
        """The starts under way, with `seconds` since each began."""
        self._forget_starts(now)
        return [
            {
                "deployment": s.deployment,
                "replica": s.replica,
                "stage": s.stage,
                "done": s.done,
                "total": s.total,
                "seconds": round(now - s.began, 1),
                "reason": s.reason,
            }
            for s in self._starts.values()
            if now - s.heard < START_S
        ]

    def _coming(self, now: float) -> dict[str, Counter[Site]]:
        """Replicas that start on nodes that stay, by deployment and by where they are."""
        self._forget_starts(now)
        coming: dict[str, Counter[Site]] = {name: Counter() for name in self.pools}
        for start in self._starts.values():
            stays = self._nodes.stays(start.node)
            if start.site and stays and start.stage != REFUSED and start.deployment in coming:
                coming[start.deployment][start.site] += 1
        return coming

    def _forget_starts(self, now: float) -> None:
        self._starts = {
            replica: start
            for replica, start in self._starts.items()
            if now - start.heard < SILENT_START_S
        }

    def _doom(self, node: str, now: float) -> None:
        leaves_at = self._nodes.leaves_at(node)
        for replica in self._nodes.replicas(node):
            for pool in self.pools.values():
                if leaves_at is not None and pool.knows(replica):
                    pool.doom(replica, leaves_at, now)
        for group in self._groups.values():
            group.balance()

    def _sum_up(self, now: float) -> None:
        self._demand = {
            gateway: entry for gateway, entry in self._demand.items() if now - entry[0] < DEMAND_S
        }
        for name, pool in self.pools.items():
            found = [demand[name] for _, demand in self._demand.values() if name in demand]
            pool.waiting(sum(each[0] for each in found), sum(each[1] for each in found), now)


def pool_settings(config: FleetConfig, deployed: Deployed) -> PoolSettings:
    """What the core of a deployment's warm pool goes by."""
    bounds = deployed.pool.markets[deployed.market]
    recycling, scaling = config.recycling, config.scaling
    return PoolSettings(
        least=bounds.min_replicas,
        most=bounds.max_replicas,
        standby=bounds.standby_replicas,
        tokens_per_replica=deployed.pool.max_outstanding_tokens,
        target_load=scaling.target_load,
        up_delay_s=scaling.up_delay_s,
        down_delay_s=scaling.down_delay_s,
        recycle=RecycleSettings(
            enabled=recycling.enabled,
            age_s=recycling.age_s,
            jitter=recycling.jitter,
            fragmentation=recycling.fragmentation,
            share=recycling.share,
            patience_s=recycling.patience_s,
        ),
    )
