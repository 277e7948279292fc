"""How much worse than usual demand can be foreseen just now."""

from __future__ import annotations

import math
from typing import Any

_RECENT_BINS = 6.0
_USUAL_BINS = 1000.0
_FLOOR = 0.2
"""Share of the usual error that is expected in the quietest of times."""
_MOST = 3.0
_FIRST = 0.05


class Turbulence:
    """Recent errors one step ahead, beside the usual ones."""

    __slots__ = ("_count", "_recent", "_usual")

    def __init__(self) -> None:
        self._recent = self._usual = _FIRST
        self._count = 0

    def add(self, error: float) -> None:
        """Takes an error.

        Args:
            error: Of a forecast one step ahead, relative, 0 or more.
        """
        self._count += 1
        self._recent += max(1.0 / _RECENT_BINS, 1.0 / self._count) * (error - self._recent)
        self._usual += max(1.0 / _USUAL_BINS, 1.0 / self._count) * (error - self._usual)

    @property
    def ratio(self) -> float:
        """Recent errors over usual ones, from about 1/6 to 3; 1 where both are the same."""
        usual = max(self._usual, 1e-9)
        return min((self._recent + _FLOOR * usual) / ((1.0 + _FLOOR) * usual), _MOST)

    def state(self) -> list[float]:
        """Plain data to be restored from."""
        return [self._recent, self._usual, self._count]

    @classmethod
    def restored(cls, state: Any) -> Turbulence:
        """What a state says.

        Args:
            state: What `state()` gave, or anything else.

        Raises:
            ValueError: It is something else.
        """
        recent, usual, count = (float(value) for value in state)
        if not all(0 <= value < math.inf for value in (recent, usual, count)):
            raise ValueError("turbulence is out of range")
        turbulence = cls()
        turbulence._recent, turbulence._usual, turbulence._count = recent, usual, int(count)
        return turbulence
