"""What somebody knows who sees all the work that is to come."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.errors import PolicyFailed
from autoscaling.simulator.terms import Floats

Whole = NDArray[np.int64]
"""Replicas, one number a step."""

_ROUNDING = 1e-9


def needed(work: ArrayLike, headroom: float) -> Whole:
    """Whole replicas for the work of each step.

    Args:
        work: In replicas.
        headroom: Factor on it.

    Raises:
        PolicyFailed: It is empty, or something in it is no number or below 0.
    """
    values: Floats = np.asarray(work, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.all(np.isfinite(values) & (values >= 0)):
        raise PolicyFailed("an oracle needs the work of each step, in numbers from 0 on")
    whole: Whole = np.ceil(headroom * values * (1 - _ROUNDING)).astype(np.int64)
    return whole


def greatest_ahead(values: Whole, count: int) -> Whole:
    """The greatest of each value and those that follow it. The last one goes on for ever.

    Args:
        values: One a step.
        count: How many are looked at, the value itself among them; 1 or more.
    """
    padded = np.concatenate([values, np.full(count - 1, values[-1])])
    # By blocks: the greatest from each place to its block's end, and from its begin to each place.
    blocks = -(-padded.size // count)
    filled = np.full(blocks * count, np.iinfo(np.int64).min)
    filled[: padded.size] = padded
    grid = filled.reshape(blocks, count)
    before = np.maximum.accumulate(grid, axis=1).ravel()
    after = np.maximum.accumulate(grid[:, ::-1], axis=1)[:, ::-1].ravel()
    ahead: Whole = np.maximum(after[: values.size], before[count - 1 : count - 1 + values.size])
    return ahead


def step_at(now_s: float, begin_s: float, step_s: float, count: int) -> int:
    """Number of the step at a time; the first or the last one beyond them.

    Args:
        now_s: The time.
        begin_s: When the first one begins.
        step_s: Seconds of a step.
        count: How many there are.
    """
    return min(max(0, round((now_s - begin_s) / step_s)), count - 1)
