"""When a model is fitted again, to what, and for how far ahead."""

from __future__ import annotations

import math

import numpy as np

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import MOST_VALUES, FitJob
from autoscaling.forecast.settings import FITTED, LONGEST_S, ForecastSettings

_RECENT = 512
"""Bins that ETS and Theta are fitted to."""
_LONG = 5040
"""Bins that Prophet is fitted to: five weeks of ten minutes."""
_LEAST = 16
_BACK_S = 7200.0
"""How far Prophet's curve reaches back, for its last errors to be known."""
_SLOW_SEASON_S = 7200.0
"""Seasons from here on are well described in bins of ten minutes."""


class Refits:
    """Asks for fits in time. One that is lost or fails is asked for again, later each time.

    Args:
        settings: Models, and how often they are fitted.
    """

    __slots__ = ("_asked", "_failures", "_settings")

    def __init__(self, settings: ForecastSettings) -> None:
        self._settings = settings
        self._asked: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def due(self, fine: Series, coarse: Series) -> tuple[FitJob, ...]:
        """Fits that should be made now, at most one a model.

        Args:
            fine: Recent history.
            coarse: Long history in bins of ten minutes.
        """
        jobs = []
        for model in FITTED:
            if model in self._settings.members and self._is_due(model, fine.end):
                job = self._job(model, fine, coarse)
                if job is not None:
                    self._asked[model] = fine.end
                    jobs.append(job)
        return tuple(jobs)

    def ended(self, model: str, good: bool) -> None:
        """Takes note of what became of a fit.

        Args:
            model: Its name.
            good: Whether it can be used.
        """
        self._failures[model] = 0 if good else self._failures.get(model, 0) + 1

    def _is_due(self, model: str, end: float) -> bool:
        settings = self._settings
        failures = self._failures.get(model, 0)
        every = settings.fit_every_s
        if model == "prophet" and not failures:
            every = settings.season_fit_every_s
        every *= 2.0 ** min(max(0, failures - 1), 6)
        asked = self._asked.get(model)
        # A clock that was set back makes what was asked lie in the future.
        return asked is None or asked > end or end - asked >= every - 1e-6

    def _job(self, model: str, fine: Series, coarse: Series) -> FitJob | None:
        settings = self._settings
        if model != "prophet":
            series, back, every = _last(fine, _RECENT), 0.0, settings.fit_every_s
        elif _slow(settings):
            series, back, every = _last(coarse, _LONG), _BACK_S, settings.season_fit_every_s
        else:
            series, back, every = _last(fine, _LONG), _BACK_S, settings.season_fit_every_s
        if np.isfinite(series.values).sum() < _LEAST:
            return None
        if model == "prophet" and not _seen_twice(series, settings):
            return None
        before = math.ceil(back / series.step_s)
        # Half as long again as until the next fit, which may be late.
        count = before + math.ceil((1.5 * every + LONGEST_S) / series.step_s) + 2
        start = series.end - before * series.step_s
        return FitJob(model, settings, series, start, min(count, MOST_VALUES))


def _last(series: Series, bins: int) -> Series:
    values = series.values[-bins:].astype(np.float64)
    return Series(series.end - len(values) * series.step_s, series.step_s, values)


def _slow(settings: ForecastSettings) -> bool:
    return bool(settings.seasons_s) and min(settings.seasons_s) >= _SLOW_SEASON_S


def _seen_twice(series: Series, settings: ForecastSettings) -> bool:
    known = np.flatnonzero(np.isfinite(series.values))
    span = (known[-1] - known[0] + 1) * series.step_s
    return bool(settings.seasons_s) and span >= 2.0 * min(settings.seasons_s)
