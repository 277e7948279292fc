"""Finds replicas for requests, and waits for them where there are none."""

import asyncio
import contextlib
import time

from app.config import FleetConfig, PoolConfig
from app.errors import NoCapacity
from app.routing.router import Route, Router
from deployments.job import Admitted
from deployments.waiting import Waiting


class Placing:
    """Asks the router, again when the fleet has changed.

    Args:
        config: the fleet's configuration.
        router: the routing core.

    Attributes:
        waiting: the requests that wait.
    """

    def __init__(self, config: FleetConfig, router: Router) -> None:
        self._pools = {pool.name: pool for pool in config.pools}
        self._capacity_wait_s = config.routing.capacity_wait_s
        self._router = router
        self._changed = asyncio.Event()
        self.waiting = Waiting(config, router)

    def pool(self, name: str) -> PoolConfig:
        """The configuration of a pool."""
        return self._pools[name]

    def wake(self) -> None:
        """Has those who wait ask again: the fleet has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def route(self, request: Admitted, deadline: float, failed: set[str]) -> Route:
        """Chooses a replica to decode on; waits for one to appear while there is time.

        Args:
            request: the request's zone, class and length.
            deadline: when to give up, in the loop's seconds.
            failed: replicas that have failed this request; forgotten when the fleet changes.

        Raises:
            NoCapacity: nothing became available in time; the message says why.
        """
        try:
            return self._try(request, failed)
        except NoCapacity as error:
            with self.waiting.one(request, time.monotonic()):
                return await self._wait(request, deadline, failed, error)

    async def _wait(
        self, request: Admitted, deadline: float, failed: set[str], error: NoCapacity
    ) -> Route:
        loop = asyncio.get_running_loop()
        until = min(deadline, loop.time() + self._capacity_wait_s)
        while True:
            pause = min(until - loop.time(), error.retry_after_s or 1.0)
            if pause <= 0:
                raise error
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
                # Only now: a replica that leaves goes on refusing until Serve has removed it.
                failed.clear()
            try:
                return self._try(request, failed)
            except NoCapacity as again:
                error = again

    def _try(self, request: Admitted, failed: set[str]) -> Route:
        return self._router.route(
            request.model,
            request.zone,
            request.size_class,
            request.need_tokens,
            time.monotonic(),
            frozenset(failed),
            isolated=request.isolated,
        )

    def decode(self, pool: str, failed: set[str], prefer: frozenset[str]) -> Route | None:
        """The replica of a disaggregated pool to decode on, see `Router.decode_route`."""
        return self._router.decode_route(pool, time.monotonic(), frozenset(failed), prefer)
