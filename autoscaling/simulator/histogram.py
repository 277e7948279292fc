"""Histograms of durations with bins of constant relative width, that can be added up.

Bins follow the binary form of the number: each power of two is cut into `PARTS` equal ones. So a
bin is at most 1 / `PARTS` wide as a share of its lower end, and which one a value falls into is
the same on every machine, which a logarithm would not promise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PARTS = 128
"""Bins of one power of two: a bin is at most 0.8% wide."""
LOWEST = -17
"""Shorter than 2 to this many seconds (8 microseconds) counts as that."""
HIGHEST = 15
"""Longer than 2 to this many seconds (9 hours) counts as that."""
BINS = (HIGHEST - LOWEST) * PARTS


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations fell into each bin."""

    counts: NDArray[np.int64]
    """By bin, `BINS` of them."""

    def __post_init__(self) -> None:
        """Checks it.

        Raises:
            ValueError: These are not counts of `BINS` bins.
        """
        if self.counts.shape != (BINS,) or bool(np.any(self.counts < 0)):
            raise ValueError(f"a histogram is {BINS:,} counts from 0, not {self.counts.shape}")

    @classmethod
    def of(cls, seconds: ArrayLike) -> Histogram:
        """Counts durations.

        Args:
            seconds: Durations in seconds, from 0.

        Raises:
            ValueError: One is negative or no number.
        """
        values = np.asarray(seconds, np.float64)
        if bool(np.any(~(values >= 0))):
            raise ValueError("durations are numbers from 0")
        return cls(np.bincount(bins(values), minlength=BINS).astype(np.int64))

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        """All that several have counted.

        Args:
            parts: Histograms; none for an empty one.
        """
        total = np.zeros(BINS, np.int64)
        for part in parts:
            total += part.counts
        return cls(total)

    def since(self, earlier: Histogram) -> Histogram:
        """What has been counted since an earlier state of the same histogram.

        Args:
            earlier: That state.

        Raises:
            ValueError: It has counted what this one has not.
        """
        return Histogram(self.counts - earlier.counts)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return int(self.counts.sum())

    def quantile(self, share: float) -> float:
        """The duration that a share of them do not exceed, to the width of a bin; 0 if empty.

        Args:
            share: From 0 to 1, such as 0.99.

        Raises:
            ValueError: The share is not within that.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is from 0 to 1, not {share}")
        so_far = np.cumsum(self.counts)
        total = int(so_far[-1])
        if not total:
            return 0.0
        rank = max(1, min(total, int(np.ceil(share * total))))
        place = int(np.searchsorted(so_far, rank))
        return float(_EDGES[place] + _EDGES[place + 1]) / 2


def bins(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bin of each duration.

    Args:
        seconds: From 0.
    """
    share, power = np.frexp(seconds)
    place = (power.astype(np.int64) - 1 - LOWEST) * PARTS + ((share - 0.5) * 2 * PARTS).astype(int)
    return np.where(seconds > 0, np.clip(place, 0, BINS - 1), 0)


_EDGES: NDArray[np.float64] = np.append(
    (2.0 ** np.arange(LOWEST, HIGHEST)[:, None] * (1 + np.arange(PARTS) / PARTS)).ravel(),
    2.0**HIGHEST,
)
"""Lower ends of the bins, and the end of the last one, in seconds."""
