"""A policy that is looked at: what the fleet was like while it decided."""

from array import array
from collections.abc import Mapping
from typing import Any

from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation, Policy
from autoscaling.simulator.terms import Past, Terms

MOST_POINTS = 1_440


class Watched:
    """Passes everything on to a policy, and keeps what it sees.

    Simulations keep a point each ten minutes; a picture of an hour wants more.

    Args:
        policy: Who decides.
        begin_s: When the simulation begins.
        end_s: When it ends. At most `MOST_POINTS` points are kept in between.
    """

    __slots__ = ("_every_s", "_next_s", "_policy", "_waiting", "points")

    def __init__(self, policy: Policy, begin_s: float, end_s: float) -> None:
        self._policy = policy
        self._every_s = (end_s - begin_s) / MOST_POINTS
        self._next_s = begin_s
        self._waiting = 0
        self.points: dict[str, array[Any]] = {
            name: array("d") for name in ("at_s", "on_demand", "spot", "coming", "waiting")
        }
        """Seconds, replicas that are ready by market, replicas that start, and the most requests
        that waited since the last point, in replicas or for one."""

    @property
    def name(self) -> str:
        """What the policy is called."""
        return self._policy.name

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Passed on.

        Args:
            terms: The terms.
            past: Demand so far.
        """
        self._policy.begin(terms, past)

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Passed on, and kept.

        Args:
            seen: What is known.
        """
        self._waiting = max(self._waiting, seen.queued + seen.waiting)
        if seen.now_s >= self._next_s:
            self._next_s += self._every_s
            spot = sum(view.ready for site, view in seen.sites.items() if site.market == "spot")
            row = (seen.now_s, seen.ready - spot, spot, seen.coming, self._waiting)
            for name, value in zip(self.points, row, strict=True):
                self.points[name].append(value)
            self._waiting = 0
        return self._policy.decide(seen)
