"""Quantiles, medians and ratios: pure functions over plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

__all__ = ["QUANTILES", "paired_spread", "quantile", "quantiles", "ratio_of_medians"]

QUANTILES: tuple[tuple[str, float], ...] = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


def quantile(ordered: Sequence[float], q: float) -> float:
    """The q-quantile of sorted values, linear between neighbours; NaN where there are none.

    Raises:
        ValueError: ``q`` is outside 0..1.
    """
    if not 0.0 <= q <= 1.0:
        raise ValueError(f"quantile {q} is outside 0..1")
    if not ordered:
        return math.nan
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    below, above = ordered[low], ordered[high]
    # Clamped: the interpolation may leave the interval by a rounding error.
    return min(max(below + (above - below) * (place - low), below), above)


def quantiles(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """p50, p95 and p99 of unsorted values, each times ``scale``; NaN where there are none."""
    ordered = sorted(values)
    return {name: quantile(ordered, q) * scale for name, q in QUANTILES}


def ratio_of_medians(values: Sequence[float], reference: Sequence[float]) -> float:
    """Median of ``values`` over the median of ``reference``; NaN where it cannot be told."""
    top = [v for v in values if not math.isnan(v)]
    bottom = [v for v in reference if not math.isnan(v)]
    if not top or not bottom:
        return math.nan
    below = median(bottom)
    return median(top) / below if below else math.nan


def paired_spread(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float]:
    """Least and largest ratio of values taken in the same round; NaN where there is none.

    Args:
        values: one a round.
        reference: one a round, in the same order.
    """
    pairs = [
        v / r
        for v, r in zip(values, reference, strict=True)
        if not math.isnan(v) and not math.isnan(r) and r
    ]
    return (min(pairs), max(pairs)) if pairs else (math.nan, math.nan)
