"""Where demand is kept: rings of bins of several lengths, one behind the other in one array."""

from dataclasses import dataclass
from functools import lru_cache
from math import floor

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.intp]
Shares = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Level:
    """Bins of one length."""

    step: int
    """Seconds that a bin is long."""
    count: int
    """Bins that are kept, the open one included."""
    offset: int
    """Where their ring begins in the array."""

    @lru_cache(maxsize=64)  # noqa: B019 - there are four of them, for good
    def slots(self, first: int, last: int) -> Slots:
        """Where bins are, each once; of more than are kept the newest. Not to be written to.

        Args:
            first: number of the first bin: its beginning in Unix time divided by `step`.
            last: number of the last one; none where it is before `first`.
        """
        first = max(first, last - self.count + 1)
        slots = self.offset + np.arange(first, last + 1, dtype=np.intp) % self.count
        slots.flags.writeable = False
        return slots


def _levels(*kept: tuple[int, int]) -> tuple[Level, ...]:
    levels, offset = [], 0
    for step, seconds in kept:
        levels.append(Level(step, seconds // step, offset))
        offset += seconds // step
    return tuple(levels)


LEVELS = _levels((1, 120), (10, 7200), (60, 2 * 86400), (600, 35 * 86400))
"""Two minutes of seconds, for the rate of now; 2 h, 2 days and 5 weeks for forecasts."""
SECONDS = LEVELS[0]
KEPT = LEVELS[1].offset
"""Where what a checkpoint keeps begins: all but the seconds."""
TOTAL = LEVELS[-1].offset + LEVELS[-1].count
"""Bins in all."""


def level(step_s: float) -> Level:
    """The bins of a length.

    Raises:
        ValueError: there are none of this length.
    """
    for each in LEVELS:
        if each.step == step_s:
            return each
    known = ", ".join(str(each.step) for each in LEVELS)
    raise ValueError(f"there are no bins of {step_s} s; there are some of {known} s")


@lru_cache(maxsize=16)
def passed(old: int, new: int) -> Slots:
    """Slots of the bins that begin after one second and not after another.

    Args:
        old: Unix time in whole seconds.
        new: the same, not before `old`.
    """
    found = [each.slots(old // each.step + 1, new // each.step) for each in LEVELS]
    slots = np.concatenate(found)
    slots.flags.writeable = False
    return slots


def spread(start: float, end: float, now: int) -> tuple[Slots, Shares]:
    """How an amount that came evenly over a time is shared out to bins.

    Args:
        start: when the time begins, Unix time in seconds.
        end: when it ends, not before `start`; equal where it came at once.
        now: the second that bins reach up to. What lies in later ones goes to the newest, what is
            too old to be kept is left out.

    Returns:
        Slots, each once, and the share of the amount that each gets. The shares of each level add
        up to 1 where nothing is too old.
    """
    slots, shares = [], []
    for each in LEVELS:
        newest = now // each.step
        first, last = min(floor(start / each.step), newest), min(floor(end / each.step), newest)
        edges = np.arange(first, last + 2, dtype=np.float64) * each.step
        edges[0], edges[-1] = start, end
        part = np.diff(edges) / (end - start) if end > start else np.ones(last - first + 1)
        kept = max(first, newest - each.count + 1)
        slots.append(each.slots(kept, last))
        shares.append(part[kept - first :])
    return np.concatenate(slots), np.concatenate(shares).astype(np.float32)
