"""Whether answers are what they should be, and how long streams stood still: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Difference", "compare", "gap_over", "gaps", "longest_gap"]


@dataclass(frozen=True, slots=True)
class Difference:
    """How an answer differs from the one expected.

    Attributes:
        at: the first token that differs.
        doubled: tokens that came twice there; 0 if that does not explain it.
        lost: tokens left out there; 0 if that does not explain it.
    """

    at: int
    doubled: int = 0
    lost: int = 0


def compare(expected: Sequence[int], got: Sequence[int]) -> Difference | None:
    """None if both are the same, else where they part, and whether a seam explains it.

    Args:
        expected: the token ids of an undisturbed answer.
        got: those that came.
    """
    left, right = list(expected), list(got)
    if left == right:
        return None
    at = next(
        (place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    if right[at:]:
        for doubled in range(1, at + 1):
            if _goes_on(left[at - doubled :], right[at:]):
                return Difference(at, doubled=doubled)
    for lost in range(1, len(left) - at + 1):
        if _goes_on(left[at + lost :], right[at:]):
            return Difference(at, lost=lost)
    return Difference(at)


def _goes_on(expected: Sequence[int], got: Sequence[int]) -> bool:
    return list(expected) == list(got)


def gaps(reads: Sequence[tuple[float, int]]) -> list[float]:
    """Seconds between successive reads with tokens."""
    return [later - earlier for (earlier, _), (later, _) in pairwise(reads)]


def gap_over(reads: Sequence[tuple[float, int]], moment: float) -> float | None:
    """The gap between the reads before and after a moment; None if the stream was not open then."""
    for (earlier, _), (later, _) in pairwise(reads):
        if earlier <= moment < later:
            return later - earlier
    return None


def longest_gap(reads: Sequence[tuple[float, int]], since: float, until: float) -> float | None:
    """The longest gap that touches a span of time; None if the stream had none in it."""
    touching: Iterable[float] = (
        later - earlier
        for (earlier, _), (later, _) in pairwise(reads)
        if earlier < until and later > since
    )
    return max(touching, default=None)
