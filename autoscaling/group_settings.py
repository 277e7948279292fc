"""What the configuration says of each group of replicas, as its plan is made by."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.admission.isolation import RULES
from app.config import (
    Deployed,
    FleetConfig,
    Market,
    MarketConfig,
    PoolConfig,
    Role,
    ScalingConfig,
)
from app.placement import engine_placement
from autoscaling.demand.history import Side

REGION_LABEL = "ray.io/availability-region"
AVAILABILITY_ZONE_LABEL = "ray.io/availability-zone"


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """One group: a pool's replicas, or one side of a disaggregated pool's."""

    name: str
    """The pool's name, or `POOL--prefill`."""
    pool: PoolConfig
    """The pool as this side sees it."""
    role: Role
    """What the replicas do of a request."""
    deployments: Mapping[Market, Deployed]
    """The deployments, by market."""
    headroom: float
    """What isolation asks for beyond the work itself, 1 or more."""
    scaling: ScalingConfig
    """How capacity follows demand."""

    @property
    def sides(self) -> tuple[Side, ...]:
        """The kinds of work that are its own."""
        # Short prompts of a disaggregated pool are computed where they are decoded.
        return ("prefill",) if self.role is Role.PREFILL else ("prefill", "decode")

    @property
    def bounds(self) -> Mapping[Market, MarketConfig]:
        """How many replicas there may be, by market."""
        return self.pool.markets

    @property
    def least(self) -> int:
        """Fewest active replicas."""
        return sum(bounds.min_replicas for bounds in self.bounds.values())

    @property
    def most(self) -> int:
        """Most active replicas."""
        return sum(bounds.max_replicas for bounds in self.bounds.values())

    def resources(self, market: Market) -> tuple[list[dict[str, float]], dict[str, str]]:
        """What one replica takes of its nodes, and the labels that they must have.

        Args:
            market: One of the group's markets.
        """
        placement = engine_placement(self.pool, market, self.role)
        labels = self.pool.label_selector(market)
        if placement.bundles is not None:
            return [dict(bundle) for bundle in placement.bundles], labels
        options = placement.ray_actor_options
        names = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        bundle = {to: float(options[name]) for name, to in names.items() if options.get(name)}
        return [bundle], labels


def groups_of(fleet: FleetConfig) -> dict[str, GroupSettings]:
    """The groups of a fleet, by name.

    Args:
        fleet: A valid configuration.
    """
    found: dict[str, dict[Market, Deployed]] = {}
    for deployed in fleet.deployments():
        found.setdefault(deployed.group, {})[deployed.market] = deployed
    groups = {}
    for name, deployments in found.items():
        one = next(iter(deployments.values()))
        isolation = fleet.zones[one.pool.zone].isolation
        groups[name] = GroupSettings(
            name=name,
            pool=one.pool,
            role=one.role,
            deployments=deployments,
            headroom=RULES[isolation.value].headroom,
            scaling=fleet.scaling,
        )
    return groups
