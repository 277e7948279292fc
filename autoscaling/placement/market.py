"""What a group's placement keeps to, and what it is offered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from autoscaling.placement.offers import SPOT, Offer
from autoscaling.plan_terms import Site


@dataclass(frozen=True, slots=True)
class PlacerSettings:
    """What a group's placement keeps to."""

    epsilon: float = 0.01
    """Chance that is taken of having less than is needed; above 0, at most 0.5."""
    over_provision: float = 0.5
    """Most replicas beyond the need, as a share of it, rounded up, while any are on spot nodes."""
    least_on_demand: int = 0
    """Fewest on-demand replicas, whatever spot replicas there are."""
    most_on_demand: int = 0
    """Most on-demand replicas."""
    most_spot: int = 0
    """Most replicas on spot nodes."""
    take_back_s: float = 60.0
    """Seconds for which fewer on-demand replicas must have been enough to stand in."""
    steady_s: float = 1800.0
    """Seconds for which a spot price must have been better before replicas move for it."""
    switch: float = 0.3
    """Share of its cost that a spot replica seems cheaper where it runs already; 0 to below 1. A
    move costs a start, and makes an old node a young one. On demand none seems cheaper: it would
    stay there for good."""
    missing_weight: float = 5.0
    """What an hour without any replica that is needed weighs, in hours of them on demand; without
    half of them, a quarter of that. It spreads spot replicas where that costs little."""

    def __post_init__(self) -> None:
        """Refuses what makes no sense.

        Raises:
            ValueError: A number is out of its bounds.
        """
        if not 0 < self.epsilon <= 0.5:
            raise ValueError(f"epsilon is {self.epsilon}: it must be above 0 and at most 0.5")
        if not 0 <= self.switch < 1:
            raise ValueError(f"switch is {self.switch}: it must be from 0 to below 1")
        for name in ("over_provision", "take_back_s", "steady_s", "missing_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value}: it must be a number from 0 on")
        for name in ("least_on_demand", "most_on_demand", "most_spot"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name} is {value}: it must be 0 or more")


@dataclass(frozen=True, slots=True)
class Market:
    """What is offered, without what makes no sense."""

    on_demand: float | None
    """Dollars an hour for a replica on demand; None where it is not offered."""
    most_on_demand: int
    """Most replicas on demand."""
    spot: tuple[Offer, ...]
    """The cheapest offer of each spot site."""

    @property
    def sites(self) -> frozenset[Site]:
        """The spot sites."""
        return frozenset(offer.site for offer in self.spot)

    def running(self, running: Mapping[Site, int]) -> dict[Site, int]:
        """Replicas on spot nodes by the site that is offered.

        Args:
            running: Replicas by where they run. Where a site without a name is offered, those at
                sites that are not offered count there.
        """
        here: dict[Site, int] = {}
        sites = self.sites
        for site, count in running.items():
            if site.market == SPOT.market and count > 0:
                at = site if site in sites else SPOT
                here[at] = here.get(at, 0) + count
        return here


def market_of(offers: Sequence[Offer], settings: PlacerSettings) -> Market:
    """What of the offers can be used.

    Args:
        offers: All of them. A price or count that makes no sense leaves an offer out.
        settings: How much may be used.
    """
    good = [
        offer
        for offer in offers
        if math.isfinite(offer.price) and offer.price >= 0 and offer.most > 0
    ]
    on_demand = [offer for offer in good if offer.site.market != SPOT.market]
    spot: dict[Site, Offer] = {}
    for offer in sorted(good, key=lambda offer: (offer.site, -offer.price)):
        if offer.site.market == SPOT.market:
            sound = offer.score is None or 1 <= offer.score <= 10
            spot[offer.site] = offer if sound else replace(offer, score=None)
    return Market(
        on_demand=min((offer.price for offer in on_demand), default=None),
        most_on_demand=min(settings.most_on_demand, sum(offer.most for offer in on_demand)),
        spot=tuple(spot.values()) if settings.most_spot else (),
    )
