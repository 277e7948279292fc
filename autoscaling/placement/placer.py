"""Where the replicas of one group run: the cheapest mix that keeps the promise.

There are as many replicas as are needed, which a high quantile of demand decides. The promise: with
a chance of 1 - epsilon at least as many of them as the median takes are left when the lead time is
over, which is when replacements are ready. Four rules carry it:

- The mix is never dearer than all of it on demand, and on-demand nodes are taken to stay.
- Spot replicas count for what their age, availability zone and region make likely, from when their
  node is there. On-demand replicas stand in at once for what is missing, and for a while longer.
- A spot replica that runs seems cheaper, and a price must have lasted, so that nothing moves for
  pennies.
- Where the promise cannot be kept there is as much as possible, and the reason says what limits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from autoscaling.placement.aiming import Aiming
from autoscaling.placement.counting import Counting
from autoscaling.placement.distribution import Values, at_least, held, survivors
from autoscaling.placement.filling import Filling, Scarcity
from autoscaling.placement.judging import Bounds
from autoscaling.placement.market import Market, PlacerSettings, market_of
from autoscaling.placement.offers import Offer
from autoscaling.placement.steady import SteadyPrices
from autoscaling.placement.survival import SurvivalModel
from autoscaling.placement.targets import Target
from autoscaling.placement.wording import Told, reason
from autoscaling.plan_terms import Placed, Site

__all__ = ["Placer", "PlacerSettings"]

MAX_NEED = 5_000
CENT = 1e-9
VERSION = 1


class Placer:
    """Decides for one group.

    Args:
        settings: What it keeps to.
    """

    __slots__ = ("_aiming", "_counting", "_filling", "_prices", "_scarcity", "_settings")

    def __init__(self, settings: PlacerSettings) -> None:
        self._settings = settings
        self._prices = SteadyPrices(settings.steady_s)
        self._filling = Filling(settings.take_back_s)
        self._scarcity = Scarcity()
        self._aiming = Aiming()
        self._counting = Counting(1.0 - settings.epsilon)

    def place(
        self,
        need: int,
        offers: Sequence[Offer],
        running: Mapping[Site, int],
        ages: Mapping[Site, Sequence[float]],
        survival: SurvivalModel,
        lead_s: float,
        now: float,
        wall: float,
        sure: int = -1,
    ) -> Placed:
        """Where replicas should run.

        Args:
            need: Replicas that are needed, 0 to 5,000.
            offers: What can be had.
            running: Replicas whose node is there, ready or starting, by where they run.
            ages: Seconds since the node of each of them came up; where some are missing, 0.
            survival: What is known of the risks of spot nodes.
            lead_s: Seconds that a replica takes to be ready, 0 or more.
            now: Monotonic time in seconds, not before that of the last call.
            wall: Unix time in seconds.
            sure: Of `need`, how many are to be left with the chance; below 0 for all of them.

        Raises:
            ValueError: `need` or `lead_s` is out of its bounds.
        """
        if not 0 <= need <= MAX_NEED:
            raise ValueError(f"need is {need}: it must be from 0 to {MAX_NEED:,}")
        if not (math.isfinite(lead_s) and lead_s >= 0):
            raise ValueError(f"lead_s is {lead_s}: it must be a number of seconds from 0 on")
        market = market_of(offers, self._settings)
        here = market.running(running)
        self._prices.take([(offer.site, offer.price) for offer in market.spot], now)
        bounds = self._bounds(need, sure, market)
        judged = self._judged(market, here)
        aimed = self._aiming.aim(bounds, judged, here, survival, lead_s, now, wall)
        alone = max(need, bounds.least)
        target, spot_left = aimed.target, aimed.spot_left
        if alone <= bounds.most and self._cost(target, market) > alone * bounds.cost + CENT:
            target, spot_left = Target(alone, {}, 0.0), survivors(())
        self._scarcity.update(target.spot, here, lead_s, now)
        planned = sum(target.spot.values())
        counted = self._counting.count(planned, running, ages, survival, lead_s, now, wall)
        most = max(0, min(bounds.most, alone) - target.on_demand)
        ready = min(counted.ready, planned)
        missing = max(0, bounds.on_demand(ready, counted.relied) - target.on_demand)
        filling = self._filling.update(missing, most, now)
        told = Told(
            need=need,
            on_demand=target.on_demand,
            spot=target.spot,
            settled_s=target.settled_s,
            sure=bounds.left,
            probability=at_least(spot_left, bounds.left - target.on_demand),
            promised=bounds.chance,
            lead_s=lead_s,
            cost=self._cost(target, market),
            alone=None if market.on_demand is None else alone * market.on_demand,
            filling=filling,
            ready=counted.ready,
            limits=self._limits(bounds, market, target, spot_left),
        )
        return Placed(
            on_demand=target.on_demand + filling,
            spot=dict(target.spot),
            filling=filling,
            probability=told.probability,
            cost=told.cost,
            reason=reason(told),
        )

    def state(self) -> dict[str, Any]:
        """What is remembered, as plain data."""
        return {"version": VERSION, "filling": self._filling.count}

    def restore(self, state: Any) -> None:
        """Takes what was remembered earlier: those that stand in go on for a while.

        Args:
            state: From `state`.

        Raises:
            ValueError: It is of another version or no such state; nothing has changed.
        """
        if not isinstance(state, dict) or state.get("version") != VERSION:
            raise ValueError(f"this is no state of a placer of version {VERSION}")
        filling = state.get("filling")
        if not isinstance(filling, int) or not 0 <= filling <= MAX_NEED:
            raise ValueError(f"`filling` is not a number from 0 to {MAX_NEED:,}")
        self._filling.count = filling

    def _bounds(self, need: int, sure: int, market: Market) -> Bounds:
        settings = self._settings
        most = market.most_on_demand
        least = min(settings.least_on_demand, most)
        dearest = max((offer.price for offer in market.spot), default=0.0)
        total = need + math.ceil(settings.over_provision * need)
        return Bounds(
            need=need,
            chance=1.0 - settings.epsilon,
            least=least,
            most=most,
            most_spot=max(0, min(settings.most_spot, total - least)) if need > least else 0,
            most_total=total,
            cost=market.on_demand or 0.0,
            stand_in=dearest if market.on_demand is None else market.on_demand,
            discount=settings.switch,
            missing=settings.missing_weight * need * (market.on_demand or dearest),
            sure=sure,
        )

    def _judged(self, market: Market, here: Mapping[Site, int]) -> tuple[Offer, ...]:
        """The spot offers as they are decided by: with lasting prices, without what is scarce."""
        judged = []
        for offer in market.spot:
            ready = here.get(offer.site, 0)
            price = self._prices.price(
                offer.site, offer.price, market.on_demand or math.inf, running=ready > 0
            )
            most = min(offer.most, ready) if offer.site in self._scarcity.sites else offer.most
            same = price == offer.price and most == offer.most
            judged.append(offer if same else replace(offer, price=price, most=most))
        return tuple(judged)

    @staticmethod
    def _cost(target: Target, market: Market) -> float:
        prices = {offer.site: offer.price for offer in market.spot}
        spot = sum(count * prices[site] for site, count in target.spot.items())
        return target.on_demand * (market.on_demand or 0.0) + spot

    def _limits(
        self, bounds: Bounds, market: Market, target: Target, spot_left: Values
    ) -> tuple[str, ...]:
        limits = []
        spot = sum(target.spot.values())
        short = bounds.on_demand(spot, held(spot_left, bounds.chance)) - target.on_demand
        if short > 0:
            limits.append(
                f"short by {short}: at most {bounds.most} on demand and "
                f"{min(bounds.most_spot, sum(offer.most for offer in market.spot))} spot"
            )
        elif not target.spot and bounds.most_spot:
            limits.append(
                "spot nodes would not be cheaper" if market.spot else "no spot nodes are offered"
            )
        limits.extend(
            f"{site.availability_zone or site.region or 'spot'} has no more nodes for now"
            for site in sorted(self._scarcity.sites & market.sites)
        )
        return tuple(limits)
