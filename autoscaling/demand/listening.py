"""When anybody was listening: the seconds of which gateways have spoken.

It is the same for all groups, since a gateway that leaves a group out says that it had no demand.
"""

from math import ceil

import numpy as np

from autoscaling.demand.bins import LEVELS, TOTAL, Slots, passed

_REMEMBERED_S = 7200


class Listening:
    """Counts the seconds of each bin that somebody has spoken of.

    A second counts if its middle lies in what a message speaks of: spans that follow upon each
    other then count each second once, however they are cut.

    Args:
        now: Unix time in whole seconds.
    """

    __slots__ = ("_seconds", "counts", "reached")

    def __init__(self, now: int) -> None:
        self._seconds = np.zeros(_REMEMBERED_S, np.bool_)
        self.counts = np.zeros(TOTAL, np.uint16)
        """Seconds covered, by slot."""
        self.reached = now
        """The second that bins reach up to."""

    def advance(self, now: int) -> None:
        """Goes on to a second, or back to it: later bins are then forgotten."""
        old, self.reached = self.reached, now
        low, high = min(old, now), max(old, now)
        self.counts[passed(low, high)] = 0
        # Gone back to, a second is lived through once more.
        first = low if now < old else low + 1
        self._seconds[self._ring(first, high)] = False

    def heard(self, start: float, end: float) -> None:
        """Takes that somebody has spoken of a time, in Unix seconds."""
        first, last = ceil(start - 0.5), min(ceil(end - 0.5) - 1, self.reached)
        first = max(first, self.reached - _REMEMBERED_S + 1)
        ring = self._ring(first, last)
        new = ~self._seconds[ring]
        self._seconds[ring] = True
        seconds = np.arange(first, first + len(ring))[new]
        for each in LEVELS:
            bins = seconds // each.step
            bins = bins[bins > self.reached // each.step - each.count]
            np.add.at(self.counts, each.offset + bins % each.count, 1)

    @staticmethod
    def _ring(first: int, last: int) -> Slots:
        first = max(first, last - _REMEMBERED_S + 1)
        return np.arange(first, last + 1, dtype=np.intp) % _REMEMBERED_S
