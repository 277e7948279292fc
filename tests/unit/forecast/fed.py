from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import fit
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import ForecastSettings

# A Monday, 00:00 UTC.
MONDAY = 1_699_833_600.0
NOTHING = Series(MONDAY, 600.0, np.empty(0))


def series(values: ArrayLike, step_s: float, start: float = MONDAY) -> Series:
    return Series(start, step_s, np.asarray(values, dtype=np.float64))


def grown(values: ArrayLike, step_s: float, start: float = MONDAY) -> Iterator[Series]:
    """The series as it is known after each bin."""
    everything = np.asarray(values, dtype=np.float64)
    for count in range(1, len(everything) + 1):
        yield Series(start, step_s, everything[:count])


def fed(
    settings: ForecastSettings,
    values: ArrayLike,
    *,
    start: float = MONDAY,
    coarse: Series = NOTHING,
    fits: bool = False,
) -> tuple[SeriesForecaster, Series]:
    forecaster = SeriesForecaster(settings)
    fine = NOTHING
    for fine in grown(values, settings.step_s, start):
        forecaster.update(fine, coarse)
        if fits:
            for job in forecaster.due(fine, coarse):
                forecaster.fitted(fit(job))
    return forecaster, fine


QUICK = ("last_value", "seasonal_naive")
