from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from app.config.scaling import EventConfig, ForecastConfig
from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import FitResult
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import Event, ForecastSettings
from tests.unit.forecast.fed import MONDAY, NOTHING, QUICK, fed, series

_MINUTES = ForecastSettings(step_s=60.0, members=QUICK)
_SHORT = ForecastSettings(step_s=10.0, seasons_s=(60.0,), members=QUICK)
_WAVE = [10.0, 10.0, 10.0, 500.0, 500.0, 10.0]


def _noisy(count: int) -> list[float]:
    return [float(one) for one in np.random.default_rng(3).uniform(90, 110, count)]


def test_nothing_is_said_before_anything_is_known() -> None:
    forecaster = SeriesForecaster(_MINUTES)
    forecaster.update(NOTHING, NOTHING)
    forecaster.update(series([math.nan] * 5, 60.0), NOTHING)
    assert forecaster.forecast(MONDAY + 300, 60.0, None) is None
    assert forecaster.peak(MONDAY + 300, 60.0, 40.0) is None


def test_one_bin_gives_a_wide_forecast_of_the_last_value() -> None:
    forecaster, fine = fed(_MINUTES, [100.0])
    said = forecaster.forecast(fine.end, 300.0, None)
    assert said is not None
    assert said.at(0.5) == 100.0
    assert said.at(0.9) >= 150.0
    assert said.at(0.99) >= said.at(0.95) > said.at(0.9)
    assert "last value" in said.reason


def test_a_steady_demand_gets_narrow_quantiles() -> None:
    forecaster, fine = fed(_MINUTES, _noisy(300))
    said = forecaster.forecast(fine.end, 300.0, None)
    assert said is not None
    assert 85 < said.at(0.5) < 115
    assert 100 < said.at(0.9) < 135


def test_a_repeating_load_is_seen_coming_after_three_periods() -> None:
    forecaster, fine = fed(_SHORT, _WAVE * 4)
    for step, due in enumerate(_WAVE, start=1):
        said = forecaster.forecast(fine.end, step * 10.0, None)
        assert said is not None
        assert said.at(0.5) == pytest.approx(due, rel=0.1, abs=5)
    before = forecaster.forecast(fine.end, 20.0, None)
    rise = forecaster.peak(fine.end, 40.0, None)
    assert before is not None
    assert rise is not None
    assert rise.at(0.9) >= 450
    weights = {member.name: member.weight for member in before.members}
    assert weights["seasonal_naive 60 s"] > 0.5
    assert "combination" in before.reason


def test_the_combination_is_not_believed_while_it_trails_the_last_value() -> None:
    # Demand climbs, so what it was a minute ago is always wrong.
    climb = np.linspace(100, 4000, 240)
    forecaster, fine = fed(_SHORT, climb)
    said = forecaster.forecast(fine.end, 10.0, None)
    assert said is not None
    assert said.at(0.5) == climb[-1]
    assert said.members[0].weight == 1.0
    assert said.reason.startswith("last value")


def test_the_same_again_changes_nothing() -> None:
    forecaster, fine = fed(_MINUTES, _noisy(40))
    before = forecaster.state()
    said = forecaster.forecast(fine.end, 300.0, None)
    forecaster.update(fine, NOTHING)
    assert forecaster.state() == before
    assert forecaster.forecast(fine.end, 300.0, None) == said


def test_what_comes_late_and_at_once_is_scored_as_if_it_had_come_in_time() -> None:
    values = _noisy(40)
    prompt, fine = fed(_MINUTES, values)
    late, _ = fed(_MINUTES, values[:20])
    late.update(fine, NOTHING)
    assert late.forecast(fine.end, 600.0, None) == prompt.forecast(fine.end, 600.0, None)


def test_a_gap_is_no_zero() -> None:
    values = _noisy(60)
    forecaster, _ = fed(_MINUTES, [*values, *[math.nan] * 30])
    said = forecaster.forecast(MONDAY + 90 * 60, 300.0, None)
    assert said is not None
    assert said.at(0.5) == pytest.approx(values[-1])
    whole, _ = fed(_MINUTES, values)
    kept = whole.forecast(MONDAY + 60 * 60, 300.0, None)
    assert kept is not None
    assert said.at(0.9) == pytest.approx(kept.at(0.9), rel=0.1)


