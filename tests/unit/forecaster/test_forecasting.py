import asyncio
from typing import Any

import pytest

from autoscaling.demand.terms import Message, Sample, Work
from autoscaling.fleet_planner import FleetPlanner
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.terms import Forecast
from autoscaling.keeper_news import KeeperNews
from autoscaling.plan_terms import Ask, Running
from deployments import forecaster_metrics
from deployments.demand_telling import tell_forever
from deployments.fitting import Fitting
from deployments.forecaster_metrics import ForecasterMetrics
from deployments.forecasting import Forecasting
from tests.unit.forecaster.fleets import FLEET


class Keeper:
    def __init__(self) -> None:
        self.asks: list[dict[str, Ask]] = []
        self.away = False

    async def planned(self, asks: dict[str, Ask]) -> KeeperNews:
        if self.away:
            raise ConnectionError
        self.asks.append(asks)
        return KeeperNews(running={name: Running(active=3, planned=3) for name in asks})


class NoProcess:
    """In place of the process that makes fits."""

    pause_s = 0.0

    def __init__(self) -> None:
        self.closed = False

    def fit(self, job: FitJob) -> FitResult:
        return FitResult(job.model, job.series.end, error="not today", id=job.id)

    def close(self) -> None:
        self.closed = True


def forecasting(keeper: Keeper, tick_s: float = 0.01) -> Forecasting:
    process: Any = NoProcess()
    planner = FleetPlanner(FLEET)
    fitting = Fitting(planner.fitted, process)
    return Forecasting(planner, keeper.planned, tick_s, fitting=fitting)


async def test_each_round_plans_and_tells_the_keeper_and_hears_it() -> None:
    keeper = Keeper()
    forecaster = forecasting(keeper)
    await forecaster.round()
    assert set(keeper.asks[0]) == {each.name for each in FLEET.deployments()}
    running = forecaster.view("plan", "short")["groups"]["short"]["running"]
    assert running["on-demand"]["active"] == 3
    assert forecaster.tick_seconds > 0


async def test_a_keeper_that_is_away_or_a_plan_that_fails_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = Keeper()
    forecaster = forecasting(keeper)
    keeper.away = True
    plain, ticks = forecaster.planner.tick, []

    def tick(wall: float, now: float) -> dict[str, Ask]:
        ticks.append(now)
        if len(ticks) == 3:
            raise ZeroDivisionError
        return plain(wall, now)

    monkeypatch.setattr(forecaster.planner, "tick", tick)
    forecaster.start()
    try:
        while len(ticks) < 5:
            await asyncio.sleep(0.005)
        assert keeper.asks == []
        keeper.away = False
        while not keeper.asks:
            await asyncio.sleep(0.005)
        forecaster.check()
    finally:
        forecaster.close()


async def test_one_that_has_stopped_says_so() -> None:
    forecaster = forecasting(Keeper())
    forecaster.start()
    forecaster.check()
    forecaster.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="has stopped"):
        forecaster.check()
    process: Any = forecaster._fitting._process
    assert process.closed


def test_a_view_is_of_all_groups_of_a_pool() -> None:
    forecaster = forecasting(Keeper())
    message = Message("g", 1, 10.0, {"long": Sample(backlog=Work(5.0, 7.0))})
    assert forecaster.demand(message)
    assert set(forecaster.view("plan", "long")["groups"]) == {"long", "long--prefill"}
    every = forecaster.view("forecast", None)
    assert set(every["groups"]) == {"short", "long", "long--prefill", "apart"}
    assert every["groups"]["long"]["backlog_tokens"] == {"prefill": 5.0, "decode": 7.0}
    assert every["at"] > 1.7e9
    assert not every["truncated"]


class Gauges(dict[tuple[str, ...], float]):
    """In place of Ray's."""

    def gauge(self, name: str, _: str, tags: tuple[str, ...] = ()) -> Any:
        owner = self

        class Gauge:
            def set(self, value: float, given: dict[str, str] | None = None) -> None:
                assert set(given or {}) == set(tags)
                owner[name, *(given or {}).values()] = value

        return Gauge()


async def test_metrics_are_of_the_last_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    gauges = Gauges()
    monkeypatch.setattr(forecaster_metrics, "Gauge", gauges.gauge)
    metrics = ForecasterMetrics()
    forecaster = forecasting(Keeper())
    metrics.publish(forecaster.planner, 0.25)
    assert gauges == {("tidegate_forecast_tick_seconds",): 0.25}
    await forecaster.round()
    metrics.publish(forecaster.planner, 0.25)
    assert gauges["tidegate_forecast_need", "short"] == 1
    assert gauges["tidegate_forecast_asked", "short--on-demand"] >= 0
    assert gauges["tidegate_forecast_lead_seconds", "short"] > 0
    last: Any = forecaster.planner.groups["short"].last
    object.__setattr__(last.situation, "decode", Forecast(60.0, (1.0, 2.0, 3.0, 4.0)))
    metrics.publish(forecaster.planner, 0.25)
    assert gauges["tidegate_forecast_tokens", "short", "decode", "0.9"] == 2.0


class Meter:
    def __init__(self) -> None:
        self.sent: list[float] = []
        self.answers = 0

    def message(self, now: float) -> Message:
        self.sent.append(now)
        return Message("g", self.answers + 1, 1.0, {})

    def answered(self) -> None:
        self.answers += 1


async def test_a_gateway_goes_on_telling_whatever_becomes_of_it() -> None:
    meter: Any = Meter()
    heard: list[int] = []

    async def tell(message: Message) -> bool:
        heard.append(message.number)
        if len(heard) in {2, 3}:
            raise ConnectionError
        return True

    task = asyncio.create_task(tell_forever(meter, tell, every_s=0.001))
    while meter.answers < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    assert heard[:6] == [1, 2, 2, 2, 3, 4]
