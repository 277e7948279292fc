"""What runs of one policy came to, by alignment and day: what intervals are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks.autoscaling.run_log import Run

Floats = NDArray[np.float64]
RESAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Blocks:
    """Sums by alignment and day: each of shape (alignments, days)."""

    alignments: tuple[int, ...]
    requests: Floats
    met: Floats
    tokens: Floats
    cost: Floats
    cold_waits: Floats

    @property
    def days(self) -> int:
        """How many days each alignment has."""
        return self.requests.shape[1]

    def only(self, alignments: Sequence[int]) -> Blocks:
        """The same of some alignments.

        Args:
            alignments: Which; all of them are there.
        """
        rows = [self.alignments.index(each) for each in alignments]
        parts = (self.requests, self.met, self.tokens, self.cost, self.cold_waits)
        return Blocks(tuple(alignments), *(part[rows] for part in parts))


def blocks(runs: Sequence[Run]) -> Blocks:
    """The blocks of runs that differ in their alignment alone.

    Args:
        runs: At least one.

    Raises:
        ValueError: There is none, an alignment is there twice, or the runs are not equally long.
    """
    ordered = sorted(runs, key=lambda run: run.cell.alignment)
    alignments = tuple(run.cell.alignment for run in ordered)
    lengths = {len(run.outcome.days) for run in ordered}
    if len(set(alignments)) != len(alignments) or len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            f"runs of alignments {alignments} with {sorted(lengths)} days: each alignment is to "
            "be there once, with equally many days"
        )

    def column(name: str) -> Floats:
        return np.array(
            [[getattr(day, name) for day in run.outcome.days] for run in ordered], float
        )

    names = ("requests", "met", "tokens", "cost", "cold_waits")
    return Blocks(alignments, *(column(name) for name in names))


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval; NaN where it is not to be told."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())


class Draws:
    """Resamples of whole days and of alignments, the same for all that is compared.

    Row 0 of everything is the data as it is; the others are drawn with replacement, days and
    alignments each by itself: demand of a day is shared by all alignments, a supply by all days.

    Args:
        alignments: How many there are.
        days: How many there are.
        resamples: How many are drawn.
        seed: Of the draws.
    """

    __slots__ = ("_alignments", "_days")

    def __init__(
        self, alignments: int, days: int, resamples: int = RESAMPLES, seed: int = 1
    ) -> None:
        self._alignments = _weights(alignments, resamples, (seed, 1))
        self._days = _weights(days, resamples, (seed, 2))

    def sums(self, values: Floats) -> Floats:
        """The sum of values in each resample.

        Args:
            values: Of shape (alignments, days).
        """
        summed: Floats = ((self._alignments @ values) * self._days).sum(axis=1)
        return summed

    def misses(self, of: Blocks) -> Floats:
        """Share of requests that did not keep to the SLO.

        Args:
            of: What to resample.
        """
        requests = self.sums(of.requests)
        # Requests count where they end: in a few days drawn, more may end than arrive.
        late = np.maximum(0.0, requests - self.sums(of.met))
        return np.divide(late, requests, out=np.zeros_like(requests), where=requests > 0)

    def cost(self, of: Blocks) -> Floats:
        """Dollars a million tokens; infinite where none were served.

        Args:
            of: What to resample.
        """
        tokens = self.sums(of.tokens)
        none = np.full_like(tokens, np.inf)
        return 1e6 * np.divide(self.sums(of.cost), tokens, out=none, where=tokens > 0)

    def cold_waits(self, of: Blocks) -> Floats:
        """Share of requests that waited for a cold start.

        Args:
            of: What to resample.
        """
        requests = self.sums(of.requests)
        return np.divide(
            self.sums(of.cold_waits), requests, out=np.zeros_like(requests), where=requests > 0
        )


def interval(drawn: Floats) -> Interval:
    """The estimate in row 0 with the middle 95% of the rest.

    Args:
        drawn: One figure a resample. Where more than 1 in 100 is not to be told, neither is the
            interval.
    """
    rest = drawn[1:]
    known = rest[np.isfinite(rest)]
    value = float(drawn[0]) if np.isfinite(drawn[0]) else float("nan")
    if len(known) < 0.99 * len(rest) or not len(known):
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(known, (0.025, 0.975))
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=64)
def _weights(count: int, resamples: int, seed: tuple[int, int]) -> Floats:
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    drawn = random.multinomial(count, np.full(count, 1.0 / count), size=resamples)
    return np.vstack((np.ones(count), drawn)).astype(np.float64)
