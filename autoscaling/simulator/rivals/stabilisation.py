"""The greatest value of a sliding window of time."""

from __future__ import annotations

from collections import deque

_EPSILON_S = 1e-6


class WindowMax:
    """Keeps the greatest value of the last seconds.

    Args:
        window_s: How many.
    """

    __slots__ = ("_values", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._values: deque[tuple[float, float]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing has been added yet."""
        return not self._values

    def add(self, now_s: float, value: float) -> float:
        """Takes a value and says the greatest one that is younger than the window.

        Args:
            now_s: The time, not before the last one.
            value: What is to be kept.
        """
        values = self._values
        while values and values[-1][1] <= value:
            values.pop()
        values.append((now_s, value))
        while values[0][0] <= now_s - self._window_s + _EPSILON_S and len(values) > 1:
            values.popleft()
        return values[0][1]
