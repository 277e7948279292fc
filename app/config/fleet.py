"""The whole configuration: models, zones, pools and the service in front of them."""

from typing import NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from app.config import checks
from app.config.pools import PoolConfig
from app.config.scaling import ScalingConfig
from app.config.service import (
    ClassifierConfig,
    ExpectedOutputConfig,
    GatewayConfig,
    RoutingConfig,
)
from app.config.tenancy import (
    AccessConfig,
    AuditConfig,
    BudgetsConfig,
    FairnessConfig,
    GuardsConfig,
    LedgerConfig,
    LimitsConfig,
    PricesConfig,
    StoreConfig,
    WhenLedgerAway,
)
from app.config.types import (
    Count,
    CountOrZero,
    Flag,
    Isolation,
    Market,
    ModelName,
    Role,
    Section,
    Text,
    ZoneName,
)
from app.config.weights import RecyclingConfig, WeightsConfig
from app.errors import ConfigError, UnknownModel, UnknownZone
from app.routing.route_table import prefill_group
from app.routing.size_class import SizeClass


class ModelConfig(Section):
    """A model as the fleet serves it."""

    name: ModelName
    """What clients write in `model`."""
    source: Text
    """Directory of the checkpoint or `s3://BUCKET/PREFIX`; where it is `unverified`, also its id on
    the hub."""
    max_model_len: Count
    """Context of the model, in tokens; no pool can go beyond it."""
    revision: Text | None = None
    """Commit, tag or branch on the hub."""
    tokenizer: Text | None = None
    """Directory or id of the tokenizer; by default `source`."""
    chat_template: Text | None = None
    """File with a Jinja chat template; by default the tokenizer's own."""
    tool_call_parser: Text | None = None
    """vLLM's parser of the model's tool calls, such as `hermes`; without one, tools are refused."""
    reasoning_parser: Text | None = None
    """vLLM's parser of the model's reasoning."""
    least_version: CountOrZero = 0
    """Signed versions below this are refused. So are those below what was loaded before."""
    unverified: Flag = False
    """Loads the model whoever has made it. Refused in zones of maximum isolation."""


class ZoneConfig(Section):
    """A security classification."""

    isolation: Isolation
    """How strictly requests are kept apart from each other."""
    description: str = ""
    """For people."""
    when_ledger_away: WhenLedgerAway = WhenLedgerAway.REFUSE
    """What becomes of requests while nobody can say what may be used. `serve` is refused for
    maximum isolation."""


class Deployed(NamedTuple):
    """One Serve deployment of engines."""

    pool: PoolConfig
    """The pool as this deployment's replicas see it; see `PoolConfig.side`."""
    market: Market
    name: str
    """`POOL--MARKET`; in a disaggregated pool `POOL--ROLE--MARKET`."""
    role: Role = Role.WHOLE
    """What its replicas do of a request."""

    @property
    def group(self) -> str:
        """What routing calls its replicas together: the pool's name, or `POOL--prefill`."""
        return prefill_group(self.pool.name) if self.role is Role.PREFILL else self.pool.name


class FleetConfig(Section):
    """Everything under `args:` in serve_config.yaml."""

    models: tuple[ModelConfig, ...] = Field(min_length=1)
    """What can be served."""
    zones: dict[ZoneName, ZoneConfig] = Field(min_length=1)
    """Security classifications, from the lowest to the highest."""
    default_zone: ZoneName
    """Zone of a request that asks for none."""
    pools: tuple[PoolConfig, ...] = Field(min_length=1)
    """Which engines there are."""
    size_classes_required: tuple[SizeClass, ...] = tuple(SizeClass)
    """Classes that at least one pool must list. Shorten it for a fleet without long contexts."""
    gateway: GatewayConfig = GatewayConfig()
    classifier: ClassifierConfig = ClassifierConfig()
    routing: RoutingConfig = RoutingConfig()
    expected_output: ExpectedOutputConfig = ExpectedOutputConfig()
    access: AccessConfig = AccessConfig()
    store: StoreConfig = StoreConfig()
    ledger: LedgerConfig = LedgerConfig()
    limits: LimitsConfig = LimitsConfig()
    budgets: BudgetsConfig = BudgetsConfig()
    prices: PricesConfig = PricesConfig()
    fairness: FairnessConfig = FairnessConfig()
    guards: GuardsConfig = GuardsConfig()
    audit: AuditConfig = AuditConfig()
    weights: WeightsConfig = WeightsConfig()
    scaling: ScalingConfig = ScalingConfig()
    recycling: RecyclingConfig = RecyclingConfig()

    @field_validator("size_classes_required")
    @classmethod
    def _sorted(cls, value: tuple[SizeClass, ...]) -> tuple[SizeClass, ...]:
        return tuple(sorted(set(value), key=lambda size_class: size_class.limit))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        issues = checks.check(self)
        if issues:
            raise ConfigError(issues)
        return self

    def model(self, name: str) -> ModelConfig:
        """The model that clients know by this name.

        Raises:
            UnknownModel: There is none.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise UnknownModel(f"The model {name!r} does not exist; see /v1/models.")

    def pool(self, name: str) -> PoolConfig:
        """The pool of this name.

        Raises:
            KeyError: There is none.
        """
        for pool in self.pools:
            if pool.name == name:
                return pool
        raise KeyError(name)

    def zone_rank(self, name: str) -> int:
        """How high a zone is: 0 for the lowest.

        Raises:
            UnknownZone: There is no such zone.
        """
        for rank, zone in enumerate(self.zones):
            if zone == name:
                return rank
        raise UnknownZone(f"There is no zone {name!r}; the zones are {', '.join(self.zones)}.")

    def pools_of(self, model: str, zone: str) -> tuple[PoolConfig, ...]:
        """The pools that serve this model in this zone, in the order of the file."""
        return tuple(pool for pool in self.pools if pool.model == model and pool.zone == zone)

    def deployments(self) -> list[Deployed]:
        """Every deployment of engines, in the order of the file."""
        return [
            Deployed(side, market, _deployment(pool.name, role, market), role)
            for pool in self.pools
            for role in pool.roles
            for side in (pool.side(role),)
            for market in side.markets
        ]


def _deployment(pool: str, role: Role, market: Market) -> str:
    return f"{pool}--{market}" if role is Role.WHOLE else f"{pool}--{role}--{market}"
