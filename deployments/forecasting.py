"""The forecaster without Ray: a planner, and what it is fed with and heard by."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from autoscaling.demand.terms import Message
from autoscaling.fleet_planner import FleetPlanner
from autoscaling.keeper_news import KeeperNews
from autoscaling.plan_terms import Ask
from deployments.fitting import Fitting
from deployments.forecaster_checkpoints import Checkpoints

KEEPER_S = 5.0
MOST_SHOWN = 200
"""Groups in one view."""

AskKeeper = Callable[[dict[str, Ask]], Awaitable[KeeperNews]]

log = structlog.get_logger(__name__)


class Forecasting:
    """Plans each tick, and tells the keeper; decides nothing itself.

    Args:
        planner: the cores.
        ask_keeper: tells the keeper what is asked for; what it has to say.
        tick_s: seconds between two plans.
        checkpoints: where the planner's state is stored; None where nothing outlives the process.
        fitting: makes fits.

    Attributes:
        tick_seconds: what the last plan took.
    """

    def __init__(
        self,
        planner: FleetPlanner,
        ask_keeper: AskKeeper,
        tick_s: float,
        checkpoints: Checkpoints | None = None,
        fitting: Fitting | None = None,
    ) -> None:
        self.planner = planner
        self._ask_keeper = ask_keeper
        self._tick_s = tick_s
        self._checkpoints = checkpoints
        self._fitting = fitting or Fitting(self._fitted)
        self._tasks: list[asyncio.Task[None]] = []
        self._deaf = False
        self.tick_seconds = 0.0

    def start(self) -> None:
        """Begins to plan, once what was stored has been read; on the loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._plan_forever()),
            loop.create_task(self._fitting.run()),
        ]

    def check(self) -> None:
        """Raises once it has stopped working.

        Raises:
            RuntimeError: as said.
        """
        for task in self._tasks:
            if task.done():
                error = None if task.cancelled() else task.exception()
                raise RuntimeError("the forecaster has stopped") from error

    def close(self) -> None:
        """Stops, and ends the process that makes fits."""
        for task in self._tasks:
            task.cancel()
        self._fitting.close()

    def demand(self, message: Message) -> bool:
        """Takes what a gateway says; whether all of it was counted."""
        return self.planner.take(message, time.time())

    def view(self, kind: str, pool: str | None) -> dict[str, Any]:
        """Forecasts or plans in words and numbers.

        Args:
            kind: `forecast` or `plan`.
            pool: whose; of all pools if None, up to `MOST_SHOWN` groups.

        Returns:
            Plain data: `groups` by name, and whether some are left out.
        """
        wall = time.time()
        groups = [
            name
            for name, group in self.planner.groups.items()
            if pool is None or group.settings.pool.name == pool
        ]
        shown: dict[str, Any] = {}
        view: dict[str, Any] = {}
        for name in groups[:MOST_SHOWN]:
            part = (
                self.planner.forecast_view(wall, name)
                if kind == "forecast"
                else self.planner.plan_view(name)
            )
            shown |= part["groups"]
            view |= part
        return view | {"at": wall, "groups": shown, "truncated": len(groups) > MOST_SHOWN}

    async def round(self) -> None:
        """One tick: plans, tells the keeper, has fits made."""
        began = time.monotonic()
        asks = self.planner.tick(time.time(), began)
        self.tick_seconds = time.monotonic() - began
        if self._fitting.room:
            self._fitting.add(self.planner.due())
        try:
            news = await asyncio.wait_for(self._ask_keeper(asks), KEEPER_S)
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is asked again
            if not self._deaf:
                log.warning("the keeper did not answer", error=type(error).__name__)
            self._deaf = True
            return
        self._deaf = False
        self.planner.heard(news, time.time())

    def _fitted(self, result: Any) -> None:
        try:
            self.planner.fitted(result)
        except Exception:
            log.exception("a fit was of no use", model=result.model)

    async def _plan_forever(self) -> None:
        loop = asyncio.get_running_loop()
        if self._checkpoints is not None:
            await self._checkpoints.load()
            self._tasks.append(
                loop.create_task(self._checkpoints.save_forever(time.monotonic, time.time))
            )
        while True:
            began = time.monotonic()
            try:
                await self.round()
            except Exception:
                # One bad plan must not be the last.
                log.exception("nothing could be planned")
            await asyncio.sleep(max(0.0, self._tick_s - (time.monotonic() - began)))
