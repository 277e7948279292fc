"""A simulated node with its replica: when it begins, serves, is taken away and ends."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaling.plan_terms import Site
from autoscaling.warm_pool import LEAVE_S

SEE_OFF_S = LEAVE_S
"""Seconds before its node is gone from which on a replica takes no more requests."""


@dataclass(slots=True)
class Node:
    """A node with its replica."""

    site: Site
    wanted_s: float
    """When the replica was asked for."""
    born_s: float
    """When the node was got."""
    ready_s: float
    """When the replica is ready, or ready again once it has been woken."""
    slot: int = -1
    """Of what computes; -1 until it is ready."""
    open: bool = False
    """Whether it takes requests."""
    leaves_s: float = float("inf")
    """When the node is taken away, if it was told so."""
    stops_s: float = float("inf")
    """When it is stopped at the latest, if the policy has given it up."""
    up: bool = False
    """Whether it has been ready once."""
    asleep: bool = False
    """Whether it stands by, or is to once it is ready."""
    parks_s: float = float("inf")
    """When it has to be rid of its requests, if it took some before it was to stand by."""

    @property
    def staying(self) -> bool:
        """Whether nobody has told it to go."""
        return self.leaves_s == float("inf") and self.stops_s == float("inf")

    def next_s(self, now: float) -> float:
        """When something is to be done about it next, at the soonest.

        Args:
            now: The time.
        """
        if self.stops_s < float("inf") or (self.asleep and self.slot >= 0):
            return now
        settled = self.slot >= 0 or (self.asleep and self.up)
        waits = float("inf") if settled else self.ready_s
        return min(waits, self.leaves_s - SEE_OFF_S if self.open else self.leaves_s)


@dataclass(frozen=True, slots=True)
class Calm:
    """A time in which nothing happens to the nodes of a site."""

    until_s: float
    nodes: int
    open: int
