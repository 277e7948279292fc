"""The forecaster: one actor that carries the cores of all pools' demand, forecasts and plans.

Gateways tell it what arrives; it tells the keeper how many replicas there should be before they are
needed. It may die at any moment: the keeper goes on by the work that is there, and the next one
reads from the store what this one had learned.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.config import FleetConfig, Market
from autoscaling.demand.terms import Message
from autoscaling.fleet_planner import FleetPlanner
from autoscaling.keeper_news import KeeperNews
from autoscaling.plan_terms import Ask
from deployments.forecaster_checkpoints import Checkpoints, Part
from deployments.forecaster_client import NAME
from deployments.forecaster_metrics import ForecasterMetrics
from deployments.forecasting import Forecasting
from deployments.node_requests import NodeRequests
from deployments.nodes import off_spot
from deployments.price_feed import PriceFeed

METRICS_S = 5.0
NODES_S = 2.0
PRICES_S = 15.0

log = structlog.get_logger(__name__)


class Forecaster:
    """Carries a `Forecasting`, and passes on what it asks for.

    Args:
        config: the fleet's configuration.
        keeper: handle of the keeper.
        ledgers: handles of the ledger's shards; none where keys are off. Then what is known of
            demand is lost with the forecaster.
    """

    async def __init__(  # type: ignore[misc]
        self, config: FleetConfig, keeper: DeploymentHandle, ledgers: Sequence[DeploymentHandle]
    ) -> None:
        planner = FleetPlanner(config)

        async def ask(asks: dict[str, Ask]) -> KeeperNews:
            news: KeeperNews = await keeper.planned.remote(asks)
            return news

        checkpoints = Checkpoints(planner, _Ledger(ledgers[0])) if ledgers else None
        self._forecasting = Forecasting(planner, ask, config.scaling.tick_s, checkpoints)
        self._forecasting.start()
        self._metrics = ForecasterMetrics()
        self._nodes = NodeRequests()
        self._feed: PriceFeed | None = None
        repeated = [(METRICS_S, self._publish), (NODES_S, self._ask_for_nodes)]
        if any(deployed.market is Market.SPOT for deployed in config.deployments()):
            self._feed = PriceFeed(config.scaling.spot)
            self._feed.start()
            repeated.append((PRICES_S, self._take_prices))
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(_repeat(every_s, do)) for every_s, do in repeated]

    # From gateways.

    async def demand(self, message: Message) -> bool:
        """Takes what a gateway says of demand; whether all of it was counted."""
        return self._forecasting.demand(message)

    # From administrators, by way of the ledger.

    async def view(self, kind: str, pool: str | None) -> dict[str, Any]:
        """Forecasts or plans in words and numbers, see `Forecasting.view`."""
        return self._forecasting.view(kind, pool)

    def check_health(self) -> None:
        """Raises once it has stopped, so that Serve replaces it."""
        self._forecasting.check()

    async def _publish(self) -> None:
        self._metrics.publish(self._forecasting.planner, self._forecasting.tick_seconds)

    async def _ask_for_nodes(self) -> None:
        await self._nodes.ask(self._forecasting.planner.nodes())

    async def _take_prices(self) -> None:
        assert self._feed is not None
        self._forecasting.planner.prices(self._feed.quotes())

    async def __del__(self) -> None:
        for task in getattr(self, "_tasks", ()):
            task.cancel()
        feed = getattr(self, "_feed", None)
        if feed is not None:
            await asyncio.to_thread(feed.stop)
        forecasting = getattr(self, "_forecasting", None)
        if forecasting is not None:
            forecasting.close()


class _Ledger:
    """A ledger's handle as `Checkpoints` takes it."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def save_forecasts(self, parts: list[Part]) -> None:
        await self._handle.save_forecasts.remote(parts)

    async def load_forecasts(self, after: str) -> list[Part]:
        page: list[Part] = await self._handle.load_forecasts.remote(after)
        return page

    async def forget_forecasts(self, before: float) -> int:
        count: int = await self._handle.forget_forecasts.remote(before)
        return count


async def _repeat(every_s: float, do: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await do()
        except Exception:
            log.exception("something beside the plan has failed")


def forecaster_application(
    config: FleetConfig, keeper: serve.Application, ledgers: Sequence[serve.Application]
) -> serve.Application:
    """Binds the forecaster's deployment."""
    deployment = serve.deployment(Forecaster).options(
        name=NAME,
        num_replicas=1,
        max_ongoing_requests=1000,
        # What takes long is done by a process of low priority beside it.
        ray_actor_options={"num_cpus": 0} | off_spot(config),
    )
    return deployment.bind(config, keeper, list(ledgers))
