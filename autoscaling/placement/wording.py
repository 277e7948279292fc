"""A placement in words and numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaling.placement.distribution import ROUNDING
from autoscaling.plan_terms import Site


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a placement."""

    need: int
    """Replicas that are needed."""
    on_demand: int
    """Replicas on demand, without those that stand in."""
    spot: Mapping[Site, int]
    """Replicas by spot site."""
    settled_s: float
    """Age in seconds from which the spot nodes keep the promise."""
    sure: int
    """Of them, those that are to be left."""
    probability: float
    """That so many are left over the lead time."""
    promised: float
    """What was asked for."""
    lead_s: float
    """The lead time in seconds."""
    cost: float
    """Dollars an hour."""
    alone: float | None
    """Dollars an hour for as much on demand alone; None where that has no price."""
    filling: int
    """Replicas on demand that stand in."""
    ready: int
    """Spot replicas whose node is there."""
    limits: tuple[str, ...]
    """What keeps it from being better, in a few words each."""


def reason(told: Told) -> str:
    """Why replicas are placed so.

    Args:
        told: The placement.
    """
    spot = sum(told.spot.values())
    parts = [f"{told.on_demand} on-demand"]
    if spot:
        where = ", ".join(f"{_name(site)} {count}" for site, count in sorted(told.spot.items()))
        parts.append(f"{spot} spot ({where})")
    chance = f"P(at least {told.sure} within {told.lead_s:,.0f} s) is {told.probability:.3f}"
    if told.probability < told.promised - ROUNDING:
        chance += f", less than {told.promised:g}"
    if told.settled_s and spot:
        chance += f" once spot nodes are {_age(told.settled_s)} old"
    price = f"{told.cost:,.2f} dollars an hour"
    if spot and told.alone is not None:
        price += f" against {told.alone:,.2f} on demand alone"
    text = f"{' and '.join(parts)} for a need of {told.need}: {chance}, {price}"
    if told.filling:
        text += f"; {told.filling} more on demand stand in, {told.ready} of {spot} spot have a node"
    return "; ".join((text, *told.limits))


def _name(site: Site) -> str:
    return site.availability_zone or site.region or "any availability zone"


def _age(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
