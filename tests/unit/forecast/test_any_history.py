"""Whatever comes: quantiles rise, and are numbers from 0 on."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaling.forecast.fitting import FitResult
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import Event, ForecastSettings
from autoscaling.forecast.terms import QUANTILES, Forecast
from tests.unit.forecast.fed import MONDAY, NOTHING, series

_RATES = st.one_of(
    st.just(0.0), st.just(math.nan), st.floats(0, 1e3), st.floats(0, 1e12), st.just(5e-324)
)
_PATHS = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 1e4)), max_size=30
)
_RESULTS = st.builds(
    FitResult,
    model=st.sampled_from(["ets", "theta", "prophet", "unknown"]),
    end=st.floats(MONDAY - 1e4, MONDAY + 1e4),
    start=st.floats(MONDAY - 1e4, MONDAY + 1e4),
    step_s=st.sampled_from([10.0, 600.0, 0.0, math.nan]),
    values=_PATHS.map(tuple),
    gain=st.floats(allow_nan=True),
    error=st.sampled_from(["", "ValueError: no"]),
)
_SETTINGS = st.builds(
    ForecastSettings,
    step_s=st.just(10.0),
    seasons_s=st.sampled_from([(), (60.0,), (60.0, 86400.0)]),
    timezone=st.sampled_from(["UTC", "Europe/Berlin"]),
    events=st.sampled_from([(), (Event("launch", MONDAY + 50, MONDAY + 200, 8.0),)]),
)


def _is_sound(forecast: Forecast | None) -> None:
    if forecast is None:
        return
    assert len(forecast.quantiles) == len(QUANTILES)
    assert all(math.isfinite(value) and value >= 0 for value in forecast.quantiles)
    assert list(forecast.quantiles) == sorted(forecast.quantiles)
    assert all(member.value >= 0 for member in forecast.members)
    assert sum(member.weight for member in forecast.members) == 1.0 or (
        abs(sum(member.weight for member in forecast.members) - 1.0) < 1e-6
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    chosen=_SETTINGS,
    values=st.lists(_RATES, min_size=1, max_size=60),
    late=st.lists(st.tuples(st.integers(0, 59), _RESULTS), max_size=6),
    skips=st.sets(st.integers(0, 59), max_size=20),
    latest=st.one_of(st.none(), st.floats(0, 1e12), st.just(math.nan)),
    horizon=st.floats(5, 3600),
)
def test_quantiles_rise_and_are_never_negative_nor_nan(
    chosen: ForecastSettings,
    values: list[float],
    late: list[tuple[int, FitResult]],
    skips: set[int],
    latest: float | None,
    horizon: float,
) -> None:
    forecaster = SeriesForecaster(chosen)
    for count in range(1, len(values) + 1):
        fine = series(values[:count], 10.0)
        if count not in skips:
            forecaster.update(fine, NOTHING)
        for _, result in (one for one in late if one[0] == count):
            forecaster.fitted(result)
        wall = fine.end + 3.0
        now = forecaster.forecast(wall, horizon, latest)
        peak = forecaster.peak(wall, horizon, latest)
        _is_sound(now)
        _is_sound(peak)
        assert (now is None) == (peak is None)
        if now is not None and peak is not None:
            pairs = zip(peak.quantiles, now.quantiles, strict=True)
            assert all(most >= there for most, there in pairs)


@settings(max_examples=25, deadline=None)
@given(chosen=_SETTINGS, values=st.lists(_RATES, min_size=1, max_size=50), result=_RESULTS)
def test_a_restored_forecaster_says_the_same(
    chosen: ForecastSettings, values: list[float], result: FitResult
) -> None:
    forecaster, other = SeriesForecaster(chosen), SeriesForecaster(chosen)
    for count in range(1, len(values) + 1):
        fine = series(values[:count], 10.0)
        forecaster.update(fine, NOTHING)
    forecaster.fitted(result)
    other.restore(json.loads(json.dumps(forecaster.state(), allow_nan=False)))
    for horizon in (10.0, 95.0, 3600.0):
        assert other.forecast(fine.end, horizon, None) == forecaster.forecast(
            fine.end, horizon, None
        )
    more = series([*values, 7.0], 10.0)
    other.update(more, NOTHING)
    _is_sound(other.forecast(more.end, 60.0, 3.0))


def test_the_greatest_until_then_is_the_greatest_of_all_until_then() -> None:
    forecaster = SeriesForecaster(ForecastSettings(step_s=10.0, seasons_s=(60.0,)))
    pattern = np.tile([1.0, 1.0, 9.0, 30.0, 5.0, 1.0], 10)
    for count in range(1, 61):
        fine = series(pattern[:count], 10.0)
        forecaster.update(fine, NOTHING)
    single = [forecaster.forecast(fine.end, step * 10.0, None) for step in range(1, 7)]
    peak = forecaster.peak(fine.end, 60.0, None)
    assert peak is not None
    for index in range(len(QUANTILES)):
        assert peak.quantiles[index] == max(one.quantiles[index] for one in single if one)
