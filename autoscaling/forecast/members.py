"""What every model says of every step ahead, from one time on."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.fitting import FitResult
from autoscaling.forecast.horizons import Horizons
from autoscaling.forecast.seasonal import SeasonalNaive, read
from autoscaling.forecast.settings import FITTED, LAST_VALUE, ForecastSettings
from autoscaling.forecast.tracks import Track, usable

_TAIL = 64
"""Bins that a fit which comes late is taken through."""


class Members:
    """The models of one series, each a row of forecasts.

    Args:
        settings: Which models, and the seasons.
        horizons: Steps ahead.
    """

    __slots__ = (
        "_horizons",
        "_periods",
        "_seasonal",
        "_settings",
        "_tail",
        "_tracks",
        "end",
        "last",
        "names",
    )

    def __init__(self, settings: ForecastSettings, horizons: Horizons) -> None:
        self._settings = settings
        self._horizons = horizons
        periods = settings.seasons_s if "seasonal_naive" in settings.members else ()
        fitted = [name for name in FITTED if name in settings.members]
        self.names = (LAST_VALUE, *(f"seasonal_naive {p:g} s" for p in periods), *fitted)
        """Of the rows."""
        self._periods = tuple(
            SeasonalNaive(period, settings.timezone, horizons, settings.step_s)
            for period in periods
        )
        self._seasonal = np.full((len(periods), horizons.top), np.nan)
        self.end = -np.inf
        """Unix time in seconds when the last bin ended."""
        self.last = np.nan
        """Tokens a second in the last bin that is known."""
        self._tail = Series(0.0, settings.step_s, np.empty(0))
        self._tracks: dict[str, Track] = {}

    def close(self, end: float, fine: Series, coarse: Series) -> float:
        """Takes a bin that has ended.

        Args:
            end: When it ended, Unix time in seconds.
            fine: History that reaches at least so far.
            coarse: Longer history.

        Returns:
            Tokens a second in it, NaN if that is not known.
        """
        value = float(read(fine, np.array([end]))[0])
        self.end = end
        if np.isfinite(value):
            self.last = value
        for track in self._tracks.values():
            track.observe(end, value)
        upto = round((end - fine.start) / fine.step_s)
        first = max(0, upto - _TAIL)
        tail = fine.values[first:upto].copy()
        self._tail = Series(fine.start + first * fine.step_s, fine.step_s, tail)
        for row, period in enumerate(self._periods):
            self._seasonal[row] = period.ahead(fine, coarse, end)
        return value

    def fitted(self, result: FitResult) -> bool:
        """Takes over a fit, unless a newer one is there already or it is of no use.

        Args:
            result: From the process that fits.
        """
        if result.model not in FITTED or result.model not in self._settings.members:
            return False
        if not usable(result) or result.end > self.end + self._settings.step_s:
            return False
        present = self._tracks.get(result.model)
        if present is not None and result.end < present.end <= self.end:
            return False
        track = Track(result, self._settings.step_s)
        tail = self._tail
        for index, value in enumerate(tail.values.tolist(), start=1):
            track.observe(tail.start + index * tail.step_s, value)
        self._tracks[result.model] = track
        return True

    def ahead(self) -> Values:
        """Forecasts by row and step; NaN where a model has none."""
        steps = self._horizons.steps
        rows = np.full((len(self.names), len(steps)), np.nan)
        rows[0] = self.last
        rows[1 : 1 + len(self._seasonal)] = self._seasonal
        for name, track in self._tracks.items():
            rows[self.names.index(name)] = track.ahead(self.end, steps)
        return rows

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from."""
        return {
            "end": self.end if np.isfinite(self.end) else None,
            "last": self.last if np.isfinite(self.last) else None,
            "seasonal": [
                [None if np.isnan(value) else value for value in row]
                for row in self._seasonal.tolist()
            ],
            "tracks": [track.state() for track in self._tracks.values()],
        }

    def restored(self, state: Any) -> Members:
        """The models of a state of the same settings.

        Args:
            state: What `state()` gave, or anything else.

        Raises:
            ValueError: It is something else.
        """
        members = Members(self._settings, self._horizons)
        members.end = -np.inf if state["end"] is None else float(state["end"])
        members.last = np.nan if state["last"] is None else float(state["last"])
        if np.isnan(members.end) or members.end == np.inf or members.last in {np.inf, -np.inf}:
            raise ValueError("`end` or `last` is out of range")
        seasonal = np.array(state["seasonal"], dtype=np.float64).reshape(self._seasonal.shape)
        if np.isinf(seasonal).any() or (seasonal < 0).any() or members.last < 0:
            raise ValueError("demand in it is below 0")
        members._seasonal = seasonal
        for kept in state["tracks"]:
            model = kept["model"]
            if model in FITTED and model in self._settings.members:
                members._tracks[model] = Track.restored(kept, self._settings.step_s)
        return members
