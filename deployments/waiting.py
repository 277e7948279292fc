"""Requests at one gateway that wait for a replica, for the keeper to start or wake one."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from app.config import FleetConfig, Market, PoolConfig, Role
from app.routing.router import Router
from deployments.first_choice import FirstChoice
from deployments.job import Admitted


class Waiting:
    """Counts what waits, by the deployment that is to take it, and who waited for a cold start.

    Args:
        config: the fleet's configuration.
        router: the routing core.
    """

    def __init__(self, config: FleetConfig, router: Router) -> None:
        self._choice = FirstChoice(config)
        self._router = router
        self._waiting: dict[int, Admitted] = {}
        self._numbered = 0
        self._tokens: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._takers = {pool.name: _taker(config, pool) for pool in config.pools}
        self.cold_starts: Counter[str] = Counter()
        """Requests so far that found no replica ready and waited for one to start, by pool."""

    @property
    def demand(self) -> dict[str, tuple[float, int]]:
        """Tokens and requests that wait, by deployment."""
        return {
            name: (float(self._tokens[name]), count)
            for name, count in self._requests.items()
            if count
        }

    @property
    def requests(self) -> Collection[Admitted]:
        """Those that wait."""
        return self._waiting.values()

    @contextmanager
    def one(self, request: Admitted, now: float) -> Iterator[None]:
        """Counts a request while it waits.

        Args:
            request: its zone, class and length.
            now: the time, in monotonic seconds.
        """
        pools = self._choice.pools(request)
        if not pools:
            yield
            return
        pool = pools[0]
        ready = {state.pool for state in self._router.states(now) if state.ready}
        if not any(each.name in ready for each in pools):
            self.cold_starts[pool.name] += 1
        name = self._takers[pool.name]
        self._requests[name] += 1
        self._tokens[name] += request.need_tokens
        # Several requests may be equal, and one may wait more than once.
        self._numbered += 1
        number, self._waiting[self._numbered] = self._numbered, request
        try:
            yield
        finally:
            self._requests[name] -= 1
            self._tokens[name] -= request.need_tokens
            del self._waiting[number]


def _taker(config: FleetConfig, pool: PoolConfig) -> str:
    """The deployment whose replicas a pool's waiting requests are for."""
    role = Role.DECODE if pool.disaggregated is not None else Role.WHOLE
    found = {
        each.market: each.name
        for each in config.deployments()
        if each.pool.name == pool.name and each.role is role
    }
    return found.get(Market.ON_DEMAND) or next(iter(found.values()))
