"""Fairness and distinguishability of plain numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["auc", "auc_interval", "jain"]


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all have the same, 1/n where one has everything."""
    total = sum(values)
    squares = sum(value * value for value in values)
    return total * total / (len(values) * squares) if squares else 1.0


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The chance that a positive scores above a negative (Mann and Whitney); ties count half."""
    high, low = np.asarray(positive), np.sort(np.asarray(negative))
    below = np.searchsorted(low, high, side="left")
    not_above = np.searchsorted(low, high, side="right")
    return float((below + not_above).sum() / (2 * len(high) * len(low)))


def auc_interval(
    positive: Sequence[float], negative: Sequence[float], resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95% confidence interval of `auc`, by the bootstrap over both samples."""
    random = np.random.default_rng(seed)
    high, low = np.asarray(positive), np.asarray(negative)
    drawn = [
        auc(random.choice(high, len(high)).tolist(), random.choice(low, len(low)).tolist())
        for _ in range(resamples)
    ]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))
