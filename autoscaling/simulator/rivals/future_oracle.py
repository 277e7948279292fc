"""What could be done by somebody who knows the future: a bound, not a policy to be had.

`FutureOracle` knows the work of every later step and the spot supply, and waits for the lead time
as everybody does.

Between two times at which a replica is needed it is worth keeping if and only if the gap is shorter
than a start, because a start is paid as well. So the fewest replica seconds on nodes of one price
are had with the greatest need from now until a start has ended, and that is how many there are. Of
those, spot replicas are started where the supply lasts for a start and for as long again as it
takes to earn that start's cost, and kept while there is supply; on-demand replicas are what is
missing then, at any time until a start has ended. With more than one price that is a good plan, and
not proven to be the cheapest one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation, SiteView
from autoscaling.simulator.rivals.lookahead import Whole, greatest_ahead, needed, step_at
from autoscaling.simulator.rivals.parts import checked_headroom
from autoscaling.simulator.terms import ON_DEMAND, Past, SpotSupply, Terms

_NOTHING = SiteView()
_ROUNDING = 1e-9


class FutureOracle:
    """Knows everything that comes.

    Args:
        work: Work of each step in replicas.
        step_s: Seconds of a step.
        begin_s: When the first one begins.
        supply: The spot supply; None for on-demand replicas only.
        headroom: Factor on the work.
        lead_margin: Factor on the lead time; real ones vary about it.
    """

    __slots__ = (
        "_begin_s",
        "_headroom",
        "_held",
        "_lasting",
        "_lead",
        "_least",
        "_margin",
        "_most",
        "_need",
        "_sites",
        "_starts",
        "_step_s",
        "_supply",
        "_there",
    )

    def __init__(
        self,
        work: ArrayLike,
        step_s: float,
        begin_s: float = 0.0,
        supply: SpotSupply | None = None,
        headroom: float = 1.0,
        lead_margin: float = 1.25,
    ) -> None:
        self._need = needed(work, checked_headroom(headroom))
        self._headroom = headroom
        self._step_s = step_s
        self._begin_s = begin_s
        self._supply = supply
        self._margin = lead_margin
        self._lead = 1
        self._least = self._most = 0
        self._sites: tuple[Site, ...] = ()
        self._held = self._need
        self._there: Whole = np.zeros((len(self._need), 0), np.int64)
        self._lasting: Whole = self._there
        self._starts: list[list[int]] = []

    @property
    def name(self) -> str:
        """What it is called in results."""
        return "oracle-future"

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Looks through the future once.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; not needed.
        """
        self._least, self._most = terms.least, terms.most
        self._need = np.clip(self._need, terms.least, terms.most)
        self._lead = max(1, ceil(terms.lead_s * self._margin / self._step_s - _ROUNDING))
        # As many steps, and one more: what is asked for in this one begins to start in it.
        self._held = greatest_ahead(self._need, self._lead + 1)
        supply = self._supply
        places = list(range(len(supply.sites))) if supply is not None else []
        if supply is not None:
            places.sort(key=lambda place: (terms.prices[supply.sites[place]], supply.sites[place]))
            rows = self._rows(supply)
            self._there = supply.replicas[rows][:, places].astype(np.int64)
            self._sites = tuple(supply.sites[place] for place in places)
        self._lasting = np.zeros_like(self._there)
        for column, site in enumerate(self._sites):
            steps = self._lead + 1 + _payback(terms, site, self._lead)
            self._lasting[:, column] = (
                -greatest_ahead(-self._there[:, column], steps)
                if steps < len(self._need)
                else self._there[:, column] * 0
            )
        self._starts = [[] for _ in self._sites]

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Replicas that should be ready or starting, by site.

        Args:
            seen: What is known of the fleet; its metrics do not matter.
        """
        step = step_at(seen.now_s, self._begin_s, self._step_s, len(self._need))
        wanted = int(self._held[step])
        views = [seen.sites.get(site, _NOTHING) for site in self._sites]
        there, lasting = self._there[step].tolist(), self._lasting[step].tolist()
        counts = []
        for place, view in enumerate(views):
            starts = self._starts[place]
            # The oldest are ready first.
            del starts[: max(0, len(starts) - view.starting)]
            counts.append(min(view.ready + view.starting, there[place]))
        left = wanted - sum(counts)
        if left < 0:
            ready = seen.sites.get(ON_DEMAND, _NOTHING).ready
            self._give_up(step, views, counts, ready)
            left = 0
        for place in range(len(counts)):
            more = max(0, min(lasting[place] - counts[place], left))
            counts[place] += more
            left -= more
        for place, (view, count) in enumerate(zip(views, counts, strict=True)):
            starts, begun = self._starts[place], max(0, count - view.ready)
            starts.extend([step + self._lead] * (begun - len(starts)))
            del starts[begun:]
        placed = dict(zip(self._sites, counts, strict=True))
        missing = int(self._missing(step, views, counts).max())
        on_demand = max(missing, self._least - sum(counts))
        placed[ON_DEMAND] = min(on_demand, self._most)
        return placed

    def _give_up(self, step: int, views: list[SiteView], counts: list[int], ready: int) -> None:
        """Stops spot replicas that are too many, the dearest first, but none that must stand in.

        One may be needed until others are lost: there is no time to start another in its place.
        """
        surplus = sum(counts) - int(self._held[step])
        # What on-demand replicas carry that are ready, and what is missing in any case.
        allowed = np.maximum(self._missing(step, views, counts), ready)
        for place in reversed(range(len(counts))):
            while surplus and counts[place]:
                counts[place] -= 1
                if (self._missing(step, views, counts) > allowed).any():
                    counts[place] += 1
                    break
                surplus -= 1

    def _missing(self, step: int, views: list[SiteView], counts: list[int]) -> Whole:
        """What is needed beyond ready spot replicas, until a start has ended."""
        end = min(step + self._lead + 1, len(self._need))
        missing: Whole = self._need[step:end].copy()
        for place, (view, count) in enumerate(zip(views, counts, strict=True)):
            if not count:
                continue
            ready = np.full(end - step, min(view.ready, count))
            for at in self._starts[place][: max(0, count - view.ready)]:
                ready[max(1, at - step) :] += 1
            # What is lost once does not come back by itself.
            missing -= np.minimum(ready, np.minimum.accumulate(self._there[step:end, place]))
        return missing

    def _rows(self, supply: SpotSupply) -> NDArray[np.intp]:
        at = self._begin_s + self._step_s * np.arange(len(self._need))
        rows: NDArray[np.intp] = (at // supply.step_s).astype(np.intp) % len(supply.replicas)
        return rows


def _payback(terms: Terms, site: Site, lead: int) -> int:
    """Steps in which a spot replica earns what its start has cost; very many if it never does."""
    price, on_demand = terms.prices[site], terms.prices[ON_DEMAND]
    if price >= on_demand:
        return 10**9
    return ceil(lead * price / (on_demand - price))
