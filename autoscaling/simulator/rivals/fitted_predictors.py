"""Dynamo's predictors that fit a model: ARIMA and Prophet.

Source: NVIDIA Dynamo, components/src/dynamo/planner/core/load/predictors.py at 260b6ae9: ARIMA's
order is chosen by AIC once, on what is known then, and of the logarithm where it comes out without
AR and MA terms; each interval adds a number. Prophet is fitted anew each interval, on the last 50
numbers, with its defaults. Both say the last value again until there are five numbers.

Fits are heavy, so that they are functions from outside: `fits` has them, and what remembers them.
They see the demand only, so that all runs over the same demand share them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from autoscaling.simulator.rivals.predictors import sound
from autoscaling.simulator.terms import Floats

OneStep = Callable[[Floats], float]
"""What follows on some numbers, by a model that has been fitted."""
ArimaFit = Callable[[Floats], OneStep]
"""Chooses and fits a model."""
ProphetFit = Callable[[Floats, float, int], Floats]
"""The next few numbers after some, by their distance in seconds."""

_LEAST = 5


class ArimaPredictor:
    """A model of the differences and errors before.

    Dynamo goes on with the order that it has chosen on its first five numbers. Here the order is
    chosen anew now and then, on a window that slides, which serves it better.

    Args:
        fit: Chooses and fits a model.
        window: Numbers that are looked at.
        refit_every: Intervals between two choices.
    """

    __slots__ = ("_age", "_fit", "_next", "_one_step", "_refit_every", "_values")

    def __init__(self, fit: ArimaFit, window: int = 240, refit_every: int = 40) -> None:
        self._fit = fit
        self._refit_every = refit_every
        self._values: deque[float] = deque(maxlen=window)
        self._one_step: OneStep | None = None
        self._age = 0
        self._next: float | None = 0.0

    def add(self, value: float) -> None:
        """Takes the number of one interval.

        Args:
            value: Requests, or tokens a request.
        """
        value = sound(value)
        if value or self._values:
            self._values.append(value)
            self._age += 1
            self._next = None

    def next(self) -> float:
        """The number of the next interval."""
        if self._next is None:
            self._next = sound(self._predict())
        return self._next

    def _predict(self) -> float:
        values = np.array(self._values)
        if len(values) < _LEAST or np.ptp(values) == 0:
            return float(values[-1])
        if self._one_step is None or self._age >= self._refit_every:
            self._one_step = self._fit(values)
            self._age = 0
        return self._one_step(values)


class ProphetPredictor:
    """Prophet over the last numbers.

    Args:
        fit: Fits it, and says the next few numbers.
        step_s: Seconds of an interval.
        window: Numbers that are looked at.
        refit_every: Intervals between two fits; 1 as documented. With more, a fit says as many
            numbers, which is cheaper and staler.
    """

    __slots__ = ("_age", "_curve", "_fit", "_refit_every", "_step_s", "_values")

    def __init__(
        self, fit: ProphetFit, step_s: float = 180.0, window: int = 50, refit_every: int = 1
    ) -> None:
        self._fit = fit
        self._step_s = step_s
        self._refit_every = refit_every
        self._values: deque[float] = deque(maxlen=window)
        self._curve: Floats | None = None
        self._age = 0

    def add(self, value: float) -> None:
        """Takes the number of one interval.

        Args:
            value: Requests, or tokens a request.
        """
        value = sound(value)
        if value or self._values:
            self._values.append(value)
            self._age += 1

    def next(self) -> float:
        """The number of the next interval."""
        if len(self._values) < _LEAST:
            return self._values[-1] if self._values else 0.0
        if self._curve is None or self._age >= self._refit_every:
            self._curve = self._fit(np.array(self._values), self._step_s, self._refit_every)
            self._age = 0
        return sound(float(self._curve[self._age]))
