"""What a policy costs at a given attainment: read off its frontier, between two headrooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.autoscaling.blocks import Floats
from benchmarks.autoscaling.grid import TARGET

LEAST_MISS = 1e-6
"""Fewer misses are not told apart: their logarithm is taken."""


@dataclass(frozen=True, slots=True)
class Point:
    """One headroom in all resamples."""

    headroom: float
    misses: Floats
    """Share of requests that did not keep to the SLO."""
    cost: Floats
    """Dollars a million tokens."""


def matched(points: Sequence[Point], target: float = TARGET) -> Floats:
    """The cost at an attainment, in each resample.

    Between neighbouring headrooms, one on each side of the target, cost is taken to be a straight
    line over the logarithm of the misses; of several such places the cheapest counts. A policy
    that is above the target at all its headrooms costs what the cheapest of them does, or less.

    Args:
        points: At least one; their order does not matter.
        target: Share of requests that keeps to the SLO.

    Returns:
        Dollars a million tokens; NaN where the target is never kept.
    """
    ordered = sorted(points, key=lambda point: point.headroom)
    limit = 1.0 - target
    misses = np.array([point.misses for point in ordered])
    costs = np.array([point.cost for point in ordered])
    keeps = misses <= limit
    # What is known for certain: a headroom that keeps the target has its own cost.
    best: Floats = np.where(keeps, costs, np.inf).min(axis=0)
    logs = np.log(np.maximum(misses, LEAST_MISS))
    goal = np.log(limit)
    for low, high in zip(range(len(ordered) - 1), range(1, len(ordered)), strict=True):
        straddles = keeps[low] != keeps[high]
        span = logs[high] - logs[low]
        share = np.divide(goal - logs[low], span, out=np.zeros_like(span), where=straddles)
        between = costs[low] + share * (costs[high] - costs[low])
        best = np.where(straddles, np.minimum(best, between), best)
    best[~keeps.any(axis=0)] = np.nan
    return best


def bounded(points: Sequence[Point], target: float = TARGET) -> bool:
    """Whether a policy keeps the target at all its headrooms: its matched cost is an upper bound.

    Args:
        points: At least one.
        target: Share of requests that keeps to the SLO.
    """
    return all(float(point.misses[0]) <= 1.0 - target for point in points)
