from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from autoscaling.demand.terms import Series
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.forecast.wall_clock import earlier, local
from tests.unit.forecast.fed import QUICK

_BERLIN = ZoneInfo("Europe/Berlin")
_DAY = 86400.0


def _at(*when: int, zone: ZoneInfo = _BERLIN) -> float:
    return datetime(*when, tzinfo=zone).timestamp()  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)]
)
def test_ten_in_the_morning_is_a_day_after_ten_in_the_morning(
    day: tuple[int, int, int], hours: int
) -> None:
    noon = _at(*day, 10)
    before = earlier("Europe/Berlin", np.array([noon]), _DAY, np.array([1.0]))
    assert noon - before[0] == hours * 3600
    assert before[0] == _at(day[0], day[1], day[2] - 1, 10) if day[2] > 1 else True


def test_a_period_of_minutes_goes_on_through_a_change_of_the_clocks() -> None:
    after = _at(2026, 3, 29, 3, 0) + 30
    before = earlier("Europe/Berlin", np.array([after]), 60.0, np.array([1.0]))
    assert before[0] == after - 60


def test_a_week_is_one_of_the_local_clock() -> None:
    monday = _at(2026, 3, 30, 9)
    before = earlier("Europe/Berlin", np.array([monday]), 7 * _DAY, np.array([1.0]))
    assert before[0] == _at(2026, 3, 23, 9)


def test_local_time_of_a_zone_with_a_quarter_of_an_hour() -> None:
    moment = _at(2026, 5, 1, 12, 0, zone=ZoneInfo("Asia/Kathmandu"))
    assert local("Asia/Kathmandu", np.array([moment]))[0] % _DAY == 12 * 3600


@pytest.mark.parametrize("change", [(2026, 3, 29), (2026, 10, 25)])
@pytest.mark.parametrize("timezone", ["Europe/Berlin", "UTC"])
def test_opening_time_moves_with_the_clocks(change: tuple[int, int, int], timezone: str) -> None:
    # Demand rises at eight by Berlin's clock, each day. An hour before, on the day of the change,
    # the rise is seen an hour ahead only by the clock of Berlin.
    start = _at(change[0], change[1], change[2] - 6)
    opening = _at(*change, 8)
    seven = opening - 3600
    walls = start + 600 * np.arange(round((seven - start) / 600), dtype=np.float64)
    open_now = (local("Europe/Berlin", walls) % _DAY) >= 8 * 3600
    fine = Series(start, 600.0, np.where(open_now, 100.0, 10.0))
    settings = ForecastSettings(step_s=600.0, seasons_s=(_DAY,), timezone=timezone, members=QUICK)
    forecaster = SeriesForecaster(settings)
    forecaster.update(fine, fine)
    early = forecaster.forecast(fine.end, 3000.0, None)
    late = forecaster.forecast(fine.end + 300, 3600.0, None)
    assert early is not None
    assert late is not None
    at_opening = {m.name: m.value for m in late.members}["seasonal_naive 86400 s"]
    before = {m.name: m.value for m in early.members}["seasonal_naive 86400 s"]
    if timezone == "Europe/Berlin":
        assert (before, at_opening) == (10.0, 100.0)
    else:
        # The rise is expected at yesterday's hour of UTC: an hour late in March, early in October.
        assert (before, at_opening) in {(10.0, 10.0), (100.0, 100.0)}
