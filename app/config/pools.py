"""Pools: engines of one model, one zone and some size classes, with one engine configuration."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from app.admission.tier import Tier
from app.config.disaggregated import DisaggregatedConfig
from app.config.engines import EngineConfig, MarketConfig, ResourceConfig
from app.config.scaling import CapacityConfig, SloConfig
from app.config.types import (
    Count,
    Flag,
    Market,
    ModelName,
    PoolName,
    Role,
    Seconds,
    Section,
    ZoneName,
)
from app.config.weights import TierBounds
from app.routing.size_class import SizeClass

TIERS = {
    Tier.CRITICAL: TierBounds(least=10, most=20, standby=4),
    Tier.STANDARD: TierBounds(least=5, most=15, standby=2),
    Tier.BATCH: TierBounds(least=2, most=8, standby=0),
}
"""What a pool's tier stands for, before it is scaled."""
MARKET_LABEL = "ray.io/market-type"
"""The node label that tells spot from on-demand; Ray's own name for it."""


def _saturation(data: dict[str, Any]) -> int:
    engine: EngineConfig = data["engine"]
    shortest: SizeClass = data["size_classes"][0]
    disaggregated: DisaggregatedConfig | None = data["disaggregated"]
    if disaggregated is not None:
        engine = disaggregated.decode.engine(engine)
    return max(2 * engine.max_num_seqs * shortest.limit, engine.max_model_len)


def _default_markets(data: dict[str, Any]) -> dict[Market, MarketConfig]:
    if data["disaggregated"] is not None:
        return {}
    return {Market.ON_DEMAND: MarketConfig(**_bounds(data, Market.ON_DEMAND))}


def _bounds(data: Mapping[str, Any], market: Market) -> dict[str, int]:
    """What a pool's tier says of one of its markets.

    What is always ready is on-demand, since spot nodes go when they please; a pool that has spot
    nodes alone has to have it there.
    """
    tier = data.get("tier")
    if tier is None:
        return {}
    bounds = TIERS[tier].scaled(data.get("tier_scale", 1.0))
    if market is Market.SPOT:
        most = max(1, bounds.most - bounds.least)
        return {"min_replicas": 0, "max_replicas": most, "standby_replicas": 0}
    return {
        "min_replicas": bounds.least,
        "max_replicas": bounds.most,
        "standby_replicas": bounds.standby,
    }


def _merged(bounds: Mapping[str, int], own: Mapping[str, Any]) -> dict[str, Any]:
    """A market's own numbers before those of the tier, whose standby is cut to what fits."""
    merged = {**bounds, **own}
    least, most = merged["min_replicas"], merged["max_replicas"]
    if "standby_replicas" not in own and isinstance(least, int) and isinstance(most, int):
        merged["standby_replicas"] = max(0, min(bounds["standby_replicas"], most - least))
    return merged


