"""Has one replica do what the keeper says: wake, go on standby, drain, end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from app.errors import TidegateError
from autoscaling.plan_terms import Site
from autoscaling.warm_pool import Order, Phase, Report
from deployments.keeping import Told

if TYPE_CHECKING:
    # Whoever tries an attendant without an engine is spared vLLM's seconds.
    from deployments.engine_host import EngineHost
    from deployments.fitness import Fitness

REPORT_S = 1.0
ANSWER_S = 3.0
ALONE_S = 10.0
ABANDONED_S = 60.0
CLOSE_S = 5.0
"""Seconds before its node is gone by which a replica has ended."""

Ask = Callable[[Report], Awaitable[Told]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a replica runs, and what its start took.

    Attributes:
        node: the node's id.
        site: where the node is.
        start_s: seconds that the start took.
        cached: whether the weights were on the node already.
    """

    node: str
    site: Site
    start_s: float
    cached: bool


class Attendant:
    """Reports for a replica once a second and acts on the answers.

    It begins on standby. If nobody answers, it serves all the same: a fleet must not stand still
    because its keeper does.

    Args:
        replica: Serve's id of the replica.
        origin: where it runs, and what its start took.
        host: its engine.
        fitness: looks after the engine while it does not serve.
        ask: sends a report to the keeper.
        drain_s: how long requests may go on once it is to drain or to go on standby.
        on_unfit: called with the reason when the engine is not fit to be woken.
        end: ends the replica's process; Serve starts another one.
    """

    def __init__(
        self,
        replica: str,
        origin: Origin,
        host: "EngineHost",
        fitness: "Fitness",
        ask: Ask,
        *,
        drain_s: float,
        on_unfit: Callable[[str], Awaitable[None]],
        end: Callable[[], Awaitable[None]],
    ) -> None:
        self._replica = replica
        self._origin = origin
        self._host = host
        self._fitness = fitness
        self._ask = ask
        self._drain_s = drain_s
        self._on_unfit = on_unfit
        self._end = end
        self._born = self._heard = time.monotonic()
        self._acting: asyncio.Task[None] | None = None
        self._drained = False
        self._told = False
        self._leaves_at: float | None = None
        self._ends_at: float | None = None
        self.phase = Phase.STANDBY

    async def run(self) -> None:
        """Never ends by itself."""
        while True:
            order = await self._report()
            if order is Order.EXIT:
                log.info("replica ends", replica=self._replica, phase=self.phase)
                await self._end()
                return
            self._act(order)
            await asyncio.sleep(REPORT_S)

    @property
    def leaves_in_s(self) -> float | None:
        """Seconds until its node is gone, as far as the keeper has said."""
        return None if self._leaves_at is None else self._leaves_at - time.monotonic()

    def drain(self, deadline_s: float) -> None:
        """Leaves for good, whatever the keeper says: its node goes, for example.

        Args:
            deadline_s: seconds from now after which it may be gone.
        """
        if self._acting is not None:
            self._acting.cancel()
        self._begin(Phase.DRAINING, self._drain(deadline_s))

    async def _report(self) -> Order:
        now = time.monotonic()
        load, origin = self._host.load(), self._origin
        report = Report(
            replica=self._replica,
            phase=self.phase,
            age_s=now - self._born,
            fragmentation=await self._fitness.fragmentation(),
            outstanding_tokens=float(load.foreign_tokens),
            drained=self._drained,
            node=origin.node,
            site=origin.site,
            prefill_tps=load.prefill_tps,
            decode_tps=load.decode_tps,
            saturated=load.waiting > 0,
            start_s=origin.start_s,
            cached=origin.cached,
        )
        try:
            told = await asyncio.wait_for(self._ask(report), ANSWER_S)
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is asked again
            log.warning("the keeper did not answer", error=type(error).__name__)
            return self._alone(now)
        self._heard, self._told = time.monotonic(), True
        left_s = told.leaves_in_s
        self._leaves_at = None if left_s is None else self._heard + left_s
        self._hurry()
        return told.order

    def _hurry(self) -> None:
        """Has requests that were given time leave sooner: the node goes before that time."""
        left_s, ends_at = self.leaves_in_s, self._ends_at
        if left_s is None or ends_at is None or self._drained:
            return
        sooner_s = time_to_leave(self._drain_s, left_s)
        if ends_at - time.monotonic() > sooner_s + REPORT_S:
            self.drain(sooner_s)

    def _alone(self, now: float) -> Order:
        """What to do while nobody answers."""
        if self.phase is Phase.STANDBY and not self._told and now - self._born > ALONE_S:
            return Order.WAKE
        if self._drained and now - self._heard > ABANDONED_S:
            return Order.EXIT
        return Order.KEEP

    def _act(self, order: Order) -> None:
        if self._acting is not None and not self._acting.done():
            return
        if order is Order.WAKE and self.phase is Phase.STANDBY:
            self._begin(Phase.WAKING, self._wake())
        elif order is Order.PARK and self.phase is Phase.ACTIVE:
            self._begin(Phase.PARKING, self._park())
        elif order is Order.DRAIN and self.phase is Phase.ACTIVE:
            self._begin(Phase.DRAINING, self._drain(self._time_to_drain()))
        elif order is Order.KEEP and self.phase is Phase.STANDBY:
            self._begin(Phase.STANDBY, self._fitness.rest())

    def _time_to_drain(self) -> float:
        """Seconds that requests may go on here: no longer than the node is there."""
        left_s = self.leaves_in_s
        return self._drain_s if left_s is None else time_to_leave(self._drain_s, left_s)

    def _begin(self, phase: Phase, work: Awaitable[None]) -> None:
        self.phase = phase
        self._acting = asyncio.ensure_future(self._guarded(work))

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except TidegateError as error:
            await self._unfit(str(error))
        except Exception as error:
            log.exception("replica unfit", replica=self._replica)
            await self._unfit(type(error).__name__)

    async def _unfit(self, reason: str) -> None:
        self.phase = Phase.FAILED
        log.error("replica unfit", replica=self._replica, reason=reason)
        await self._on_unfit(reason)

    async def _wake(self) -> None:
        await self._fitness.wake()
        self._host.resume()
        self.phase = Phase.ACTIVE

    async def _park(self) -> None:
        self._ends_at = time.monotonic() + self._drain_s
        await self._host.set_aside(self._drain_s)
        self._ends_at = None
        await self._fitness.rest()
        self.phase = Phase.STANDBY

    async def _drain(self, deadline_s: float) -> None:
        self._ends_at = time.monotonic() + deadline_s
        await self._host.drain(deadline_s)
        self._drained = True


def time_to_leave(patience_s: float, leaves_in_s: float) -> float:
    """Seconds that requests may go on where a node goes.

    Args:
        patience_s: what they would get if it stayed.
        leaves_in_s: seconds until it is gone; below 0 where it should be.
    """
    return max(0.0, min(patience_s, leaves_in_s - CLOSE_S))
