"""How far above a forecast demand may be: adaptive conformal quantiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaling.demand.terms import Values
from autoscaling.forecast.packing import pack, unpack
from autoscaling.forecast.terms import QUANTILES

WINDOW = 512
"""Scores that are kept for each forecast and horizon."""
RATE = 0.008
"""How fast levels follow what is missed."""
MOST = 4.0
"""Scores are cut off here, so that one absurd bin is no more than that."""
# The median is the forecast itself: calibrated, it was worse on days 3 to 7 of the shared series.
_LEVELS = np.array(QUANTILES[1:])
_LOWEST = np.array([0.7, 0.85, 0.97])
_HIGHEST = np.array([0.995, 0.9975, 0.9995])
# Relative errors that are assumed until they have been seen: half as much again at 0.9.
_PRIOR = np.array([0.4, 0.6, 1.0])


class Conformal:
    """Quantiles of scores (logarithms of demand over forecast) of a few forecasts.

    The level of a quantile is moved by what it misses (Gibbs and Candès, 2021), so that its share
    of misses comes out right while demand changes its ways. Nothing is forgotten but by the
    window: a crowd's scores leave it.

    Args:
        forecasts: How many forecasts are calibrated.
        horizons: At how many horizons each.
    """

    __slots__ = ("_levels", "_offsets", "_seen", "_window")

    def __init__(self, forecasts: int, horizons: int) -> None:
        shape = (forecasts, horizons)
        self._levels = np.broadcast_to(_LEVELS, (*shape, len(_LEVELS))).copy()
        self._seen = np.zeros(shape, dtype=np.int64)
        # Scores that are not there yet are infinite, so that they sort last.
        self._window = np.full((*shape, 0), np.inf, dtype=np.float32)
        self._offsets = np.broadcast_to(_PRIOR, (*shape, len(_LEVELS))).copy()

    @property
    def offsets(self) -> Values:
        """Scores that are not exceeded, by forecast, horizon and quantile; 0 for the median."""
        median = np.zeros((*self._seen.shape, 1))
        return np.concatenate([median, np.maximum(self._offsets, 0.0)], axis=-1)

    def add(self, scores: Values) -> None:
        """Takes scores of forecasts whose time has come.

        Args:
            scores: By forecast and horizon; NaN where there is none.
        """
        row, column = np.nonzero(np.isfinite(scores))
        if not len(row):
            return
        # Kept with few digits, as a checkpoint keeps them.
        new = np.clip(scores[row, column], -MOST, MOST).astype(np.float16).astype(np.float32)
        missed = new[:, None] > self._offsets[row, column]
        moved = self._levels[row, column] + RATE * (missed - (1.0 - _LEVELS))
        self._levels[row, column] = np.clip(moved, _LOWEST, _HIGHEST)
        place = self._seen[row, column] % WINDOW
        self._make_room(int(place.max()))
        self._window[row, column, place] = new
        self._seen[row, column] += 1
        self._offsets[row, column] = self._quantiles(row, column)

    def _make_room(self, place: int) -> None:
        size = self._window.shape[-1]
        if place >= size:
            more = np.full((*self._seen.shape, max(32, size)), np.inf, np.float32)
            self._window = np.concatenate([self._window, more], axis=-1)[..., :WINDOW]

    def _quantiles(self, row: NDArray[np.int64], column: NDArray[np.int64]) -> Values:
        ordered = np.sort(self._window[row, column], axis=-1)
        count = np.minimum(self._seen[row, column], WINDOW)[:, None]
        rank = np.ceil(self._levels[row, column] * (count + 1)).astype(np.int64)
        place = np.maximum(np.minimum(rank, count) - 1, 0)
        found = ordered[np.arange(len(row))[:, None], place].astype(np.float64)
        # With few scores the high quantiles are not among them: the prior stands in.
        found = np.where(rank > count, np.maximum(found, _PRIOR), found)
        rising: Values = np.maximum.accumulate(found, axis=-1)
        return rising

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from."""
        return {
            "levels": pack(self._levels),
            "seen": pack(self._seen.astype(np.float64)),
            "window": pack(self._window.astype(np.float16)),
        }

    def restored(self, state: Any) -> Conformal:
        """The quantiles of a state of the same shape.

        Args:
            state: What `state()` gave, or anything else.

        Raises:
            ValueError: It is something else.
        """
        forecasts, horizons = self._seen.shape
        levels = unpack(state["levels"], self._levels.shape)
        seen = unpack(state["seen"], self._seen.shape)
        window = unpack(state["window"], (forecasts, horizons, None))
        size = window.shape[-1]
        filled = np.minimum(seen, WINDOW)
        expected = np.arange(size) < filled[..., None]
        if not (
            ((levels >= _LOWEST) & (levels <= _HIGHEST)).all()
            and ((seen >= 0) & (seen < 1 << 50) & (seen == np.floor(seen))).all()
            and size <= WINDOW
            and (filled <= size).all()
            and (np.isfinite(window) == expected).all()
            and (np.abs(window[expected]) <= MOST).all()
        ):
            raise ValueError("calibration is out of range")
        restored = Conformal(forecasts, horizons)
        restored._levels = levels.copy()
        restored._seen = seen.astype(np.int64)
        restored._window = window.astype(np.float32)
        row, column = np.nonzero(seen)
        if len(row):
            restored._offsets[row, column] = restored._quantiles(row, column)
        return restored
