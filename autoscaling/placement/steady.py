"""Prices that do not make replicas move to and fro.

A site that has none must have been cheap for a while to get some; one that has some must have been
dear for a while to lose them, or dearer than on-demand.
"""

from collections.abc import Collection

from autoscaling.plan_terms import Site

Range = tuple[float, float]


class SteadyPrices:
    """Remembers the lowest and the highest price of each site in the last while.

    Every time that is passed in is monotonic, in seconds.

    Args:
        window_s: For how long a price counts, in seconds; up to twice that.
    """

    __slots__ = ("_before", "_began", "_now", "_window_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began: float | None = None
        self._before: dict[Site, Range] = {}
        self._now: dict[Site, Range] = {}

    def take(self, prices: Collection[tuple[Site, float]], now: float) -> None:
        """Takes the prices of now; of sites that are missing nothing is kept beyond the window.

        Args:
            prices: Dollars an hour, by site.
            now: Monotonic time in seconds.
        """
        if self._began is None or not 0 <= now - self._began < self._window_s:
            self._before, self._now, self._began = self._now, {}, now
        for site, price in prices:
            low, high = self._now.get(site, (price, price))
            self._now[site] = min(low, price), max(high, price)

    def price(self, site: Site, price: float, on_demand: float, *, running: bool) -> float:
        """The price to decide by.

        Args:
            site: The site.
            price: Its price now.
            on_demand: The price of on-demand now.
            running: Whether it has replicas.
        """
        seen = [each[site] for each in (self._before, self._now) if site in each]
        if not running:
            return max([price, *(high for _, high in seen)])
        return price if price > on_demand else min([price, *(low for low, _ in seen)])