def test_no_demand_is_forecast_to_stay_none() -> None:
    forecaster, fine = fed(_MINUTES, [0.0] * 120)
    said = forecaster.forecast(fine.end, 600.0, 0.0)
    assert said is not None
    assert said.at(0.9) < 1.0


def test_a_crowd_is_followed_before_its_bin_is_closed() -> None:
    forecaster, fine = fed(_MINUTES, _noisy(200))
    calm = forecaster.forecast(fine.end + 10, 120.0, 101.0)
    crowd = forecaster.forecast(fine.end + 10, 120.0, 2000.0)
    assert calm is not None
    assert crowd is not None
    assert calm.at(0.99) < 200
    assert crowd.at(0.5) >= 2000
    assert "above P99" in crowd.reason
    peak = forecaster.peak(fine.end + 10, 120.0, 2000.0)
    assert peak is not None
    assert peak.at(0.9) >= 2000


def test_a_crowd_does_not_widen_quantiles_for_ever() -> None:
    values = _noisy(900)
    for index in range(200, 215):
        values[index] *= 20
    forecaster, fine = fed(_MINUTES, values)
    said = forecaster.forecast(fine.end, 60.0, None)
    assert said is not None
    assert said.at(0.9) < 140


def test_p90_covers_nine_tenths_of_a_random_walk() -> None:
    dice = np.random.default_rng(11)
    walk = 500 * np.exp(np.cumsum(dice.normal(0, 0.05, 900)))
    forecaster, within = SeriesForecaster(_MINUTES), []
    for count in range(1, len(walk) - 5):
        fine = series(walk[:count], 60.0)
        forecaster.update(fine, NOTHING)
        if count > 300:
            said = forecaster.forecast(fine.end, 300.0, None)
            assert said is not None
            within.append(walk[count + 4] <= said.at(0.9))
    assert 0.85 < np.mean(within) < 0.95


def test_a_known_event_multiplies_demand_while_it_lasts() -> None:
    start = MONDAY + 100 * 60
    launch = Event("launch", start, start + 1800, 3.0)
    settings = ForecastSettings(step_s=60.0, members=QUICK, events=(launch,))
    forecaster, fine = fed(settings, [100.0] * 98)
    before = forecaster.forecast(fine.end, 120.0, None)
    during = forecaster.forecast(fine.end, 240.0, None)
    after = forecaster.forecast(fine.end, 2400.0, None)
    assert before is not None
    assert during is not None
    assert after is not None
    assert before.at(0.5) == pytest.approx(100)
    assert during.at(0.5) == pytest.approx(300)
    assert after.at(0.5) == pytest.approx(100)
    assert "times 3 for an event" in during.reason
    # Once it is there, its demand is not taken for a new level.
    forecaster, fine = fed(settings, [100.0] * 100 + [300.0] * 10)
    after = forecaster.forecast(fine.end, 1800.0, None)
    assert after is not None
    assert after.at(0.5) == pytest.approx(100)


def test_a_clock_set_back_starts_from_what_is_known_then() -> None:
    forecaster, _ = fed(_MINUTES, _noisy(60))
    earlier = series([40.0] * 20, 60.0)
    forecaster.update(earlier, NOTHING)
    said = forecaster.forecast(earlier.end, 300.0, None)
    assert said is not None
    assert said.at(0.5) == 40.0


def test_fits_that_are_of_no_use_change_nothing() -> None:
    settings = ForecastSettings(step_s=60.0)
    forecaster, fine = fed(settings, _noisy(40))
    said = forecaster.forecast(fine.end, 300.0, None)
    end = fine.end
    for result in (
        FitResult("ets", end, error="ValueError: no"),
        FitResult("ets", end, end, 60.0, (math.nan,) * 80),
        FitResult("ets", end, end, 60.0, (-1.0,) * 80),
        FitResult("ets", end, end, 60.0, (1.0,) * 5000),
        FitResult("ets", end + 1e6, end + 1e6, 60.0, (1.0,) * 80),
        FitResult("gpt", end, end, 60.0, (1.0,) * 80),
    ):
        forecaster.fitted(result)
        assert forecaster.forecast(fine.end, 300.0, None) == said


