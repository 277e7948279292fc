"""Loads: so many streams at a time, or each at its time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.disaggregated.asks import Ask
from benchmarks.disaggregated.client import Reply, fetch
from benchmarks.disaggregated.service import Service

__all__ = ["at_times", "endless", "streams"]

_BREATH_S = 0.2


def endless(asks: Sequence[Ask], stop: asyncio.Event) -> Iterator[tuple[int, Ask]]:
    """The asks over and over, with their numbers, until it is time to stop."""
    turn = 0
    while not stop.is_set():
        yield turn % len(asks), asks[turn % len(asks)]
        turn += 1


async def streams(
    service: Service,
    asks: Iterable[tuple[int, Ask]],
    concurrency: int,
    replies: list[tuple[int, Reply]] | None = None,
) -> list[tuple[int, Reply]]:
    """Keeps so many streams open until the asks are over.

    Args:
        service: whom to ask.
        asks: numbered, since the replies come in another order.
        concurrency: how many at a time.
        replies: where they are put as they end, for those who look meanwhile.
    """
    found = [] if replies is None else replies
    source = iter(asks)

    async def work() -> None:
        for number, ask in source:
            reply = await fetch(service.target, ask, service.headers)
            found.append((number, reply))
            if reply.broken:
                # A service that refuses connections is not asked a thousand times a second.
                await asyncio.sleep(_BREATH_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return found


async def at_times(
    service: Service, plan: Sequence[tuple[float, Ask]], began: float | None = None
) -> list[Reply]:
    """Sends each ask at its time, however many are open then.

    Args:
        service: whom to ask.
        plan: (seconds from the beginning, ask), in order.
        began: the beginning, in seconds of ``time.perf_counter``; now by default.
    """
    start = time.perf_counter() if began is None else began

    async def one(at: float, ask: Ask) -> Reply:
        await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
        return await fetch(service.target, ask, service.headers)

    return list(await asyncio.gather(*(one(at, ask) for at, ask in plan)))
