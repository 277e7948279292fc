"""Replicas for the greatest demand of the past, on demand, all the time.

What teams without an autoscaler do: they buy for the peak. The peak is of means over ten minutes,
because that of single seconds is bought by nobody.
"""

from __future__ import annotations

import numpy as np

from app.errors import PolicyFailed
from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.parts import OnDemand, Rival, checked_headroom, loads, whole
from autoscaling.simulator.terms import Past, Terms

_OVER_S = 600.0


class PeakDemand:
    """The peak of the past.

    Args:
        headroom: Factor on the peak.
        replicas: How many, where that is known; otherwise the past says it.
    """

    __slots__ = ("_headroom", "_replicas")

    def __init__(self, headroom: float = 1.0, replicas: int | None = None) -> None:
        self._headroom = checked_headroom(headroom)
        self._replicas = replicas

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Finds the peak.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far.

        Raises:
            PolicyFailed: There is no past, and nobody has said how many replicas it takes.
        """
        if self._replicas is not None:
            return
        if past is None or not np.isfinite(loads(past, terms.capacity)).any():
            raise PolicyFailed(
                "a static fleet is bought for the peak of the past, and there is no past: "
                "say how many replicas it has"
            )
        self._replicas = whole(self._headroom * _peak(past, terms))

    def replicas(self, seen: Observation) -> int:
        """Always the same.

        Args:
            seen: What is known.
        """
        return self._replicas or 0


def _peak(past: Past, terms: Terms) -> float:
    """Greatest mean of neighbouring bins that are ten minutes together."""
    work = loads(past, terms.capacity)
    bins = max(1, min(round(_OVER_S / past.step_s), work.size))
    known = np.isfinite(work)
    sums = np.convolve(np.where(known, work, 0.0), np.ones(bins), "valid")
    counts = np.convolve(known.astype(np.float64), np.ones(bins), "valid")
    # A window that is half unknown is no mean of ten minutes, unless there is nothing better.
    enough = counts >= min(float(counts.max()), (bins + 1) // 2)
    return float((sums[enough] / counts[enough]).max())


def static_peak(headroom: float = 1.0, replicas: int | None = None) -> Rival:
    """The policy.

    Args:
        headroom: Factor on the peak.
        replicas: How many, where that is known; otherwise the past says it.
    """
    return Rival("static-peak", PeakDemand(headroom, replicas), OnDemand())
