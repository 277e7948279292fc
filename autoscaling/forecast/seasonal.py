"""Demand repeats itself: what it was at this time of the last periods."""

from __future__ import annotations

import numpy as np

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.horizons import Horizons
from autoscaling.forecast.wall_clock import earlier

_PERIODS = 3
"""Past periods that are averaged, where there are as many."""
_SPARE = 16
"""Bins that are looked up in advance."""


def read(series: Series, ends: Values) -> Values:
    """What a series has for bins of any length; NaN where it has nothing.

    Args:
        series: The history.
        ends: When the bins that are asked for end, Unix time in seconds.
    """
    found = np.full(len(ends), np.nan)
    # A little before the end lies within the right bin, whatever rounding did.
    index = np.floor((ends - 0.5 - series.start) / series.step_s)
    inside = (index >= 0) & (index < len(series.values))
    found[inside] = series.values[index[inside].astype(np.int64)]
    return found


class SeasonalNaive:
    """Demand as it was one period before: the mean of the last few such times.

    Args:
        period_s: Length of the period in seconds.
        timezone: Whose clock days are of.
        horizons: Steps ahead.
        step_s: Length of a bin in seconds.
    """

    __slots__ = ("_origin", "_period_s", "_step_s", "_timezone", "_top", "_values")

    def __init__(self, period_s: float, timezone: str, horizons: Horizons, step_s: float) -> None:
        self._period_s, self._timezone, self._step_s = period_s, timezone, step_s
        self._top = horizons.top
        self.keep(0.0, np.full(horizons.top, np.nan))

    def keep(self, origin: float, values: Values) -> None:
        """Takes values as those that are to be forecast.

        Args:
            origin: Unix time in seconds when the first of their bins begins.
            values: Tokens a second, one for each step ahead or more; NaN where unknown.
        """
        self._origin, self._values = origin, values

    def ahead(self, fine: Series, coarse: Series, origin: float) -> Values:
        """The forecast, NaN where nothing is known.

        Args:
            fine: Recent history.
            coarse: Longer history, for what `fine` does not reach.
            origin: Unix time in seconds after which nothing is known; the forecast begins there.
        """
        passed = round((origin - self._origin) / self._step_s)
        if not 0 < passed <= len(self._values) - self._top:
            # What is a long period ago is known some bins in advance, and looked up at once.
            spare = _SPARE if self._period_s >= (self._top + _SPARE) * self._step_s else 0
            ends = origin + self._step_s * np.arange(1, self._top + spare + 1, dtype=np.float64)
            self.keep(origin, self._look_up(fine, coarse, origin, ends))
            passed = 0
        return self._values[passed : passed + self._top]

    def _look_up(self, fine: Series, coarse: Series, origin: float, ends: Values) -> Values:
        first = np.maximum(1.0, np.ceil((ends - origin) / self._period_s - 1e-9))
        total, counts = np.zeros(len(ends)), np.zeros(len(ends))
        for index in range(_PERIODS):
            then = earlier(self._timezone, ends, self._period_s, first + index)
            values = read(fine, then)
            missing = np.isnan(values)
            if missing.any():
                values[missing] = read(coarse, then[missing])
            known = np.isfinite(values)
            total[known] += values[known]
            counts += known
        return np.where(counts > 0, total / np.maximum(counts, 1.0), np.nan)
