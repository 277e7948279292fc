"""What is simulated: requests, where nodes can be had, and what is asked of the fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autoscaling.placement.offers import ON_DEMAND
from autoscaling.plan_terms import Capacity, Site

__all__ = [
    "ON_DEMAND",
    "Floats",
    "Ints",
    "Past",
    "Requests",
    "Slo",
    "SpotSupply",
    "Terms",
    "Workload",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in the order of their arrival, by column; all of one length."""

    arrival_s: Floats
    """Seconds since the beginning of the workload, ascending."""
    prompt: Ints
    """Prompt tokens, 1 or more."""
    output: Ints
    """Output tokens, 1 or more."""

    def __len__(self) -> int:
        return len(self.arrival_s)


class Workload(Protocol):
    """Demand, cut into windows of equal length. The same window is always the same."""

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""

    @property
    def windows(self) -> int:
        """How many there are."""

    def window(self, index: int) -> Requests:
        """The requests that arrive in one window.

        Args:
            index: Which, from 0; it covers the seconds from `index * window_s` on.

        Raises:
            IndexError: There is no such window.
        """


@dataclass(frozen=True, slots=True)
class SpotSupply:
    """How many replicas spot nodes can hold, by time and site."""

    step_s: float
    """Seconds between two rows."""
    sites: tuple[Site, ...]
    """Spot sites, one a column."""
    replicas: Ints
    """Shape (steps, sites). Where fewer can be held than run, nodes are taken away."""

    def at(self, at_s: float) -> Ints:
        """What can be held at a time; after the last row it begins anew.

        Args:
            at_s: Seconds since the beginning.
        """
        row: Ints = self.replicas[int(at_s // self.step_s) % len(self.replicas)]
        return row

    def rolled(self, offset_s: float) -> SpotSupply:
        """The same supply, begun later: what follows its end is its beginning.

        Args:
            offset_s: Seconds that are skipped.
        """
        steps = round(offset_s / self.step_s)
        return SpotSupply(self.step_s, self.sites, np.roll(self.replicas, -steps, axis=0))


@dataclass(frozen=True, slots=True)
class Slo:
    """What is promised of a request."""

    ttft_s: float
    """Seconds to the first token, at most."""
    itl_s: float
    """Seconds between two tokens, at most, on average over the answer."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every policy is told before it begins: the same for all of them."""

    capacity: Capacity
    """Of one replica within the SLO, as a profile measures it."""
    slo: Slo
    mean_prompt: float
    """Prompt tokens of a request, on average, as far as is known beforehand."""
    mean_output: float
    """Output tokens of a request, on average, as far as is known beforehand."""
    lead_s: float
    """Seconds that a replica takes to be ready, as documented; the real ones vary."""
    notice_s: float
    """Seconds from the notice of a preemption to the loss of the node."""
    prices: Mapping[Site, float]
    """Dollars an hour of one replica, by site: `ON_DEMAND` and the spot sites."""
    least: int
    """Fewest replicas in all."""
    most: int
    """Most replicas in all."""
    max_seqs: int
    """Requests that one replica computes at once, at most."""
    wake_s: float = 5.0
    """Seconds that a replica on standby takes to be ready."""

    @property
    def spot_sites(self) -> tuple[Site, ...]:
        """The spot sites, in order."""
        return tuple(sorted(site for site in self.prices if site.market == "spot"))


@dataclass(frozen=True, slots=True)
class Past:
    """Demand before the simulated time, in bins; what a policy may have learned from."""

    start_s: float
    """When the first bin begins, in seconds of the workload."""
    step_s: float
    """Length of a bin in seconds."""
    requests: Floats
    """Requests that arrived in each bin; NaN where nobody was listening."""
    prompt: Floats
    """Prompt tokens of those."""
    output: Floats
    """Output tokens of those."""
