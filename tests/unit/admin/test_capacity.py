from typing import Any

import pytest

from app.admin.operations import Administration
from app.config import FleetConfig
from app.errors import ForecasterUnavailable, NotFound, TidegateError
from app.store.database import Database
from tests.unit.admin.desk import DEVELOPER, OPERATOR, Desk


class Forecaster:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.away = False

    async def view(self, kind: str, pool: str | None) -> dict[str, Any]:
        if self.away:
            raise ForecasterUnavailable("the forecaster did not answer")
        self.asked.append((kind, pool))
        return {"groups": {pool or "every": {"reason": "why not"}}}


class CapacityDesk(Desk):
    def __init__(self, database: Database, config: FleetConfig, forecaster: Any) -> None:
        super().__init__(database, config)
        self.administration = Administration(
            database,
            config,
            bytes(32),
            clock=lambda: self.now,
            append_audit=self.append,
            forecaster=forecaster,
        )


@pytest.fixture
def forecaster() -> Forecaster:
    return Forecaster()


@pytest.fixture
def asked(desk: Desk, forecaster: Forecaster) -> CapacityDesk:
    return CapacityDesk(desk.database, desk.config, forecaster.view)


async def test_the_forecaster_is_asked_and_that_is_recorded(
    asked: CapacityDesk, forecaster: Forecaster
) -> None:
    pool = asked.config.pools[0].name
    answer = await asked.call("forecast.get", OPERATOR, pool=pool)
    assert answer == {"groups": {pool: {"reason": "why not"}}}
    assert (await asked.last_entry())["pool"] == pool
    assert await asked.call("plan.get") == {"groups": {"every": {"reason": "why not"}}}
    entry = await asked.last_entry()
    assert (entry["method"], entry["outcome"]) == ("plan.get", "done")
    assert forecaster.asked == [("forecast", pool), ("plan", None)]


async def test_a_pool_that_there_is_not(asked: CapacityDesk, forecaster: Forecaster) -> None:
    pool = asked.config.pools[0].name
    with pytest.raises(NotFound, match=f"did you mean '{pool}'") as caught:
        await asked.call("forecast.get", pool=pool + "x")
    assert caught.value.param == "pool"
    assert (await asked.last_entry())["outcome"] == "not_found"
    with pytest.raises(NotFound, match="the pools are"):
        await asked.call("plan.get", pool="zzz")
    assert forecaster.asked == []


async def test_a_forecaster_that_is_away_is_said_to_be(
    asked: CapacityDesk, desk: Desk, forecaster: Forecaster
) -> None:
    forecaster.away = True
    for each in (asked, desk):
        with pytest.raises(ForecasterUnavailable) as caught:
            await each.call("plan.get")
        assert (caught.value.status, caught.value.code) == (503, "forecaster_unavailable")


async def test_where_nothing_is_forecast_there_is_nothing_to_see(
    desk: Desk, forecaster: Forecaster
) -> None:
    scaling = desk.config.scaling
    forecast = scaling.forecast.model_copy(update={"enabled": False})
    config = desk.config.model_copy(
        update={"scaling": scaling.model_copy(update={"forecast": forecast})}
    )
    without = CapacityDesk(desk.database, config, forecaster.view)
    with pytest.raises(NotFound, match=r"scaling\.forecast\.enabled"):
        await without.call("forecast.get")


async def test_who_may_see_it(asked: CapacityDesk, forecaster: Forecaster) -> None:
    for method in ("forecast.get", "plan.get"):
        with pytest.raises(TidegateError) as caught:
            await asked.call(method, DEVELOPER)
        assert caught.value.code == "role_forbidden"
    assert forecaster.asked == []
