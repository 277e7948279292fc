"""What all models of one gateway share: routing, streams to the replicas, and accounts."""

from app.admission.expected_output import ExpectedOutput, ExpectedOutputSettings
from app.config import ExpectedOutputConfig, FleetConfig, Market, MarketConfig, PoolConfig, Role
from app.routing.breaker import BreakerSettings
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Router
from app.usage.meter import UsageMeter
from deployments.admission import Admission
from deployments.carrier import Carrier
from deployments.demand_meter import DemandMeter
from deployments.gate import Gate
from deployments.handoffs import HandOffs
from deployments.links import Links
from deployments.messages import Alert
from deployments.placing import Placing


class Fleet:
    """Holds the cores of a gateway and what feeds them; decides nothing itself.

    Args:
        config: the fleet's configuration.
        admission: who may use how much.
    """

    def __init__(self, config: FleetConfig, admission: Admission) -> None:
        self.router = Router(
            build_tables(pool_route(pool) for pool in config.pools),
            BreakerSettings(**config.routing.breaker.model_dump()),
            config.gateway.retry_after_s,
        )
        self.placing = Placing(config, self.router)
        self.links = Links(self.router, self.placing.wake, self._alerted, config.routing.silence_s)
        self.handoffs = HandOffs(config.pools, self.router, self.links)
        self.carrier = Carrier(
            self.placing,
            self.links,
            self.handoffs,
            retries=config.routing.retries,
            migrations=config.routing.migrations,
        )
        self.demand = DemandMeter(config, self.placing.waiting, self.handoffs)
        self.expected = ExpectedOutput(expected_settings(config.expected_output))
        self.usage = UsageMeter()
        self.admission = admission
        self.gate = Gate(config, admission)

    def close(self) -> None:
        """Ends every stream, and whatever is still done for requests."""
        self.carrier.close()
        self.links.close()

    def _alerted(self, replica_id: str, pool: str, alert: Alert) -> None:
        """Has an engine's report of a breach recorded."""
        self.admission.alerted(pool, replica_id, alert)


def pool_route(pool: PoolConfig) -> PoolRoute:
    """A pool's configuration as routing knows it."""
    apart = pool.disaggregated is not None
    decode = pool.side(Role.DECODE) if apart else pool
    return PoolRoute(
        pool=pool.name,
        model=pool.model,
        zone=pool.zone,
        size_classes=pool.size_classes,
        max_model_len=pool.engine.max_model_len,
        max_outstanding_tokens=decode.max_outstanding_tokens,
        markets=_markets(decode.markets),
        isolated=pool.isolated,
        prefill=_markets(pool.side(Role.PREFILL).markets) if apart else (),
    )


def _markets(markets: dict[Market, MarketConfig]) -> tuple[MarketRoute, ...]:
    return tuple(MarketRoute(market, entry.min_replicas) for market, entry in markets.items())


def expected_settings(config: ExpectedOutputConfig) -> ExpectedOutputSettings:
    """The configuration of the expected output as its core takes it."""
    return ExpectedOutputSettings(
        quantile=config.quantile, prior_tokens=config.prior_tokens, max_keys=config.max_keys
    )
