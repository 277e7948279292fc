"""Prophet, fitted in local time and turned into a plain curve."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.wall_clock import follows_the_clock, local

if TYPE_CHECKING:
    from autoscaling.forecast.fitting import FitJob
    from autoscaling.forecast.settings import ForecastSettings

_DAY_S = 86400.0
_MOST_ORDER = 4
_NOISY = ("prophet", "prophet.plot", "prophet.models", "cmdstanpy")


def prophet_curve(job: FitJob) -> Values:
    """Trend, seasons, holidays and events, as Prophet finds them.

    Args:
        job: What to fit, and for which bins the curve is wanted.

    Raises:
        ValueError: There is less than two of the shortest season.
    """
    settings, series = job.settings, job.series
    step = series.step_s
    known = np.flatnonzero(np.isfinite(series.values))
    middles = series.start + step * (known.astype(np.float64) + 0.5)
    span = float(middles[-1] - middles[0]) + step
    seasons = [season for season in settings.seasons_s if span >= 2.0 * season > 4.0 * step]
    if not seasons:
        raise ValueError(f"{span:.0f} s are known, two of the shortest season are needed")
    wanted = job.start + step * (np.arange(job.count, dtype=np.float64) + 0.5)
    return _curve(settings, seasons, step, middles, series.values[known], wanted)


def _curve(
    settings: ForecastSettings,
    seasons: list[float],
    step_s: float,
    middles: Values,
    values: Values,
    wanted: Values,
) -> Values:
    for name in _NOISY:
        # Chatter of each fit, and complaints about plotting that nobody asked for.
        logging.getLogger(name).disabled = True
    import pandas as pd  # type: ignore[import-untyped]
    from prophet import Prophet

    def frame(times: Values) -> Any:
        # Periods shorter than a day go on through a change of the clocks.
        clock = local(settings.timezone, times) if follows_the_clock(seasons[0]) else times
        table = pd.DataFrame({"ds": pd.to_datetime(clock, unit="s")})
        for index, name in enumerate(names):
            table[f"event_{index}"] = _during(settings, name, times)
        return table

    names = [name for name in _learnable(settings) if _during(settings, name, middles).any()]
    model: Any = Prophet(
        daily_seasonality=False,
        weekly_seasonality=False,
        yearly_seasonality=False,
        uncertainty_samples=0,
    )
    for season in seasons:
        order = max(1, min(_MOST_ORDER, int(season / step_s / 2) - 1))
        model.add_seasonality(f"{season:g} s", season / _DAY_S, order)
    for index in range(len(names)):
        model.add_regressor(f"event_{index}", standardize=False)
    if settings.holidays is not None:
        model.add_country_holidays(settings.holidays)
    history = frame(middles)
    history["y"] = values
    model.fit(history)
    curve: Values = np.asarray(model.predict(frame(wanted))["yhat"], dtype=np.float64)
    return curve


def _learnable(settings: ForecastSettings) -> list[str]:
    return sorted({event.name for event in settings.events if event.factor is None})


def _during(settings: ForecastSettings, name: str, times: Values) -> Values:
    marks = np.zeros(len(times))
    for event in settings.events:
        if event.name == name and event.factor is None:
            marks[(times >= event.start) & (times < event.end)] = 1.0
    return marks
