"""Measures both kinds of work on a running service, one load after another."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from app.cli.profiling.arrivals import Load
from app.cli.profiling.judge import Answer, numbers
from app.cli.profiling.load import LoadGenerator, Target
from app.cli.profiling.prompts import Shape, Words
from app.cli.profiling.replies import ServiceRefused
from app.cli.profiling.result import Profile, SideResult
from app.cli.profiling.search import SideSearch
from app.cli.profiling.terms import Side
from app.routing.route_table import prefill_group

if TYPE_CHECKING:
    import httpx

    from app.config import FleetConfig, PoolConfig
    from app.config.engines import EngineConfig

_MOST_AT_ONCE = 256
_IDLE_S = 3.0
_BUSY = 0.85


class NotMeasured(Exception):
    """What was seen says nothing of the pool; the message has the way out."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What `/readyz` says of a pool's replicas of one kind."""

    ready: int
    outstanding: int
    """Tokens still to work off."""


class Profiler:
    """Measures one pool.

    Args:
        fleet: what the service runs with.
        pool: the pool.
        shapes: requests that are all prompt, and requests that are all answer.
        seconds: about how long to measure.
        tell: is told what is being done.
    """

    def __init__(
        self,
        fleet: "FleetConfig",
        pool: "PoolConfig",
        shapes: tuple[Shape, Shape],
        seconds: float,
        tell: Callable[[str], None],
    ) -> None:
        self._fleet = fleet
        self._pool = pool
        self._shapes = dict(zip(Side, shapes, strict=True))
        self._seconds = seconds
        self._tell = tell
        self._notes: list[str] = []
        self._rng = random.Random()
        self._busy = 0.0

    async def run(self, client: "httpx.AsyncClient") -> Profile:
        """Measures prefill and decode.

        Args:
            client: of the service, with the key.

        Raises:
            ServiceRefused: the service is not there, or refuses such requests.
            NotMeasured: requests do not land in the pool, or its replicas come and go.
            OutOfReach: the promise is not kept under any load.
        """
        pool = self._pool
        target = Target(pool.name, pool.zone, pool.model)
        generator = LoadGenerator(client, target, Words(self._rng), self._rng)
        begun = time.monotonic()
        for side in Side:
            if (await self._readiness(client, side)).outstanding:
                self._note("others used the pool as the measurement began: figures are too low")
        self._tell("learning how long words are")
        await generator.calibrate()
        sides = {}
        for side in Side:
            # Half of the time, or all that the first side has left.
            left = self._seconds - (time.monotonic() - begun)
            share = left / 2 if side is Side.PREFILL else left
            sides[side] = await self._measure(client, generator, side, max(share, 0.4))
        return Profile(
            pool.name,
            pool.model,
            pool.slo,
            self._seconds,
            sides,
            tuple(self._notes),
            disaggregated=pool.disaggregated is not None,
        )

    async def _measure(
        self, client: "httpx.AsyncClient", generator: LoadGenerator, side: Side, seconds: float
    ) -> SideResult:
        before = await self._readiness(client, side)
        shape = self._shapes[side]
        search = SideSearch(
            side, self._pool.slo, self._batch(side, before.ready), shape.output, seconds
        )
        deadline = time.monotonic() + seconds
        while (load := search.next()) is not None:
            answers, took = await self._send(generator, search, load, before.ready)
            await self._idle(client, side)
            after = await self._readiness(client, side)
            if after.ready != before.ready:
                self._note(
                    f"the number of ready replicas changed from {before.ready} to {after.ready}: "
                    "what was measured meanwhile was dropped"
                )
                search.wasted(took)
                before = after
                if time.monotonic() > deadline:
                    raise NotMeasured(
                        "the number of ready replicas keeps changing: set min_replicas = "
                        "max_replicas in the pool's markets while you measure"
                    )
                continue
            self._check_pool(search, answers)
            search.saw(load, answers, before.ready, took)
        self._remark(search)
        return SideResult(search, shape, before.ready)

    async def _send(
        self, generator: LoadGenerator, search: SideSearch, load: Load, replicas: int
    ) -> tuple[list[Answer], float]:
        what = "one request at a time" if load.at_once == 1 else f"{load.at_once:.0f} at a time"
        if load.rate:
            what = f"{load.rate:.3g} requests a second"
        self._tell(f"{search.side}: {what}")
        cpu, wall = time.process_time(), time.monotonic()
        answers, took = await generator.run(
            load,
            self._shapes[search.side],
            replicas,
            lambda answers, now: search.hopeless(load, answers, replicas, now),
        )
        busy = (time.process_time() - cpu) / max(time.monotonic() - wall, 1e-3)
        if busy > _BUSY and took > 0.5:
            self._note("this command itself was short of CPU time: figures may be too low")
        return answers, took

    def _check_pool(self, search: SideSearch, answers: list[Answer]) -> None:
        """Requests that spill before there is any load would go elsewhere under load, too."""
        elsewhere = next((each.elsewhere for each in answers if each.elsewhere), None)
        if elsewhere is None or search.tried is not None or search.most is not None:
            return
        raise NotMeasured(
            f"requests for pool {self._pool.name} were served by pool {elsewhere}, so nothing can "
            "be said of it. Measure when nobody else uses it; if another pool of its zone has the "
            "same size classes, take them from that one while you measure."
        )

    def _remark(self, search: SideSearch) -> None:
        broke = search.broke
        if broke is not None and broke.judgement.elsewhere:
            self._note(
                f"{search.side}: at {broke.tokens_per_s:,.0f} tokens/s requests spilled to pool "
                f"{broke.judgement.elsewhere}; the pool may carry more with a larger "
                "`max_outstanding_tokens`"
            )
        elif broke is not None and broke.judgement.failed:
            self._note(
                f"{search.side}: at {broke.tokens_per_s:,.0f} tokens/s requests failed "
                f"({numbers(broke.judgement, search.slo)})"
            )

    def _batch(self, side: Side, replicas: int) -> int:
        """Requests that fill one replica."""
        engine, shape = self._engine(side), self._shapes[side]
        batch = engine.max_num_seqs
        if side is Side.PREFILL:
            batch = min(batch, max(8, 4 * ceil(engine.max_num_batched_tokens / shape.prompt)))
        gateway = self._fleet.gateway
        fits = int(0.8 * self._pool.max_outstanding_tokens / (shape.prompt + shape.output))
        most = min(_MOST_AT_ONCE, fits, gateway.max_open_requests // (2 * replicas))
        if side is Side.DECODE and most < batch:
            self._note(f"decode was measured with {max(1, most)} requests at a time, not {batch}")
        return max(1, min(batch, most))

    def _engine(self, side: Side) -> "EngineConfig":
        roles = self._pool.roles
        return self._pool.side(roles[0] if side is Side.PREFILL else roles[-1]).engine

    async def _readiness(self, client: "httpx.AsyncClient", side: Side) -> Readiness:
        """How many replicas there are for one kind of work, in all markets."""
        import httpx

        try:
            response = await client.get("/readyz", timeout=10.0)
            states = response.json()["pools"]
        except httpx.HTTPError as error:
            raise ServiceRefused(str(error) or type(error).__name__, reachable=False) from None
        except (ValueError, LookupError, TypeError):
            raise ServiceRefused(
                f"{client.base_url}/readyz does not answer as Tidegate's does: is something else "
                "listening there?"
            ) from None
        group = self._pool.name
        if side is Side.PREFILL and self._pool.disaggregated is not None:
            group = prefill_group(group)
        own: list[dict[str, Any]] = [state for state in states if state.get("pool") == group]
        if not own:
            raise NotMeasured(
                f"the service has no pool {group}: does it run with this configuration?"
            )
        ready = sum(int(state.get("ready", 0)) for state in own)
        if not ready:
            raise NotMeasured(f"pool {group} has no replica ready; `tidegate status` shows when")
        return Readiness(ready, sum(int(state.get("outstanding_tokens", 0)) for state in own))

    async def _idle(self, client: "httpx.AsyncClient", side: Side) -> None:
        """Waits until the engines have dropped what was given up."""
        deadline = time.monotonic() + _IDLE_S
        while time.monotonic() < deadline:
            if not (await self._readiness(client, side)).outstanding:
                return
            await asyncio.sleep(0.05)

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)
