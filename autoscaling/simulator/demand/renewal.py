"""Arrivals whose gaps follow a law, when it is known how many there are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from autoscaling.simulator.terms import Floats

GAMMA, WEIBULL = 1, 2
"""Laws of the gaps. A Gamma law of shape 1 is the exponential one."""


def places(
    random: np.random.Generator,
    counts: NDArray[np.int64],
    laws: NDArray[np.int8],
    shapes: Floats,
) -> tuple[Floats, NDArray[np.int64]]:
    """Where in a window the requests of several clients arrive.

    A client with n requests gets n + 1 gaps of its law, which together are made as long as the
    window: a renewal process, given that there are n arrivals. The scale of the law has no part in
    it. (Drawn without that condition, n would differ from what was recorded by about
    `cv * sqrt(n)`, and would be too great by `(cv² - 1) / 2` on average.)

    Args:
        random: Where chance comes from.
        counts: Requests of each client, 1 or more.
        laws: `GAMMA` or `WEIBULL`, of each client's gaps.
        shapes: The law's shape, above 0.

    Returns:
        Places from 0 to 1, ascending within a client, and the client of each.
    """
    sizes = counts + 1
    ends = np.cumsum(sizes)
    gaps: Floats = np.empty(int(ends[-1]) if len(ends) else 0)
    if not len(gaps):
        return gaps, np.empty(0, np.int64)
    owners = np.repeat(np.arange(len(counts)), sizes)
    weibull = (laws == WEIBULL)[owners]
    shape = shapes[owners]
    gaps[~weibull] = random.standard_gamma(shape[~weibull])
    gaps[weibull] = random.weibull(shape[weibull])
    # Laws of small shapes have gaps too short for a number; their sum must not be 0.
    gaps += 1e-290
    totals = np.add.reduceat(gaps, ends - sizes)
    gaps /= totals[owners]
    # Each client's gaps come to 1, so that what stands before its first one is a whole number.
    reached = np.cumsum(gaps)
    reached -= owners
    inner = np.ones(len(gaps), bool)
    inner[ends - 1] = False
    return np.clip(reached[inner], 0.0, 1.0), owners[inner]
