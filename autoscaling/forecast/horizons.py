"""The horizons at which forecasts are scored, and those between them."""

from __future__ import annotations

import math

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.settings import LONGEST_S

_SCORED = (1, 2, 3, 4, 5, 6, 9, 12, 18, 30, 60, 120, 240)


class Horizons:
    """Steps ahead, up to the furthest horizon.

    Args:
        step_s: Length of a bin in seconds.
    """

    __slots__ = ("_matrix", "scored", "steps", "strides", "top")

    def __init__(self, step_s: float) -> None:
        # One more, because the bin that the longest horizon ends in may be half over.
        self.top = math.ceil(LONGEST_S / step_s) + 1
        """The furthest, in steps."""
        self.steps = np.arange(1, self.top + 1, dtype=np.float64)
        """Every one that there is a forecast for."""
        scored = sorted({step for step in _SCORED if step < self.top} | {self.top})
        self.scored = np.array(scored)
        """Those at which forecasts are compared with what came."""
        # Errors at long horizons overlap nearly wholly from bin to bin: some are enough.
        self.strides = np.maximum(1, self.scored // 6)
        """Bins between two scores at each of `scored`."""
        matrix = np.zeros((len(scored), self.top))
        for index in range(len(scored)):
            unit = np.zeros(len(scored))
            unit[index] = 1.0
            matrix[index] = np.interp(self.steps, self.scored, unit)
        self._matrix = matrix

    def spread(self, values: Values) -> Values:
        """Values at every step from those at the scored ones, linear in between.

        Args:
            values: The last axis is that of `scored`.
        """
        wide: Values = values @ self._matrix
        return wide
