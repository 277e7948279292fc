"""Workloads over arrays, and sums of demand by time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from app.errors import SimulationError
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.terms import Floats, Past, Requests, Workload

WINDOW_S = 600.0
MOST_WINDOWS = 1_000_000
MOST_BINS = 10_000_000


@runtime_checkable
class Gapped(Protocol):
    """A workload that knows in which of its windows nobody was listening."""

    @property
    def gap_windows(self) -> frozenset[int]:
        """Their indices. Nothing arrives in them."""


class Stored:
    """A workload over arrays, which may be memory-mapped files that runs share.

    A window is a view of the arrays, and is checked when it is asked for: nothing else is read.

    Args:
        requests: All requests.
        window_s: Length of a window in seconds.
        windows: How many there are; by default as many as hold the last request.
        gap_windows: Windows in which nobody was listening.

    Raises:
        SimulationError: The columns differ in length, a request lies outside of the windows, or
            there would be more than 1,000,000 of them.
    """

    __slots__ = ("_edges", "_requests", "gap_windows", "window_s", "windows")

    def __init__(
        self,
        requests: Requests,
        window_s: float = WINDOW_S,
        windows: int | None = None,
        gap_windows: Iterable[int] = (),
    ) -> None:
        arrival = requests.arrival_s
        if not len(arrival) == len(requests.prompt) == len(requests.output):
            raise SimulationError(
                f"stored demand: {len(arrival):,} arrivals, {len(requests.prompt):,} prompts and "
                f"{len(requests.output):,} outputs must be equally many"
            )
        if not (np.isfinite(window_s) and window_s > 0):
            raise SimulationError(f"stored demand: a window of {window_s} s")
        first, last = (float(arrival[0]), float(arrival[-1])) if len(arrival) else (0.0, 0.0)
        if windows is None:
            windows = max(0, int(last // window_s)) + 1 if np.isfinite(last) else MOST_WINDOWS + 1
        if not 1 <= windows <= MOST_WINDOWS:
            raise SimulationError(
                f"stored demand: {windows:,} windows of {window_s:g} s, but 1 to {MOST_WINDOWS:,} "
                "are possible"
            )
        if not 0 <= first <= last < windows * window_s:
            raise SimulationError(
                f"stored demand: arrivals from {first:g} s to {last:g} s, but the windows reach "
                f"from 0 s to {windows * window_s:g} s"
            )
        # Views of memory-mapped files are slow to cut: those of plain arrays are as lazy.
        self._requests = Requests(
            np.asarray(arrival), np.asarray(requests.prompt), np.asarray(requests.output)
        )
        self._edges = np.searchsorted(arrival, np.arange(windows + 1) * window_s)
        self.window_s = float(window_s)
        self.windows = windows
        self.gap_windows = frozenset(gap_windows)

    def __len__(self) -> int:
        return len(self._requests)

    def window(self, index: int) -> Requests:
        """The requests that arrive in one window.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There is no such window.
            SimulationError: They are not in order, outside of the window, or have no tokens.
        """
        check_index(index, self.windows)
        part = slice(int(self._edges[index]), int(self._edges[index + 1]))
        arrival = self._requests.arrival_s[part]
        found = Requests(arrival, self._requests.prompt[part], self._requests.output[part])
        if len(found):
            # Written so that NaN fails.
            inside = index * self.window_s <= arrival[0] and arrival[-1] < (index + 1) * (
                self.window_s
            )
            if not (inside and np.all(arrival[:-1] <= arrival[1:])):
                raise SimulationError(
                    f"stored demand: arrivals of window {index:,} are not in ascending order"
                )
            if min(found.prompt.min(), found.output.min()) < 1:
                raise SimulationError(
                    f"stored demand: a request in window {index:,} has less than 1 token"
                )
        return found


def past(workload: Workload, begin_s: float, end_s: float, step_s: float) -> Past:
    """What a policy may have learned from: the demand of a span, in bins.

    Bins that touch a window in which nobody was listening are NaN.

    Args:
        workload: Demand.
        begin_s: When the first bin begins.
        end_s: When the last one ends; a whole number of bins later.
        step_s: Length of a bin in seconds.

    Raises:
        SimulationError: The span is not one of the workload, or not a whole number of bins.
    """
    sums = _sums(workload, begin_s, end_s, step_s)
    for gap in gap_windows(workload):
        first = (gap * workload.window_s - begin_s) / step_s
        last = ((gap + 1) * workload.window_s - begin_s) / step_s
        sums[:, max(0, int(np.floor(first))) : max(0, int(np.ceil(last)))] = np.nan
    return Past(begin_s, step_s, sums[0], sums[1], sums[2])


def work(
    workload: Workload, begin_s: float, end_s: float, step_s: float, capacity: Capacity
) -> Floats:
    """How many replicas the demand of each step keeps busy.

    Where nobody was listening it is 0: that is what the simulation has there.

    Args:
        workload: Demand.
        begin_s: When the first step begins.
        end_s: When the last one ends; a whole number of steps later.
        step_s: Length of a step in seconds.
        capacity: Of one replica.

    Raises:
        SimulationError: The span is not one of the workload, or not a whole number of steps, or
            the capacity is not above 0.
    """
    if not (capacity.prefill_tps > 0 and capacity.decode_tps > 0):
        raise SimulationError("work: the capacity of a replica must be above 0 tokens a second")
    _, prompt, output = _sums(workload, begin_s, end_s, step_s)
    busy: Floats = (prompt / capacity.prefill_tps + output / capacity.decode_tps) / step_s
    return busy


def gathered(workload: Workload, first: int = 0, end: int | None = None) -> Requests:
    """The requests of several windows in one, such as to store them.

    Args:
        workload: Demand.
        first: The first window.
        end: The window after the last one; by default all that follow are taken.

    Raises:
        IndexError: There is no such window.
    """
    parts = [workload.window(i) for i in range(first, workload.windows if end is None else end)]
    if not parts:
        return Requests(np.empty(0), np.empty(0, np.int32), np.empty(0, np.int32))
    return Requests(
        np.concatenate([part.arrival_s for part in parts]),
        np.concatenate([part.prompt for part in parts]),
        np.concatenate([part.output for part in parts]),
    )


def gap_windows(workload: Workload) -> frozenset[int]:
    """Windows in which nobody was listening, as far as the workload knows.

    Args:
        workload: Demand.
    """
    return workload.gap_windows if isinstance(workload, Gapped) else frozenset()


def seeded(seed: int, index: int) -> np.random.Generator:
    """Chance for one window, whatever was drawn for others.

    Args:
        seed: Of the workload, 0 or more.
        index: Which window.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, index))))