class PoolConfig(Section):
    """Engines of one model, one zone and some size classes."""

    name: PoolName
    """Unique in the fleet; part of the names of its deployments."""
    model: ModelName
    """Name of one of `models`."""
    zone: ZoneName
    """Name of one of `zones`."""
    size_classes: tuple[SizeClass, ...]
    """Classes of requests that this pool is built for; kept shortest first."""
    engine: EngineConfig
    """Settings of the engines."""
    disaggregated: DisaggregatedConfig | None = None
    """Has prompts computed by other engines than answers. By default one engine does both."""
    tier: Tier | None = None
    """How much of the pool is always ready, on standby or started on demand, where its markets do
    not say: 10 to 20 replicas for `critical`, 5 to 15 for `standard`, 2 to 8 for `batch`. Without a
    tier a market has one replica."""
    tier_scale: Annotated[float, Field(strict=True, gt=0, le=100)] = 1.0
    """What the numbers of the tier are multiplied by."""
    markets: dict[Market, MarketConfig] = Field(default_factory=_default_markets)
    """Where the replicas run, a deployment for each market; by default one replica on-demand. In a
    disaggregated pool either side has its own."""
    resources: ResourceConfig = ResourceConfig()
    """What each replica takes; in a disaggregated pool, where a side says nothing else."""
    isolated: Flag = False
    """Set apart for requests whose risk is above `guards.isolate_above`; it gets no others."""
    max_outstanding_tokens: Count = Field(default_factory=_saturation)
    """Tokens of work (prompt and expected output) on one replica from which on it counts as
    saturated and requests spill to a larger class. By default two full batches of the pool's
    shortest class, one running and one waiting, and never less than `engine.max_model_len`; in a
    disaggregated pool batches are those of `decode`."""
    slo: SloConfig = SloConfig()
    """What its requests are promised, and its replicas are sized for."""
    capacity: CapacityConfig | None = None
    """What one replica carries within `slo`, as `tidegate profile` measures it; corrected by what
    is seen. Without it, it is learned from the first busy minutes, and nothing is started ahead of
    demand until then. In a disaggregated pool `prefill_tokens_per_s` is of a prefill replica,
    `decode_tokens_per_s` of a decode replica."""
    graceful_shutdown_timeout_s: Seconds = 300.0
    """How long a stopping replica may go on with the requests it has. On spot nodes at most 30 s:
    they are gone two minutes after a notice, and what takes longer goes on elsewhere."""
    health_check_period_s: Seconds = 5.0
    """Seconds between two health checks of a replica."""
    health_check_timeout_s: Seconds = 30.0
    """Seconds without an answer after which a health check has failed."""

    @field_validator("size_classes")
    @classmethod
    def _unique_and_sorted(cls, value: tuple[SizeClass, ...]) -> tuple[SizeClass, ...]:
        if not value:
            raise ValueError(f"is empty: list at least one of {', '.join(SizeClass)}")
        twice = {size_class for size_class in value if value.count(size_class) > 1}
        if twice:
            raise ValueError(f"lists {', '.join(sorted(twice))} more than once")
        return tuple(sorted(value, key=lambda size_class: size_class.limit))

    @field_validator("tier")
    @classmethod
    def _of_one_kind(cls, value: Tier | None, info: ValidationInfo) -> Tier | None:
        if value is not None and info.data.get("disaggregated") is not None:
            raise ValueError(
                "cannot size a disaggregated pool, whose sides differ: leave it out, and set the "
                "replicas in `disaggregated.prefill.markets` and `disaggregated.decode.markets`"
            )
        return value

    @field_validator("markets", mode="before")
    @classmethod
    def _by_tier(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping) or info.data.get("tier") is None:
            return value
        alone = len(value) == 1
        return {
            name: _merged(_bounds(info.data, Market.ON_DEMAND if alone else Market(name)), entry)
            if isinstance(entry, Mapping) and name in list(Market)
            else entry
            for name, entry in value.items()
        }

    @field_validator("markets")
    @classmethod
    def _where_they_belong(
        cls, value: dict[Market, MarketConfig], info: ValidationInfo
    ) -> dict[Market, MarketConfig]:
        divided = info.data.get("disaggregated") is not None
        if value and divided:
            raise ValueError(
                "cannot stand beside `disaggregated`, where either side has its own: put them into "
                "`disaggregated.prefill.markets` and `disaggregated.decode.markets`"
            )
        if not value and not divided:
            raise ValueError(f"is empty: name at least one of {', '.join(Market)}")
        return value

    @property
    def roles(self) -> tuple[Role, ...]:
        """The kinds of replicas that the pool has."""
        return (Role.WHOLE,) if self.disaggregated is None else (Role.PREFILL, Role.DECODE)

    def side(self, role: Role) -> "PoolConfig":
        """The pool as its replicas of one kind see it: with their engine, markets and resources.

        Args:
            role: One of `roles`; `whole` gives the pool itself.

        Raises:
            KeyError: The pool has no such replicas, or is a side itself.
        """
        if role is Role.WHOLE:
            return self
        # Only a side has markets beside `disaggregated`; its engine is not the pool's.
        if self.disaggregated is None or self.markets:
            raise KeyError(role)
        side = self.disaggregated.side(role)
        return self.model_copy(
            update={
                "engine": side.engine(self.engine),
                "markets": side.markets,
                "resources": side.resources or self.resources,
            }
        )

    def label_selector(self, market: Market) -> dict[str, str]:
        """Labels that a node must have to run a replica of this market.

        Args:
            market: One of the pool's markets.

        Raises:
            KeyError: The pool has no such market.
        """
        configured = self.markets[market].label_selector
        if configured is not None:
            return dict(configured)
        markets = set(self.markets)
        if self.disaggregated is not None:
            # What one side does on spot nodes is no reason for the other to land there.
            markets |= {*self.disaggregated.prefill.markets, *self.disaggregated.decode.markets}
        return {} if markets == {Market.ON_DEMAND} else {MARKET_LABEL: market.value}
