"""Everything under ``args:`` in serve_config.yaml, as frozen models, validated across fields.

This package owns what may be configured, what is refused, and how a refusal reads: the path in
the file, the offending value, the limit and the way out. It must not act on any of it: where a
replica is placed follows in ``app.placement``, what is built from it in ``app.main``.

``types`` holds the scalars, ``engines``, ``disaggregated``, ``pools``, ``scaling``, ``service``,
``tenancy``, ``weights`` and ``fleet`` the models, ``checks`` the rules that span fields,
``explain`` turns pydantic's findings into ours, ``load`` reads files.
"""

from app.config.disaggregated import DisaggregatedConfig, SideConfig
from app.config.engines import EngineConfig, MarketConfig, ResourceConfig
from app.config.fleet import Deployed, FleetConfig, ModelConfig, ZoneConfig
from app.config.load import IMPORT_PATH, config_schema, load_config, parse_config
from app.config.pools import MARKET_LABEL, PoolConfig
from app.config.scaling import (
    CapacityConfig,
    EventConfig,
    ForecastConfig,
    LeadTimeConfig,
    PriceFeed,
    ScalingConfig,
    SiteConfig,
    SloConfig,
    SpotConfig,
)
from app.config.service import (
    BreakerConfig,
    ClassifierConfig,
    ExpectedOutputConfig,
    GatewayConfig,
    RoutingConfig,
)
from app.config.tenancy import (
    AccessConfig,
    AnswerGuards,
    AuditConfig,
    BudgetPolicy,
    BudgetsConfig,
    Durability,
    FairnessConfig,
    GuardAction,
    GuardPolicy,
    GuardsConfig,
    JwtConfig,
    Keys,
    LedgerConfig,
    LimitsConfig,
    PriceConfig,
    PricesConfig,
    PromptGuards,
    Scheduling,
    StoreConfig,
    WhenLedgerAway,
)
from app.config.types import Device, Executor, Isolation, Market, OnUnavailable, Role, ZoneName
from app.config.weights import (
    Anomalies,
    AnomalyConfig,
    RecyclingConfig,
    S3Config,
    TierBounds,
    TrustedKey,
    WeightsConfig,
)
from app.routing.size_class import SizeClass

__all__ = [
    "IMPORT_PATH",
    "MARKET_LABEL",
    "AccessConfig",
    "Anomalies",
    "AnomalyConfig",
    "AnswerGuards",
    "AuditConfig",
    "BreakerConfig",
    "BudgetPolicy",
    "BudgetsConfig",
    "CapacityConfig",
    "ClassifierConfig",
    "Deployed",
    "Device",
    "DisaggregatedConfig",
    "Durability",
    "EngineConfig",
    "EventConfig",
    "Executor",
    "ExpectedOutputConfig",
    "FairnessConfig",
    "FleetConfig",
    "ForecastConfig",
    "GatewayConfig",
    "GuardAction",
    "GuardPolicy",
    "GuardsConfig",
    "Isolation",
    "JwtConfig",
    "Keys",
    "LeadTimeConfig",
    "LedgerConfig",
    "LimitsConfig",
    "Market",
    "MarketConfig",
    "ModelConfig",
    "OnUnavailable",
    "PoolConfig",
    "PriceConfig",
    "PriceFeed",
    "PricesConfig",
    "PromptGuards",
    "RecyclingConfig",
    "ResourceConfig",
    "Role",
    "RoutingConfig",
    "S3Config",
    "ScalingConfig",
    "Scheduling",
    "SideConfig",
    "SiteConfig",
    "SizeClass",
    "SloConfig",
    "SpotConfig",
    "StoreConfig",
    "TierBounds",
    "TrustedKey",
    "WeightsConfig",
    "WhenLedgerAway",
    "ZoneConfig",
    "ZoneName",
    "config_schema",
    "load_config",
    "parse_config",
]
