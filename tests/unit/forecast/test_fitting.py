from __future__ import annotations

import logging
import math
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.fitting import FitJob, fit
from autoscaling.forecast.settings import Event, ForecastSettings
from autoscaling.forecast.wall_clock import local
from tests.unit.forecast.fed import MONDAY, fed, series

_DAY = 86400.0


def _job(model: str, fine: Series, count: int = 12, **settings: object) -> FitJob:
    chosen = ForecastSettings(step_s=fine.step_s, **settings)  # type: ignore[arg-type]
    return FitJob(model, chosen, fine, fine.end, count, id="7")


@pytest.mark.parametrize("model", ["ets", "theta"])
def test_a_short_season_is_found(model: str) -> None:
    wave = np.tile([10.0, 10.0, 50.0, 90.0, 50.0, 10.0], 8)
    noisy = wave + np.random.default_rng(0).normal(0, 1, len(wave))
    result = fit(_job(model, series(noisy, 10.0), seasons_s=(60.0,)))
    assert result.error == ""
    assert result.id == "7"
    assert np.allclose(result.values, wave[:12], atol=8)


@pytest.mark.parametrize("model", ["ets", "theta"])
@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 40,
        [5.0] * 40,
        [math.nan] * 40,
        [1.0, math.nan] * 20,
        [0.0] * 39 + [1e12],
        [5e-324] * 40,
        [1.0] * 15,
    ],
)
def test_odd_data_gives_a_path_or_a_reason(model: str, values: list[float]) -> None:
    result = fit(_job(model, series(values, 60.0)))
    assert bool(result.values) != bool(result.error)
    assert all(math.isfinite(value) and value >= 0 for value in result.values)


def test_an_unknown_model_is_an_error_and_no_exception() -> None:
    assert "KeyError" in fit(_job("gpt", series([1.0] * 40, 60.0))).error


def test_prophet_follows_the_local_clock_holidays_and_events(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # Three weeks up to midnight before the clocks go forward; Friday is a holiday a week later.
    end = datetime(2026, 3, 29, tzinfo=berlin).timestamp()
    start = end - 21 * _DAY
    walls = start + 600 * (np.arange(21 * 144, dtype=np.float64) + 0.5)
    launches = [Event("launch", end - k * 5 * _DAY, end - k * 5 * _DAY + 7200) for k in (1, 2, 3)]
    coming = Event("launch", end + 30 * 3600, end + 32 * 3600)

    def demand(times: Values) -> Values:
        clock = local("Europe/Berlin", times) % _DAY / _DAY
        values = 100 - 50 * np.cos(2 * np.pi * clock)
        for event in [*launches, coming]:
            values[(times >= event.start) & (times < event.end)] += 200
        return values

    settings = ForecastSettings(
        step_s=600.0,
        seasons_s=(_DAY,),
        timezone="Europe/Berlin",
        holidays="DE",
        events=(*launches, coming),
    )
    history = Series(start, 600.0, demand(walls))
    with caplog.at_level(logging.DEBUG):
        result = fit(FitJob("prophet", settings, history, end - 7200, 12 + 2 * 144))
    assert result.error == ""
    ahead = result.start + 600 * (np.arange(len(result.values), dtype=np.float64) + 0.5)
    errors = np.abs(np.array(result.values) - demand(ahead))
    assert np.mean(errors) < 6
    assert np.max(errors) < 40
    assert not [one for one in caplog.records if one.levelno >= logging.INFO]
    assert capfd.readouterr() == ("", "")


def test_prophet_says_why_when_there_is_too_little() -> None:
    result = fit(_job("prophet", series([1.0] * 100, 600.0), seasons_s=(_DAY,)))
    assert "shortest season" in result.error


def test_models_are_fitted_and_combined_as_in_production() -> None:
    settings = ForecastSettings(
        step_s=10.0, seasons_s=(60.0,), fit_every_s=100.0, season_fit_every_s=300.0
    )
    dice = np.random.default_rng(5)
    wave = np.tile([10.0, 10.0, 10.0, 500.0, 500.0, 10.0], 7) * dice.uniform(0.9, 1.1, 42)
    forecaster, fine = fed(settings, wave, start=MONDAY + 7 * 3600, fits=True)
    said = forecaster.forecast(fine.end, 40.0, None)
    assert said is not None
    names = [member.name for member in said.members]
    assert names == ["last_value", "seasonal_naive 60 s", "prophet", "ets", "theta"]
    assert 400 < said.at(0.5) < 600
    quiet = forecaster.forecast(fine.end, 20.0, None)
    assert quiet is not None
    assert quiet.at(0.9) < 100
