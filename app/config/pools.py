"""Pools: engines of one model, one zone and some size classes, with one engine configuration."""

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from app.config.disaggregated import DisaggregatedConfig
from app.config.engines import EngineConfig, MarketConfig, ResourceConfig
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
from app.routing.size_class import SizeClass

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
    return {} if data["disaggregated"] is not None else {Market.ON_DEMAND: MarketConfig()}


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
    graceful_shutdown_timeout_s: Seconds = 300.0
    """How long a stopping replica may go on with the requests it has."""
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
