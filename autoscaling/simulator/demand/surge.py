"""Crowds that come at once."""

from __future__ import annotations

import numpy as np

from app.errors import SimulationError
from autoscaling.simulator.demand.windows import gap_windows, seeded
from autoscaling.simulator.terms import Requests, Workload

MOST_FACTOR = 100.0
_JITTER_S = 5.0


class Surge:
    """A flash crowd: while it lasts each request of a workload comes several times.

    The others come within 5 s of the first, with the same lengths.

    Args:
        workload: What comes anyway.
        begin_s: When the crowd comes.
        end_s: When it has gone.
        factor: Requests for each one of the workload, 1 to 100; fractions by chance.
        seed: Of chance.

    Raises:
        SimulationError: The span is empty or outside of the workload, or the factor out of range.
    """

    __slots__ = ("_factor", "_seed", "_span", "_workload")

    def __init__(
        self, workload: Workload, begin_s: float, end_s: float, factor: float, seed: int = 1
    ) -> None:
        if not 0 <= begin_s < end_s <= workload.windows * workload.window_s:
            raise SimulationError(
                f"surge: from {begin_s:g} s to {end_s:g} s, but the workload lasts from 0 s to "
                f"{workload.windows * workload.window_s:g} s"
            )
        if not 1 <= factor <= MOST_FACTOR:
            raise SimulationError(f"surge: factor {factor:g}, but must be 1 to {MOST_FACTOR:g}")
        self._workload = workload
        self._span = begin_s, end_s
        self._factor = factor
        self._seed = seed

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self._workload.window_s

    @property
    def windows(self) -> int:
        """How many there are."""
        return self._workload.windows

    @property
    def gap_windows(self) -> frozenset[int]:
        """Windows in which nobody was listening: those of the workload."""
        return gap_windows(self._workload)

    def window(self, index: int) -> Requests:
        """The requests that arrive in one window, the crowd's among them.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There is no such window.
        """
        there = self._workload.window(index)
        begin = max(self._span[0], index * self.window_s)
        end = min(self._span[1], (index + 1) * self.window_s)
        if begin >= end:
            return there
        first, last = np.searchsorted(there.arrival_s, (begin, end))
        random = seeded(self._seed, index)
        more = self._factor - 1 + random.random(last - first)
        repeated = np.repeat(np.arange(first, last), more.astype(np.int64))
        at = there.arrival_s[repeated] + random.uniform(-_JITTER_S, _JITTER_S, len(repeated))
        # What would come too early or too late is folded back into the span, then kept inside.
        at = np.where(at < begin, 2 * begin - at, at)
        at = np.where(at >= end, 2 * end - at, at)
        at = np.clip(at, begin, np.nextafter(end, begin))
        arrival = np.concatenate((there.arrival_s, at))
        order = np.argsort(arrival, kind="stable")
        sources = np.concatenate((np.arange(len(there)), repeated))[order]
        return Requests(arrival[order], there.prompt[sources], there.output[sources])
