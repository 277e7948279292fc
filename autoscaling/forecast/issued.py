"""Forecasts that have been made and whose time is still to come."""

from __future__ import annotations

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.horizons import Horizons

_NEVER = -(1 << 62)


class Issued:
    """The forecasts of the last hour, by when they were made.

    Args:
        rows: Forecasts made at a time.
        horizons: Steps ahead at which each is kept.
    """

    __slots__ = ("_made", "_places", "_scored", "_values")

    def __init__(self, rows: int, horizons: Horizons) -> None:
        size = horizons.top + 1
        self._scored = horizons.scored
        self._places = np.arange(len(horizons.scored))
        self._values = np.full((size, len(horizons.scored), rows), np.nan, dtype=np.float32)
        self._made = np.full(size, _NEVER, dtype=np.int64)

    def record(self, index: int, values: Values) -> None:
        """Keeps what is said after a bin.

        Args:
            index: Number of the bin.
            values: By row and horizon.
        """
        slot = index % len(self._made)
        self._made[slot] = index
        self._values[slot] = values.T

    def of(self, index: int) -> Values:
        """What had been said of a bin.

        Args:
            index: Number of the bin.

        Returns:
            By row and horizon; NaN where nothing was.
        """
        made = index - self._scored
        slots = made % len(self._made)
        values = self._values[slots, self._places].astype(np.float64)
        values[self._made[slots] != made] = np.nan
        said: Values = values.T
        return said

    def clear(self) -> None:
        """Forgets all of it."""
        self._made[:] = _NEVER
