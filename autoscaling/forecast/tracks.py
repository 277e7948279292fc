"""Paths of fitted models, kept at the level of what came since."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.fitting import MOST_VALUES, FitResult

RESIDUAL_DECAY_S = 43200.0
"""Time constant with which Prophet's last error is forgotten. Found on days 1 to 7 of the shared
series."""
_RESIDUAL_GAIN_S = 300.0
"""Time constant with which that error is smoothed."""


class Track:
    """What one fitted model says of the future, moved by its errors since the fit.

    Args:
        result: Of a fit that went well.
        step_s: Length of the bins that come in, in seconds.
    """

    __slots__ = (
        "_correction",
        "_decay",
        "_first",
        "_gain",
        "_last",
        "_middles",
        "_result",
        "_step_s",
        "_values",
    )

    def __init__(self, result: FitResult, step_s: float) -> None:
        self._result = result
        self._step_s = step_s
        self._values = np.array(result.values)
        self._middles = result.start + result.step_s * (np.arange(len(result.values)) + 0.5)
        # Half a bin of the fit's own at both ends belongs to it.
        self._first = result.start
        self._last = result.start + result.step_s * len(result.values)
        if result.model == "prophet":
            self._gain = 1.0 - math.exp(-step_s / _RESIDUAL_GAIN_S)
            self._decay = math.exp(-step_s / RESIDUAL_DECAY_S)
        else:
            self._gain, self._decay = result.gain, 1.0
        self._correction = 0.0

    @property
    def end(self) -> float:
        """Unix time in seconds up to which the model knew demand."""
        return self._result.end

    def observe(self, end: float, value: float) -> None:
        """Takes a closed bin.

        Args:
            end: When it ended, Unix time in seconds.
            value: Tokens a second; NaN if it is not known.
        """
        self._correction *= self._decay
        middle = end - self._step_s / 2
        expected = float(np.interp(middle, self._middles, self._values))
        error = value - expected - self._correction
        if math.isfinite(error) and self._first <= middle <= self._last:
            self._correction += self._gain * error

    def ahead(self, end: float, steps: Values) -> Values:
        """The forecast, 0 or more; NaN beyond what was fitted.

        Args:
            end: When the last known bin ended, Unix time in seconds.
            steps: Bins ahead, 1 for the one that begins at `end`.
        """
        path = self._path(end + self._step_s * (steps - 0.5))
        moved: Values = np.maximum(path + self._correction * self._decay**steps, 0.0)
        return moved

    def _path(self, middles: Values) -> Values:
        path: Values = np.interp(middles, self._middles, self._values)
        path[(middles < self._first) | (middles > self._last)] = np.nan
        return path

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from."""
        result = self._result
        return {
            "model": result.model,
            "end": result.end,
            "start": result.start,
            "step_s": result.step_s,
            "values": list(result.values),
            "gain": result.gain,
            "correction": self._correction,
        }

    @classmethod
    def restored(cls, state: Any, step_s: float) -> Track:
        """The track of a state.

        Args:
            state: What `state()` gave, or anything else.
            step_s: Length of the bins that come in, in seconds.

        Raises:
            ValueError: The state is none.
        """
        try:
            result = FitResult(
                str(state["model"]),
                float(state["end"]),
                float(state["start"]),
                float(state["step_s"]),
                tuple(map(float, state["values"])),
                float(state["gain"]),
            )
            correction = float(state["correction"])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"is no state of a fit: {error!r}") from None
        if not usable(result) or not math.isfinite(correction):
            raise ValueError("is no state of a fit: its numbers are out of range")
        track = cls(result, step_s)
        track._correction = correction
        return track


def usable(result: FitResult) -> bool:
    """Whether a fit went well, and its numbers are numbers.

    Args:
        result: From wherever it came.
    """
    values = result.values
    return (
        not result.error
        and 0 < len(values) <= MOST_VALUES
        and all(math.isfinite(value) and value >= 0 for value in values)
        and all(math.isfinite(value) for value in (result.end, result.start))
        and 0 < result.step_s < math.inf
        and 0 <= result.gain <= 1
    )
