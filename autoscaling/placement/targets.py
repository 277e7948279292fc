"""The mix to aim at: what should run where once spot replicas are there and have settled.

A new spot node is risky, so that hardly any mix of new ones keeps the promise; most of them grow
old. So the mix is chosen for nodes of some age, and until they have it on-demand stands in. Each
spot replica's cost includes what that is expected to cost, with what is known of how long nodes
last and how long they are waited for. The age is the one at which the mix is cheapest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaling.placement.distribution import AvailabilityZone, Region, survivors
from autoscaling.placement.experience import AGES_S
from autoscaling.placement.judging import Bounds, Ground, Values
from autoscaling.placement.mixes import cheapest, improved, promising
from autoscaling.placement.offers import Offer
from autoscaling.placement.survival import SurvivalModel
from autoscaling.plan_terms import Site

BEST_SCORE = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A mix that was chosen."""

    on_demand: int
    """Replicas on demand."""
    spot: dict[Site, int]
    """Replicas by spot site, none with 0."""
    settled_s: float
    """Age in seconds from which spot nodes keep the promise."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What spot sites are like, as far as that does not depend on how many replicas they have."""

    settled_s: float
    """The age of their nodes, in seconds."""
    grounds: tuple[Ground, ...]
    """What the search is told of each."""


def outlooks(
    offers: Sequence[Offer],
    running: Mapping[Site, int],
    on_demand: float,
    survival: SurvivalModel,
    lead_s: float,
    wall: float,
) -> tuple[Outlook, ...]:
    """What spot sites are like, once for each age that their nodes may have settled at.

    Args:
        offers: Of spot sites, with prices to decide by.
        running: Replicas by site.
        on_demand: Dollars an hour for a replica on demand.
        survival: What is known of their risks.
        lead_s: Seconds that a replica takes to be ready.
        wall: Unix time in seconds.
    """
    shares = survival.shocks()
    names = sorted({offer.site.region for offer in offers})
    numbers = [names.index(offer.site.region) for offer in offers]
    prospects = [survival.prospects(offer.site, lead_s, wall) for offer in offers]
    waits = [lead_s * BEST_SCORE / (offer.score or BEST_SCORE) for offer in offers]
    found = []
    for index, age in enumerate(AGES_S):
        least = [math.inf] * len(names)
        for number, each in zip(numbers, prospects, strict=True):
            least[number] = min(least[number], each[index].risk)
        grounds = []
        for offer, number, each, wait in zip(offers, numbers, prospects, waits, strict=True):
            risk, young, life = each[index]
            regional, zonal = shares.region * least[number], shares.zone * risk
            grounds.append(
                Ground(
                    region=number,
                    stays=math.exp(-(risk - regional - zonal)),
                    zone_shock=-math.expm1(-zonal),
                    region_shock=-math.expm1(-regional),
                    cost=offer.price + (wait + young) / (wait + life) * on_demand,
                    most=offer.most,
                    running=running.get(offer.site, 0),
                )
            )
        found.append(Outlook(age, tuple(grounds)))
    return tuple(found)


def aim(offers: Sequence[Offer], seen: Sequence[Outlook], bounds: Bounds) -> Target:
    """The cheapest mix.

    Args:
        offers: Of spot sites; those that `seen` was made of.
        seen: What they are like.
        bounds: What is wanted.
    """
    if bounds.most_spot == 0 or not offers:
        return Target(min(bounds.most, max(bounds.least, bounds.need)), {}, 0.0)
    best = min(seen, key=lambda outlook: promising(outlook.grounds, bounds))
    mix = cheapest(best.grounds, bounds)
    spot = {offer.site: n for offer, n in zip(offers, mix.spot, strict=True) if n}
    return Target(mix.on_demand, spot, best.settled_s if spot else 0.0)


def follow(
    last: Target, offers: Sequence[Offer], seen: Sequence[Outlook], bounds: Bounds
) -> Target | None:
    """The last target, made better: for what has changed a little since it was searched for.

    Args:
        last: It.
        offers: Of spot sites; those that `seen` was made of.
        seen: What they are like.
        bounds: What is wanted.

    Returns:
        The target; None where only a search will do.
    """
    sites = {offer.site for offer in offers}
    if not last.spot or bounds.most_spot == 0 or not last.spot.keys() <= sites:
        return None
    grounds = next(each.grounds for each in seen if each.settled_s == last.settled_s)
    mix = improved(grounds, bounds, [last.spot.get(offer.site, 0) for offer in offers])
    if mix is None:
        return None
    spot = {offer.site: n for offer, n in zip(offers, mix.spot, strict=True) if n}
    return Target(mix.on_demand, spot, last.settled_s) if spot else None


def left(target: Target, offers: Sequence[Offer], seen: Sequence[Outlook]) -> Values:
    """The distribution of what is left of a mix's spot replicas.

    Args:
        target: The mix.
        offers: Of spot sites; those that `seen` was made of.
        seen: What they are like.
    """
    grounds = next((each.grounds for each in seen if each.settled_s == target.settled_s), ())
    if not target.spot:
        return survivors(())
    zones: dict[int, list[AvailabilityZone]] = {}
    shocks: dict[int, float] = {}
    for offer, ground in zip(offers, grounds, strict=True):
        if count := target.spot.get(offer.site, 0):
            shocks[ground.region] = ground.region_shock
            zones.setdefault(ground.region, []).append(
                AvailabilityZone(ground.zone_shock, ((count, ground.stays),))
            )
    return survivors(Region(shocks[region], tuple(there)) for region, there in zones.items())
