"""What the keeper knows of all replicas: the warm pools' cores, and the starts under way."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.config import Deployed, FleetConfig
from autoscaling.warm_pool import Order, Plan, PoolSettings, RecycleSettings, Report, WarmPool

DEMAND_S = 5.0
START_S = 60.0
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
        reason: why the model must not be loaded, see `app.weights.refusal.Reason`.
    """

    deployment: str
    replica: str
    stage: str
    done: int
    total: int
    began: float
    heard: float
    reason: str = ""


class Keeping:
    """Feeds the cores of all deployments; decides nothing itself.

    Args:
        config: the fleet's configuration.
    """

    def __init__(self, config: FleetConfig) -> None:
        self.pools = {
            each.name: WarmPool(pool_settings(config, each)) for each in config.deployments()
        }
        self._demand: dict[str, tuple[float, Mapping[str, tuple[float, int]]]] = {}
        self._starts: dict[str, Starting] = {}

    def report(self, deployment: str, report: Report, now: float) -> Order:
        """Takes one replica's report; what it is to do."""
        self._starts.pop(report.replica, None)
        return self.pools[deployment].report(report, now)

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
        self, deployment: str, replica: str, stage: str, done: int, total: int, now: float
    ) -> None:
        """Takes how far a replica's start is."""
        known = self._starts.get(replica)
        began = now if known is None else known.began
        self._starts[replica] = Starting(deployment, replica, stage, done, total, began, now)

    def refused(self, deployment: str, replica: str, reason: str, now: float) -> None:
        """Takes that a replica does not start, because its model must not be loaded."""
        self._starts[replica] = Starting(deployment, replica, REFUSED, 0, 0, now, now, reason)

    def plans(self, now: float) -> dict[str, Plan]:
        """What every deployment should have."""
        self._sum_up(now)
        return {name: pool.plan(now) for name, pool in self.pools.items()}

    def starts(self, now: float) -> list[dict[str, Any]]:
        """The starts under way, with `seconds` since each began."""
        self._starts = {
            replica: start for replica, start in self._starts.items() if now - start.heard < START_S
        }
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
        ]

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
