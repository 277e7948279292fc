"""If a start took no time: the work of the present step, on the cheapest nodes that there are."""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.lookahead import needed, step_at
from autoscaling.simulator.rivals.parts import checked_headroom
from autoscaling.simulator.terms import ON_DEMAND, Past, SpotSupply, Terms


class InstantOracle:
    """Knows the work of the present step, for a scenario in which a start takes no time.

    Args:
        work: Work of each step in replicas.
        step_s: Seconds of a step.
        begin_s: When the first one begins.
        supply: The spot supply; None for on-demand replicas only.
        headroom: Factor on the work.
    """

    __slots__ = ("_begin_s", "_least", "_most", "_need", "_sites", "_step_s", "_supply")

    def __init__(
        self,
        work: ArrayLike,
        step_s: float,
        begin_s: float = 0.0,
        supply: SpotSupply | None = None,
        headroom: float = 1.0,
    ) -> None:
        self._need = needed(work, checked_headroom(headroom))
        self._step_s = step_s
        self._begin_s = begin_s
        self._supply = supply
        self._sites: tuple[tuple[int, Site], ...] = ()
        self._least = self._most = 0

    @property
    def name(self) -> str:
        """What it is called in results."""
        return "oracle-instant"

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes bounds and prices.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; not needed.
        """
        self._least, self._most = terms.least, terms.most
        sites = self._supply.sites if self._supply is not None else ()
        order = sorted(enumerate(sites), key=lambda each: (terms.prices[each[1]], each[1]))
        self._sites = tuple(
            (place, site) for place, site in order if terms.prices[site] < terms.prices[ON_DEMAND]
        )

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Replicas that should be ready, by site: the cheapest that there are.

        Args:
            seen: The time; the rest does not matter.
        """
        step = step_at(seen.now_s, self._begin_s, self._step_s, len(self._need))
        left = min(max(int(self._need[step]), self._least), self._most)
        placed: dict[Site, int] = {}
        if self._supply is not None and left:
            there = self._supply.at(seen.now_s)
            for place, site in self._sites:
                placed[site] = min(left, int(there[place]))
                left -= placed[site]
        placed[ON_DEMAND] = left
        return placed
