"""A rival's two halves: how many replicas there should be, and where they run."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isfinite
from typing import Protocol

import numpy as np

from app.errors import PolicyFailed
from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.policy import Observation
from autoscaling.simulator.terms import ON_DEMAND, Floats, Past, Terms

_ROUNDING = 1e-9  # sums such as 0.1 + 0.2 are no reason for another replica
_MOST = 10**9


class Demand(Protocol):
    """Says how many replicas there should be."""

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes what is known beforehand, once.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """

    def replicas(self, seen: Observation) -> int:
        """How many there should be; asked once a step, while metrics arrive.

        Args:
            seen: What is known.
        """


class Placer(Protocol):
    """Says where replicas run."""

    def begin(self, terms: Terms) -> None:
        """Takes what is known beforehand, once.

        Args:
            terms: The terms that are the same for all policies.
        """

    def place(self, target: int, seen: Observation) -> Mapping[Site, int]:
        """Replicas by site.

        Args:
            target: How many there should be, within the bounds.
            seen: What is known.
        """


class Rival:
    """A policy out of a demand and a placer.

    While metrics are lost the number stands. That is what a Kubernetes autoscaler does without
    metrics; SkyServe and Ray Serve would see no requests and shrink, so that it is kind to them.

    Args:
        name: What it is called in results.
        demand: How many replicas.
        placer: Where they run.
    """

    __slots__ = ("_demand", "_least", "_most", "_name", "_placer", "_target")

    def __init__(self, name: str, demand: Demand, placer: Placer) -> None:
        self._name = name
        self._demand = demand
        self._placer = placer
        self._least = 0
        self._most = 0
        self._target = 0

    @property
    def name(self) -> str:
        """What it is called in results."""
        return self._name

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes what is known beforehand, once, before the first step.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._least, self._most = terms.least, terms.most
        self._target = initial(terms, past)
        self._placer.begin(terms)
        self._demand.begin(terms, past)

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Replicas that should be ready or starting, by site.

        Args:
            seen: What is known.
        """
        if seen.metrics:
            wanted = self._demand.replicas(seen)
            self._target = min(max(wanted, self._least), self._most)
        return self._placer.place(self._target, seen)


class OnDemand:
    """All replicas on demand."""

    __slots__ = ()

    def begin(self, terms: Terms) -> None:
        """Nothing has to be known.

        Args:
            terms: The terms that are the same for all policies.
        """

    def place(self, target: int, seen: Observation) -> Mapping[Site, int]:
        """All of them on demand.

        Args:
            target: How many there should be.
            seen: What is known.
        """
        return {ON_DEMAND: target}


class SpotShare:
    """A fixed share on spot nodes, spread evenly, and nothing in the place of what is missing.

    It is what a Serve deployment a market with fixed proportions comes to.

    Args:
        share: Share of the replicas on spot nodes, from 0 to 1.

    Raises:
        ValueError: The share is no share.
    """

    __slots__ = ("_mixes", "_share", "_sites")

    def __init__(self, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share on spot nodes is {share:g}; it lies between 0 and 1")
        self._share = share
        self._sites: tuple[Site, ...] = ()
        self._mixes: dict[int, Mapping[Site, int]] = {}

    def begin(self, terms: Terms) -> None:
        """Takes the spot sites.

        Args:
            terms: The terms that are the same for all policies.
        """
        self._sites = terms.spot_sites
        self._mixes = {}

    def place(self, target: int, seen: Observation) -> Mapping[Site, int]:
        """The same mix for the same number, whatever there is.

        Args:
            target: How many there should be.
            seen: What is known.
        """
        mix = self._mixes.get(target)
        if mix is None:
            mix = self._mixes[target] = self._mix(target)
        return mix

    def _mix(self, target: int) -> Mapping[Site, int]:
        spot = int(target * self._share + 0.5) if self._sites else 0
        each, more = divmod(spot, max(1, len(self._sites)))
        mix = {site: each + (place < more) for place, site in enumerate(self._sites)}
        mix[ON_DEMAND] = target - spot
        return mix


def checked_headroom(headroom: float) -> float:
    """A factor on capacity that makes sense.

    Args:
        headroom: 1 for what the rule says; more for more replicas.

    Raises:
        ValueError: It does not.
    """
    if not 0.05 <= headroom <= 1000:
        raise ValueError(f"the headroom is {headroom:g}; it lies between 0.05 and 1,000")
    return headroom


def whole(load: float) -> int:
    """Replicas for a load, rounded up.

    Args:
        load: In replicas; 0 or more.

    Raises:
        PolicyFailed: It is no number.
    """
    if not isfinite(load):
        raise PolicyFailed(f"a load of {load} replicas is no number")
    return ceil(min(max(load, 0.0) * (1 - _ROUNDING), _MOST))


def busy(capacity: Capacity, prompt: float, output: float) -> float:
    """Seconds for which tokens keep one replica busy, by its profile.

    Args:
        capacity: Of one replica.
        prompt: Prompt tokens.
        output: Output tokens.
    """
    return prompt / capacity.prefill_tps + output / capacity.decode_tps


def loads(past: Past, capacity: Capacity) -> Floats:
    """Work of each bin of the past in replicas; NaN where nobody was listening.

    Args:
        past: Demand so far.
        capacity: Of one replica.
    """
    work = past.prompt / capacity.prefill_tps + past.output / capacity.decode_tps
    return np.asarray(work / past.step_s, dtype=np.float64)


def initial(terms: Terms, past: Past | None, headroom: float = 1.0) -> int:
    """Replicas to begin with: what the last known bin asks for, within the bounds.

    Every rival begins so. Otherwise the first hours would measure who is told to begin higher.

    Args:
        terms: The terms that are the same for all policies.
        past: Demand so far; None if there has been none.
        headroom: Factor on capacity.
    """
    wanted = terms.least
    if past is not None:
        known = loads(past, terms.capacity)
        known = known[np.isfinite(known)]
        if known.size:
            wanted = whole(headroom * float(known[-1]))
    return min(max(wanted, terms.least), terms.most)
