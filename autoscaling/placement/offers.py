"""Where replicas can run, and what that costs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.config.scaling import SiteConfig, SpotConfig
from autoscaling.plan_terms import Site

ON_DEMAND = Site("on-demand")
SPOT = Site("spot")
"""What is offered where no sites are configured."""
UNPRICED = SiteConfig(region="-", availability_zone="-")
"""What nodes cost where no sites are configured."""

NodeKind = tuple[str, str]
"""Instance type and availability zone."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Replicas that can be had at one site."""

    site: Site
    price: float
    """Dollars an hour for a replica, 0 or more."""
    most: int
    """Most replicas of the group there, 0 or more."""
    score: float | None = None
    """EC2's placement score, from 1 (hard to get) to 10; None where nobody has said."""


@dataclass(frozen=True, slots=True)
class Quotes:
    """What a price feed says of spot nodes."""

    prices: Mapping[NodeKind, float] = field(default_factory=dict)
    """Dollars an hour for a node."""
    scores: Mapping[NodeKind, float] = field(default_factory=dict)
    """Placement scores, 1 to 10."""
    reason: str = "prices from the configuration"
    """Where the prices come from and how old they are."""


def offers_of(
    spot: SpotConfig,
    most_on_demand: int | None,
    most_spot: int | None,
    quotes: Quotes | None = None,
) -> tuple[Offer, ...]:
    """What is offered to a group: on-demand at the lowest price, and spot by site.

    Args:
        spot: Sites and their prices.
        most_on_demand: Most replicas on on-demand nodes; None if the group has no such market.
        most_spot: Most replicas on spot nodes; None if the group has no such market.
        quotes: Newer prices, by default those of `spot`.
    """
    quotes = quotes or Quotes()
    offers: list[Offer] = []
    sites = spot.sites or (UNPRICED,)
    if most_on_demand is not None:
        price = min(site.on_demand_price / site.replicas_per_node for site in sites)
        offers.append(Offer(ON_DEMAND, price, most_on_demand))
    if most_spot is None:
        return tuple(offers)
    if not spot.sites:
        return (*offers, Offer(SPOT, UNPRICED.spot_price, most_spot))
    found: dict[Site, Offer] = {}
    for config in spot.sites:
        offer = _spot(config, most_spot, quotes)
        known = found.get(offer.site)
        # Of two kinds of nodes in one availability zone, the cheaper one.
        if known is None or offer.price < known.price:
            found[offer.site] = offer
    return (*offers, *found.values())


def _spot(config: SiteConfig, most: int, quotes: Quotes) -> Offer:
    kind = (config.instance_type or "", config.availability_zone)
    return Offer(
        site=Site("spot", config.region, config.availability_zone),
        price=quotes.prices.get(kind, config.spot_price) / config.replicas_per_node,
        most=most if config.most_spot_replicas is None else min(most, config.most_spot_replicas),
        score=quotes.scores.get(kind),
    )
