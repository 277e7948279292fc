"""The load generator: closed loops of keep-alive clients over prepared requests."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.gateway.client import Connection, Log, Record

__all__ = ["Target", "closed_loop", "run_async", "timed_loop"]

T = TypeVar("T")

_WATCH_S = 0.5
_RECONNECT_S = 0.2
_BEAT_S = 0.02
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """Where an arm listens; ``host`` is a numeric address."""

    host: str
    port: int


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Runs the coroutine on uvloop if there is one, else on asyncio."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def closed_loop(
    target: Target,
    requests: Sequence[bytes],
    concurrency: int,
    stream: bool,
    timeout_s: float = 120.0,
) -> Log:
    """Sends every request once, ``concurrency`` at a time.

    A fixed amount of work, not a fixed time: no arm gains by what is in flight at the end.

    Args:
        target: the arm.
        requests: whole HTTP requests.
        concurrency: clients; each has a connection of its own, open before the first request.
        stream: the answers are server-sent events.
        timeout_s: a request that takes longer is ended and counted as an error.
    """
    return await _load(target, iter(requests), concurrency, stream, timeout_s, ramp_s=0.0)


async def timed_loop(
    target: Target,
    requests: Iterator[bytes],
    concurrency: int,
    stream: bool,
    seconds: float,
    ramp_s: float = 0.0,
    timeout_s: float = 120.0,
    stall_s: float = 0.25,
    list_pauses: bool = False,
) -> Log:
    """Sends requests for so many seconds; those in flight then are read to their end.

    Args:
        target: the arm.
        requests: endless; whole HTTP requests.
        concurrency: clients, as in :func:`closed_loop`.
        stream: the answers are server-sent events.
        seconds: how long new requests are sent.
        ramp_s: the clients start one after the other over this time.
        timeout_s: as in :func:`closed_loop`.
        stall_s: gaps from here on are listed one by one.
        list_pauses: whether times at which this process itself stood still are listed.
    """
    end = time.perf_counter() + seconds

    def until_end() -> Iterator[bytes]:
        while time.perf_counter() < end:
            yield next(requests)

    return await _load(
        target,
        until_end(),
        concurrency,
        stream,
        timeout_s,
        ramp_s=ramp_s,
        stall_s=stall_s,
        list_pauses=list_pauses,
    )


async def _beat(log: Log) -> None:
    while True:
        before = time.perf_counter()
        await asyncio.sleep(_BEAT_S)
        late = time.perf_counter() - before - _BEAT_S
        if late > _PAUSE_S:
            log.pauses.append((before + _BEAT_S, late))


async def _load(
    target: Target,
    requests: Iterator[bytes],
    concurrency: int,
    stream: bool,
    timeout_s: float,
    ramp_s: float,
    stall_s: float = 0.25,
    list_pauses: bool = False,
) -> Log:
    log = Log(stall_s=stall_s)
    loop = asyncio.get_running_loop()
    clients: list[Connection | None] = [None] * concurrency

    async def connect(place: int) -> Connection | None:
        try:
            _, client = await loop.create_connection(
                lambda: Connection(log, stream), target.host, target.port
            )
        except OSError as error:
            now = time.perf_counter()
            log.records.append(Record(now, ended=now, error=f"no connection: {error}"))
            return None
        clients[place] = client
        return client

    async def work(place: int) -> None:
        if ramp_s:
            await asyncio.sleep(ramp_s * place / concurrency)
        client = clients[place]
        for request in requests:
            if client is None or not client.open:
                client = await connect(place)
                if client is None:
                    await asyncio.sleep(_RECONNECT_S)
                    continue
            await client.send(request)

    async def watch() -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            before = time.perf_counter() - timeout_s
            for client in clients:
                if client is not None and client.expired(before):
                    client.abort(f"no end within {timeout_s:g} s")

    await asyncio.gather(*(connect(place) for place in range(concurrency)))
    tasks = [asyncio.create_task(watch())]
    if list_pauses:
        tasks.append(asyncio.create_task(_beat(log)))
    # A collection in the middle would be measured as the server's pause.
    gc.collect()
    gc.disable()
    try:
        await asyncio.gather(*(work(place) for place in range(concurrency)))
    finally:
        gc.enable()
        for task in tasks:
            task.cancel()
        for client in clients:
            if client is not None:
                client.close()
    log.read_usage()
    return log
