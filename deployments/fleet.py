"""What all models of one gateway share: routing, streams to the replicas, and accounts."""

import asyncio
import contextlib
import time
from typing import Protocol

from app.admission.expected_output import ExpectedOutput, ExpectedOutputSettings
from app.api.context import RequestContext
from app.classification.judge import Verdict
from app.config import ExpectedOutputConfig, FleetConfig, PoolConfig
from app.errors import ContentRefused, NoCapacity
from app.routing.breaker import BreakerSettings
from app.routing.route_table import MarketRoute, PoolRoute, build_tables
from app.routing.router import Route, Router
from app.routing.size_class import SizeClass
from app.security.identity import Identity
from app.security.zones import ZoneLadder
from app.usage.meter import UsageMeter
from deployments.links import Links


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


class Fleet:
    """Holds the cores of a gateway and feeds them; decides nothing itself.

    Args:
        config: the fleet's configuration.
    """

    def __init__(self, config: FleetConfig) -> None:
        self._config = config
        self._pools = {pool.name: pool for pool in config.pools}
        self._ladder = ZoneLadder(tuple(config.zones), config.default_zone)
        self._changed = asyncio.Event()
        self.router = Router(
            build_tables(pool_route(pool) for pool in config.pools),
            BreakerSettings(**config.routing.breaker.model_dump()),
            config.gateway.retry_after_s,
        )
        self.links = Links(self.router, self._wake)
        self.expected = ExpectedOutput(expected_settings(config.expected_output))
        self.usage = UsageMeter()
        self.retries = config.routing.retries

    def pool(self, name: str) -> PoolConfig:
        """The configuration of a pool."""
        return self._pools[name]

    def zone_of(self, context: RequestContext, verdict: Verdict | None) -> str:
        """The zone a request is served in, once its text has been judged.

        Raises:
            ZoneForbidden: the text belongs above what the identity may use.
            ContentRefused: the text's risk is above what the configuration allows.
        """
        if verdict is None:
            return context.zone
        limit = self._config.classifier.refuse_above
        if limit is not None and verdict.risk > limit:
            raise ContentRefused(
                f"the text was judged too risky ({verdict.risk:.2f}, the limit is {limit:.2f}): "
                + ", ".join(verdict.reasons)
            )
        return self._ladder.raised(context.zone, verdict.zone_floor, context.identity)

    def asked_zone(self, zone: str | None, identity: Identity) -> str:
        """The zone that a request asks for, see `ZoneLadder.asked`."""
        return self._ladder.asked(zone, identity)

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
    )


def expected_settings(config: ExpectedOutputConfig) -> ExpectedOutputSettings:
    """The configuration of the expected output as its core takes it."""
    return ExpectedOutputSettings(
        quantile=config.quantile, prior_tokens=config.prior_tokens, max_keys=config.max_keys
    )
