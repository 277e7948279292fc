"""Fits of the models that take a while: made in another process, from plain data to plain data.

`prophet`, `statsforecast` and `pandas` are imported where a fit needs them, never by the actor.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.settings import ForecastSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_VALUES = 4096
"""Longest path that a fit returns."""
_LEAST_KNOWN = 16
_CEILING = 10.0
"""No model is believed beyond this many times the greatest demand it has seen."""
_LONGEST_PERIOD = 24
"""Bins in a season that ETS and Theta are asked to find; longer ones are too slow to fit."""


@dataclass(frozen=True, slots=True)
class FitJob:
    """One model that is to be fitted to one series."""

    model: str
    """`prophet`, `ets` or `theta`."""
    settings: ForecastSettings
    """Seasons, zone, holidays and events."""
    series: Series
    """What to fit it to; its end is the fit's origin."""
    start: float
    """When the first bin of the answer begins, Unix time in seconds; at most the series' end."""
    count: int
    """Bins of the answer, each of the series' length; 1 to `MOST_VALUES`."""
    id: str = ""
    """The caller's own; comes back in the result."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """What came of a fit."""

    model: str
    """As in the job."""
    end: float
    """Unix time in seconds up to which demand was known."""
    start: float = 0.0
    """When the first bin of `values` begins, Unix time in seconds."""
    step_s: float = 0.0
    """Length of a bin of `values` in seconds."""
    values: tuple[float, ...] = ()
    """Tokens a second, 0 or more."""
    gain: float = 1.0
    """Share of a new error that the model's level takes over, 0 to 1."""
    error: str = ""
    """Why there is nothing, empty if there is."""
    id: str = ""
    """As in the job."""


def fit(job: FitJob) -> FitResult:
    """Fits one model. Pure: the same job gives the same result.

    Args:
        job: What to fit.

    Returns:
        The model's path, or the reason why there is none. Data never makes it raise.
    """
    try:
        model = _MODELS[job.model]
        with warnings.catch_warnings():
            # Of the libraries, about themselves and about data that is hard to fit.
            warnings.simplefilter("ignore")
            values, gain = model(job, _filled(job.series.values))
        path = _plausible(values, job)
    except Exception as error:  # noqa: BLE001 - whatever a library makes of odd data
        said = f"{type(error).__name__}: {error}"[:300]
        return FitResult(job.model, job.series.end, error=said, id=job.id)
    return FitResult(
        job.model,
        job.series.end,
        start=job.start,
        step_s=job.series.step_s,
        values=path,
        gain=min(1.0, max(0.0, gain)) if math.isfinite(gain) else 1.0,
        id=job.id,
    )


def _filled(values: Values) -> Values:
    """The series from its first known value on, gaps bridged by straight lines."""
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < _LEAST_KNOWN:
        raise ValueError(f"{len(known)} bins are known, {_LEAST_KNOWN} are needed")
    first = int(known[0])
    index = np.arange(first, len(values))
    filled: Values = np.interp(index, known, values[known])
    return filled


def _plausible(values: Values, job: FitJob) -> tuple[float, ...]:
    if len(values) != job.count or not np.isfinite(values).all():
        raise ValueError("the model's forecast is not finite")
    ceiling = _CEILING * float(np.nanmax(job.series.values))
    clipped = np.clip(values, 0.0, ceiling).tolist()
    # Digits beyond these say nothing, and would make checkpoints long.
    return tuple(float(f"{value:.6g}") for value in clipped)


def _period(settings: ForecastSettings, step_s: float, length: int) -> int:
    """Bins in the shortest season that ETS and Theta can find in so much history, or 1."""
    for season in settings.seasons_s:
        bins = round(season / step_s)
        near = abs(bins * step_s - season) < 0.01 * step_s
        if near and 2 <= bins <= _LONGEST_PERIOD and length >= 3 * bins:
            return bins
    return 1


def _ets(job: FitJob, values: Values) -> tuple[Values, float]:
    from statsforecast.models import AutoETS  # type: ignore[import-untyped]

    period = _period(job.settings, job.series.step_s, len(values))
    # Errors are additive, so that zeros are data like any other.
    model: Any = AutoETS(season_length=period, model="AZZ" if period == 1 else "AZA")
    return _statsforecast(model, job, values, lambda fitted: float(fitted["par"][0]))


def _theta(job: FitJob, values: Values) -> tuple[Values, float]:
    from statsforecast.models import Theta

    period = _period(job.settings, job.series.step_s, len(values))
    model: Any = Theta(season_length=period, decomposition_type="additive")
    return _statsforecast(model, job, values, lambda fitted: float(fitted["par"]["alpha"]))


def _statsforecast(
    model: Any, job: FitJob, values: Values, gain: Callable[[Any], float]
) -> tuple[Values, float]:
    if np.ptp(values) == 0.0:
        return np.full(job.count, values[-1]), 1.0
    ahead = job.count - round((job.series.end - job.start) / job.series.step_s)
    fitted = model.fit(values.astype(np.float64))
    path: NDArray[np.float64] = np.asarray(fitted.predict(h=ahead)["mean"], dtype=np.float64)
    return path, gain(fitted.model_)


def _prophet(job: FitJob, _: Values) -> tuple[Values, float]:
    from autoscaling.forecast.prophet_curve import prophet_curve

    return prophet_curve(job), 1.0


_MODELS: dict[str, Callable[[FitJob, Values], tuple[Values, float]]] = {
    "ets": _ets,
    "theta": _theta,
    "prophet": _prophet,
}
