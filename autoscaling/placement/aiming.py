"""The mix to aim at: followed as things change, and searched for anew now and then."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from autoscaling.placement.distribution import Values, held
from autoscaling.placement.judging import Bounds
from autoscaling.placement.offers import Offer
from autoscaling.placement.survival import SurvivalModel
from autoscaling.placement.targets import Target, aim, follow, left, outlooks
from autoscaling.plan_terms import Site

RECHECK_S = 5.0
"""Seconds after which risks are looked at again while nothing else changes."""
SEARCH_S = 600.0
"""Seconds for which the mix that was found is followed in small steps instead of searched for."""
STEPS = 10
"""Risks that round to the same tenth of a power of e are the same to the search."""


@dataclass(frozen=True, slots=True)
class Aimed:
    """A target, and what it is the answer to."""

    inputs: tuple[object, ...]
    """What it was searched for."""
    risks: tuple[int, ...]
    """The risks that it was searched for, rounded."""
    until: float
    """Monotonic time up to which it stands without another look."""
    searched: float
    """Monotonic time of the last search."""
    target: Target
    """What was found."""
    spot_left: Values
    """The distribution of what is left of its spot replicas."""


class Aiming:
    """Remembers the last target of one group."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: Aimed | None = None

    def aim(
        self,
        bounds: Bounds,
        offers: tuple[Offer, ...],
        here: Mapping[Site, int],
        survival: SurvivalModel,
        lead_s: float,
        now: float,
        wall: float,
    ) -> Aimed:
        """The mix to aim at, and what is left of it.

        Args:
            bounds: What is wanted.
            offers: Of spot sites, with prices to decide by.
            here: Replicas by site.
            survival: What is known of the risks of spot nodes.
            lead_s: Seconds that a replica takes to be ready.
            now: Monotonic time in seconds.
            wall: Unix time in seconds.
        """
        inputs = (bounds, offers, tuple(sorted(here.items())), lead_s)
        last = self._last
        if last is not None and last.inputs == inputs and now < last.until:
            return last
        seen = outlooks(offers, here, bounds.stand_in, survival, lead_s, wall)
        risks = tuple(
            round(STEPS * math.log(max(chance, 1e-12)))
            for outlook in seen
            for ground in outlook.grounds
            for chance in (1.0 - ground.stays, ground.zone_shock, ground.region_shock)
        )
        target, searched, spot_left = None, now, None
        if last is not None:
            searched = last.searched
            if (last.inputs, last.risks) == (inputs, risks):
                target, spot_left = last.target, left(last.target, offers, seen)
                if _on_demand(bounds, target, spot_left) != target.on_demand:
                    target = spot_left = None
            if target is None and 0 <= now - searched < SEARCH_S:
                target = follow(last.target, offers, seen, bounds)
        if target is None:
            target, searched = aim(offers, seen, bounds), now
        if spot_left is None:
            spot_left = left(target, offers, seen)
        target = replace(target, on_demand=_on_demand(bounds, target, spot_left))
        self._last = Aimed(inputs, risks, now + RECHECK_S, searched, target, spot_left)
        return self._last


def _on_demand(bounds: Bounds, target: Target, spot_left: Values) -> int:
    spot = sum(target.spot.values())
    return min(bounds.most, bounds.on_demand(spot, held(spot_left, bounds.chance)))
