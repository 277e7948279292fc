"""Which headroom a policy is frozen at: the cheapest that keeps the target on the tuning days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.autoscaling.grid import LADDER, TARGET


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one headroom, over all tuning alignments."""

    attainment: float
    cost: float
    """Dollars a million tokens."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a policy is tested with."""

    variant: int
    rung: int
    """Place of the headroom on the ladder."""
    met: bool
    """Whether it kept the target on the tuning days."""
    tried: int
    """Headrooms and variants that were tried."""

    @property
    def headroom(self) -> float:
        """The headroom itself."""
        return LADDER[self.rung]


class Bisection:
    """Finds the lowest rung that keeps the target; more headroom is taken to attain more.

    Args:
        rungs: How many rungs there are.
        begin: The first to try.
        target: Share of requests that has to keep to the SLO.
    """

    __slots__ = ("_high", "_low", "_next", "_rungs", "_target", "tried")

    def __init__(self, rungs: int, begin: int, target: float = TARGET) -> None:
        if not 0 <= begin < rungs:
            raise ValueError(f"rung {begin} is not on a ladder of {rungs}")
        self._rungs = rungs
        self._low, self._high = -1, rungs
        self._next = begin
        self._target = target
        self.tried: dict[int, Tried] = {}

    @property
    def asks(self) -> int | None:
        """The rung to try next; None when it is known."""
        return self._next if self._high - self._low > 1 else None

    def told(self, rung: int, found: Tried) -> None:
        """Takes what came of the rung that was asked for.

        Args:
            rung: Which.
            found: What came of it.

        Raises:
            ValueError: Another rung was asked for.
        """
        if rung != self.asks:
            raise ValueError(f"rung {self.asks} was asked for, not {rung}")
        self.tried[rung] = found
        if found.attainment >= self._target:
            self._high = rung
        else:
            self._low = rung
        # Two rungs at a time until it is between two that were tried: most end near the beginning.
        if self._high == self._rungs:
            self._next = min(self._rungs - 1, self._low + 2)
        elif self._low < 0:
            self._next = max(0, self._high - 2)
        else:
            self._next = (self._low + self._high) // 2


def choose(found: Iterable[tuple[int, Bisection]], target: float = TARGET) -> Frozen:
    """The cheapest variant and rung that keeps the target; if none does, the best attainment.

    Args:
        found: Variants with what was tried of each.
        target: Share of requests that has to keep to the SLO.

    Raises:
        ValueError: Nothing was tried.
    """
    every = [
        (variant, rung, tried)
        for variant, bisection in found
        for rung, tried in bisection.tried.items()
    ]
    if not every:
        raise ValueError("nothing was tried")
    keeping = [one for one in every if one[2].attainment >= target]
    if keeping:
        variant, rung, _ = min(keeping, key=lambda one: (one[2].cost, one[1], one[0]))
    else:
        variant, rung, _ = max(every, key=lambda one: (one[2].attainment, -one[2].cost, -one[1]))
    return Frozen(variant, rung, bool(keeping), len(every))