def check_index(index: int, windows: int) -> None:
    """Refuses windows that are not there; a negative index is no window from the end.

    Args:
        index: Which is asked for.
        windows: How many there are.

    Raises:
        IndexError: There is no such window.
    """
    if not 0 <= index < windows:
        raise IndexError(f"window {index:,} of {windows:,}")


def _sums(workload: Workload, begin_s: float, end_s: float, step_s: float) -> Floats:
    """Requests, prompt tokens and output tokens by bin; shape (3, bins)."""
    length = workload.windows * workload.window_s
    if not 0 <= begin_s < end_s <= length:
        raise SimulationError(
            f"demand from {begin_s:g} s to {end_s:g} s: the workload lasts from 0 s to {length:g} s"
        )
    bins = round((end_s - begin_s) / step_s) if step_s > 0 else 0
    if bins > MOST_BINS:
        raise SimulationError(
            f"demand in {bins:,} bins of {step_s:g} s: {MOST_BINS:,} are possible; take longer bins"
        )
    if bins < 1 or abs(bins * step_s - (end_s - begin_s)) > 1e-6 * step_s:
        raise SimulationError(
            f"demand from {begin_s:g} s to {end_s:g} s is no whole number of bins of {step_s:g} s"
        )
    sums = np.zeros((3, bins))
    for index in range(int(begin_s // workload.window_s), workload.windows):
        if index * workload.window_s >= end_s:
            break
        there = workload.window(index)
        place = np.floor((there.arrival_s - begin_s) / step_s).astype(np.int64)
        inside = (place >= 0) & (place < bins)
        if not inside.any():
            continue
        place = place[inside]
        first, counts = int(place[0]), np.bincount(place - place[0])
        part = sums[:, first : first + len(counts)]
        part[0] += counts
        part[1] += np.bincount(place - first, there.prompt[inside])
        part[2] += np.bincount(place - first, there.output[inside])
    return sums
