"""The configuration as the command line has changed it."""

from collections.abc import Mapping

from app.cli.replaying.options import NotReplayable
from app.config import FleetConfig, Market, MarketConfig, PoolConfig, SiteConfig, SpotConfig

_ANYWHERE = SiteConfig(region="any", availability_zone="any")
"""Prices that are given where no site is configured hold for this one."""


def with_prices(spot: SpotConfig, prices: Mapping[str, float]) -> SpotConfig:
    """Sites with other prices.

    Args:
        spot: As configured.
        prices: Dollars an hour of one node, by `on-demand`, `spot` or an availability zone.

    Raises:
        NotReplayable: One is for an availability zone that no site has.
    """
    if not prices:
        return spot
    sites = spot.sites or (_ANYWHERE,)
    known = {site.availability_zone for site in spot.sites}
    unknown = [name for name in prices if name not in {*Market, *known}]
    if unknown:
        names = ", ".join((*Market, *sorted(known)))
        raise NotReplayable(f"--price: there is no {unknown[0]!r}; there is {names}")
    changed = []
    for site in sites:
        own = prices.get(site.availability_zone, prices.get(Market.SPOT, site.spot_price))
        on_demand = prices.get(Market.ON_DEMAND, site.on_demand_price)
        changed.append(site.model_copy(update={"spot_price": own, "on_demand_price": on_demand}))
    return spot.model_copy(update={"sites": tuple(changed)})


def with_most(pool: PoolConfig, most: int | None) -> PoolConfig:
    """A pool that may have another number of replicas in each of its markets.

    Args:
        pool: As configured.
        most: Most replicas of each market, 1 or more; None leaves all as it is.
    """
    if most is None:
        return pool
    markets = {market: _bounded(bounds, most) for market, bounds in pool.markets.items()}
    return pool.model_copy(update={"markets": markets})


def alone(fleet: FleetConfig, pool: PoolConfig, spot: SpotConfig) -> FleetConfig:
    """A fleet of this pool and no other, with these prices.

    Args:
        fleet: As configured.
        pool: The pool.
        spot: What nodes cost.
    """
    scaling = fleet.scaling.model_copy(update={"spot": spot})
    return fleet.model_copy(update={"pools": (pool,), "scaling": scaling})


def _bounded(bounds: MarketConfig, most: int) -> MarketConfig:
    least = min(bounds.min_replicas, most)
    standby = min(bounds.standby_replicas, most - least)
    return bounds.model_copy(
        update={"max_replicas": most, "min_replicas": least, "standby_replicas": standby}
    )
