"""What all models of one gateway share: routing, streams to the replicas, and accounts."""

import asyncio
import contextlib
import time
from typing import Protocol

from app.admission.expected_output import ExpectedOutput, ExpectedOutputSettings
from app.config import ExpectedOutputConfig, FleetConfig, PoolConfig
from app.errors import NoCapacity
from app.routing.breaker import BreakerSettings
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Route, Router
from app.routing.size_class import SizeClass
from app.usage.meter import UsageMeter
from deployments.admission import Admission
from deployments.gate import Gate
from deployments.links import Links
from deployments.messages import Alert


class Placeable(Protocol):
    """What routing needs to know of a request."""

    @property
    def zone(self) -> str:
        """The zone it belongs to."""
        ...

    @property
    def size_class(self) -> SizeClass:
        """Its class."""
        ...

    @property
    def need_tokens(self) -> int:
        """The longest its sequence can become."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether its risk sets it apart."""
        ...


class Fleet:
    """Holds the cores of a gateway and feeds them; decides nothing itself.

    Args:
        config: the fleet's configuration.
        admission: who may use how much.
    """

    def __init__(self, config: FleetConfig, admission: Admission) -> None:
        self._config = config
        self._pools = {pool.name: pool for pool in config.pools}
        self._changed = asyncio.Event()
        self.router = Router(
            build_tables(pool_route(pool) for pool in config.pools),
            BreakerSettings(**config.routing.breaker.model_dump()),
            config.gateway.retry_after_s,
        )
        self.links = Links(self.router, self._wake, self._alerted)
        self.expected = ExpectedOutput(expected_settings(config.expected_output))
        self.usage = UsageMeter()
        self.admission = admission
        self.gate = Gate(config, admission)
        self.retries = config.routing.retries

    def pool(self, name: str) -> PoolConfig:
        """The configuration of a pool."""
        return self._pools[name]

    async def route(
        self, model: str, request: Placeable, deadline: float, failed: set[str]
    ) -> Route:
        """Chooses a replica; waits for one to appear while there is time.

        Args:
            model: the model's name.
            request: the request's zone, class and length.
            deadline: when to give up, in the loop's seconds.
            failed: replicas that have failed this request; forgotten when the fleet changes.

        Raises:
            NoCapacity: nothing became available in time; the message says why.
        """
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + self._config.routing.capacity_wait_s)
        while True:
            try:
                return self.router.route(
                    model,
                    request.zone,
                    request.size_class,
                    request.need_tokens,
                    time.monotonic(),
                    frozenset(failed),
                    isolated=request.isolated,
                )
            except NoCapacity as error:
                pause = min(until - loop.time(), error.retry_after_s or 1.0)
                if pause <= 0:
                    raise
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._changed.wait()
                    # Only now: a replica that leaves goes on refusing until Serve has removed it.
                    failed.clear()

    def _alerted(self, replica_id: str, pool: str, alert: Alert) -> None:
        """Has an engine's report of a breach recorded."""
        self.admission.alerted(pool, replica_id, alert)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def pool_route(pool: PoolConfig) -> PoolRoute:
    """A pool's configuration as routing knows it."""
    return PoolRoute(
        pool=pool.name,
        model=pool.model,
        zone=pool.zone,
        size_classes=pool.size_classes,
        max_model_len=pool.engine.max_model_len,
        max_outstanding_tokens=pool.max_outstanding_tokens,
        markets=tuple(
            MarketRoute(market, entry.min_replicas) for market, entry in pool.markets.items()
        ),
        isolated=pool.isolated,
    )


def expected_settings(config: ExpectedOutputConfig) -> ExpectedOutputSettings:
    """The configuration of the expected output as its core takes it."""
    return ExpectedOutputSettings(
        quantile=config.quantile, prior_tokens=config.prior_tokens, max_keys=config.max_keys
    )
