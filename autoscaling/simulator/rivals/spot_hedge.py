"""SpotHedge's placement: spot replicas all over, and on-demand ones while those are missing.

Sources: the SkyServe paper (arXiv 2411.01438) and SkyPilot, sky/serve/spot_placer.py at 9e6408ee
(`DynamicFallbackSpotPlacer`) and sky/serve/autoscalers.py at 4b81f5d0
(`FallbackRequestRateAutoscaler`):

- An availability zone is active or preempted. It is preempted when a replica there is lost or none
  can be started, active again when one has been started; where fewer than two are active, all are.
- Spot replicas are `target - base + overprovision`; the documentation's example has an
  `num_overprovision` of 1. A new one goes to an active zone without a replica, the cheapest first.
- On-demand replicas are `base + target - base + overprovision - ready spot`, but never more than
  the target, as the paper has it. Spot replicas that start do not count.
- Those that are not ready are stopped first.

Three things are kinder than the code: once each active zone has a replica the one with the fewest
gets the next (an even spread is what the paper is about; the code would take the cheapest one), a
preemption is known at the notice instead of by a failing probe, and a start that fails is known and
repeated elsewhere after one step instead of minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation, SiteView
from autoscaling.simulator.terms import ON_DEMAND, Terms

_NOTHING = SiteView()
_STAND_INS = 2  # a spot replica and the one that stands in for it may be asked for together


class SpotHedgePlacer:
    """Places by what has been lost where.

    Args:
        overprovision: Spot replicas beyond the target.
        base_on_demand: Replicas that are on demand in any case.
        fallback: Whether on-demand replicas stand in for spot ones that are not ready.

    Raises:
        ValueError: A number is negative.
    """

    __slots__ = ("_active", "_alive", "_base", "_extra", "_fallback", "_most", "_sites")

    def __init__(
        self, overprovision: int = 1, base_on_demand: int = 0, fallback: bool = True
    ) -> None:
        if overprovision < 0 or base_on_demand < 0:
            raise ValueError("replicas beyond the target and on demand are 0 or more")
        self._extra = overprovision
        self._base = base_on_demand
        self._fallback = fallback
        self._sites: tuple[Site, ...] = ()
        self._active: list[bool] = []
        self._alive: list[int] = []
        self._most = 0

    def begin(self, terms: Terms) -> None:
        """Takes the sites, all of them active.

        Args:
            terms: The terms that are the same for all policies.
        """
        self._sites = tuple(sorted(terms.spot_sites, key=lambda site: (terms.prices[site], site)))
        self._active = [True] * len(self._sites)
        self._alive = [0] * len(self._sites)
        self._most = terms.most

    @property
    def active(self) -> tuple[Site, ...]:
        """Sites where spot replicas may be started, the cheapest first."""
        return tuple(site for site, active in zip(self._sites, self._active, strict=True) if active)

    def place(self, target: int, seen: Observation) -> Mapping[Site, int]:
        """Replicas by site.

        Args:
            target: How many there should be.
            seen: What is known.
        """
        views = [seen.sites.get(site, _NOTHING) for site in self._sites]
        alive = [view.ready + view.starting for view in views]
        self._judge(views, alive)
        base = min(self._base, target)
        wanted = target - base + self._extra if self._sites else 0
        ready = sum([view.ready for view in views])
        on_demand = base if self._sites else target
        if self._fallback and self._sites:
            on_demand += min(target - base, max(0, wanted - ready))
        wanted = min(wanted, _STAND_INS * self._most - on_demand)
        self._alive = list(alive)
        missing = wanted - sum(alive)
        for _ in range(missing):
            alive[self._next(alive)] += 1
        for _ in range(-missing):
            alive[_surplus(views, alive)] -= 1
        placed = dict(zip(self._sites, alive, strict=True))
        placed[ON_DEMAND] = on_demand
        return placed

    def _judge(self, views: Sequence[SiteView], alive: Sequence[int]) -> None:
        """Where replicas can be started, by what became of those that were."""
        active = self._active
        for place, view in enumerate(views):
            if view.preempted or view.pending:
                active[place] = False
                if sum(active) < 2:
                    active[:] = [True] * len(active)
            elif alive[place] > self._alive[place]:
                active[place] = True

    def _next(self, alive: Sequence[int]) -> int:
        """An active site with the fewest replicas, the cheapest of those."""
        best = -1
        for place, active in enumerate(self._active):
            if active and (best < 0 or alive[place] < alive[best]):
                best = place
        return best


def _surplus(views: Sequence[SiteView], alive: Sequence[int]) -> int:
    """Where one is stopped: those that start before those that are ready, then the fullest site."""
    best, rank = 0, (False, -1)
    for place, view in enumerate(views):
        this = (alive[place] > view.ready, alive[place])
        if alive[place] > 0 and this >= rank:
            best, rank = place, this
    return best
