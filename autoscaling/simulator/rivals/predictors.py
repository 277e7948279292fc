"""What the load will be in the next interval: Dynamo's predictors that need no library.

Source: NVIDIA Dynamo, components/src/dynamo/planner/core/load/predictors.py at 260b6ae9, with the
defaults of planner/config/defaults.py at 1ca60155. Zeros before the first load are left out there
and here. Its Kalman filter can go below zero (issue #14493); here no prediction does.
"""

from __future__ import annotations

from math import isfinite
from typing import Protocol

_UNSURE = 1000.0


class Predictor(Protocol):
    """Sees one number an interval and says what the next will be."""

    def add(self, value: float) -> None:
        """Takes the number of one interval.

        Args:
            value: Requests, or tokens a request.
        """

    def next(self) -> float:
        """The number of the next interval, 0 or more; the same until another one is added."""


class ConstantPredictor:
    """The last value again."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0.0

    def add(self, value: float) -> None:
        """Takes the number of one interval.

        Args:
            value: Requests, or tokens a request.
        """
        self._last = sound(value)

    def next(self) -> float:
        """The last one."""
        return self._last


class KalmanPredictor:
    """A local linear trend, filtered.

    The state is a level and a trend, both walk at random: `level += trend`.

    Args:
        q_level: Variance by which the level walks.
        q_trend: Variance by which the trend walks.
        r: Variance of what is seen.
    """

    __slots__ = ("_covariance", "_known", "_level", "_q_level", "_q_trend", "_r", "_trend")

    def __init__(self, q_level: float = 1.0, q_trend: float = 0.1, r: float = 10.0) -> None:
        self._q_level = q_level
        self._q_trend = q_trend
        self._r = r
        self._level = 0.0
        self._trend = 0.0
        self._covariance = (_UNSURE, 0.0, _UNSURE)
        self._known = False

    def add(self, value: float) -> None:
        """Takes the number of one interval.

        Args:
            value: Requests, or tokens a request.
        """
        value = sound(value)
        if not self._known:
            if value:
                self._known = True
                self._level = value
            return
        # Predict, then correct: covariance is of (level, level), (level, trend), (trend, trend).
        level, both, trend = self._covariance
        level, both, trend = (
            level + 2 * both + trend + self._q_level,
            both + trend,
            trend + self._q_trend,
        )
        expected = self._level + self._trend
        gain = level / (level + self._r)
        gain_trend = both / (level + self._r)
        self._level = expected + gain * (value - expected)
        self._trend += gain_trend * (value - expected)
        self._covariance = ((1 - gain) * level, (1 - gain) * both, trend - gain_trend * both)

    def next(self) -> float:
        """The level one interval on."""
        return max(0.0, self._level + self._trend)


def sound(value: float) -> float:
    """A reading, or 0 where it is no number: what Dynamo takes it for.

    Args:
        value: Requests, or tokens a request.
    """
    return value if isfinite(value) and value > 0 else 0.0