def test_an_older_fit_does_not_replace_a_newer_one() -> None:
    forecaster, fine = fed(ForecastSettings(step_s=60.0), [100.0] * 40)

    def path(age: int, level: float) -> FitResult:
        end = fine.end - 60.0 * age
        return FitResult("theta", end, end, 60.0, (level,) * 90, 0.0)

    forecaster.fitted(path(0, 130.0))
    forecaster.fitted(path(5, 70.0))
    said = forecaster.forecast(fine.end, 300.0, None)
    assert said is not None
    assert {m.name: m.value for m in said.members}["theta"] == 130.0


def test_a_fit_is_moved_to_what_came_since() -> None:
    forecaster, fine = fed(ForecastSettings(step_s=60.0), [100.0] * 40 + [200.0] * 10)
    end = fine.end - 600.0
    forecaster.fitted(FitResult("ets", end, end, 60.0, (100.0,) * 90, 0.5))
    said = forecaster.forecast(fine.end, 300.0, None)
    assert said is not None
    assert {m.name: m.value for m in said.members}["ets"] == pytest.approx(200.0, rel=0.01)


def test_fits_are_asked_for_in_time_and_again_when_they_fail() -> None:
    settings = ForecastSettings(step_s=60.0, seasons_s=(3600.0,), fit_every_s=300.0)
    forecaster = SeriesForecaster(settings)
    asked: dict[str, list[int]] = {}
    for count in range(1, 200):
        fine = series(_noisy(count), 60.0)
        forecaster.update(fine, NOTHING)
        for job in forecaster.due(fine, NOTHING):
            asked.setdefault(job.model, []).append(count)
            assert pickle.loads(pickle.dumps(job)).model == job.model
            if job.model == "theta":
                forecaster.fitted(FitResult("theta", fine.end, error="no"))
    assert asked["ets"][:3] == [16, 21, 26]
    # Prophet wants two of its seasons, and its next fit is six hours away.
    assert asked["prophet"] == [120]
    gaps = np.diff(asked["theta"])
    assert gaps[0] == 5
    assert gaps[-1] >= 40


def test_a_state_of_other_settings_or_a_damaged_one_is_refused_whole() -> None:
    forecaster, fine = fed(_MINUTES, _noisy(60))
    said, state = forecaster.forecast(fine.end, 300.0, None), forecaster.state()
    other, _ = fed(_SHORT, _WAVE * 4)
    with pytest.raises(ValueError, match="other settings"):
        forecaster.restore(other.state())
    for damage in (
        {},
        {"mark": state["mark"]},
        {**state, "members": None},
        {**state, "members": {**state["members"], "end": "never"}},
        {**state, "members": {**state["members"], "last": -1.0}},
        {**state, "members": {**state["members"], "seasonal": [[1.0]]}},
        {**state, "record": {**state["record"], "level": [math.inf, 0, 0]}},
        {**state, "record": {**state["record"], "losses": {"sums": {"data": "%"}}}},
        {**state, "record": {**state["record"], "calibration": state["record"]["losses"]}},
    ):
        with pytest.raises(ValueError):
            forecaster.restore(damage)
        assert forecaster.forecast(fine.end, 300.0, None) == said


def test_settings_are_those_of_the_configuration() -> None:
    event = EventConfig.model_validate({
        "name": "launch",
        "start": "2026-12-24T18:00:00+01:00",
        "end": "2026-12-24T20:00:00+01:00",
        "factor": 2.0,
    })  # fmt: skip
    config = ForecastConfig(step_s=600, timezone="Europe/Berlin", holidays="DE", events=(event,))
    settings = ForecastSettings.of(config)
    assert settings.step_s == 600.0
    assert settings.timezone == "Europe/Berlin"
    assert settings.events == (Event("launch", 1798131600.0, 1798138800.0, 2.0),)


def test_days_and_minutes_are_both_looked_up() -> None:
    # Five weeks of ten minutes say what last week was like; two hours of bins do not reach it.
    days = np.arange(35 * 144)
    coarse = Series(MONDAY, 600.0, 100.0 + 50.0 * (days // 144 % 7 == 0))
    fine = Series(coarse.end - 3600.0, 10.0, np.full(360, 100.0))
    forecaster = SeriesForecaster(
        ForecastSettings(step_s=10.0, seasons_s=(604800.0,), members=QUICK)
    )
    forecaster.update(fine, coarse)
    said = forecaster.forecast(fine.end, 1800.0, None)
    assert said is not None
    assert {m.name: m.value for m in said.members}["seasonal_naive 604800 s"] == 150.0
