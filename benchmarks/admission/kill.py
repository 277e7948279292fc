"""Killing the ledger under load: is any settled usage lost, or counted twice?"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select

from app.admission.exchange import Account
from app.errors import Limited, Unavailable
from app.store.database import Database
from app.store.tables import spending, usage
from benchmarks.admission.setup import ZONE, Gateway, configure, gateway, settlement, until
from benchmarks.admission.shard_process import ShardProcess

__all__ = ["KillResult", "kill"]

_TENANTS = 5


@dataclass(frozen=True, slots=True)
class KillResult:
    """What was settled at the gateways, and what the store has of it.

    Attributes:
        refused: requests that were not let in, because the ledger was away.
        lost: settlements that the store does not have.
        twice: micro-dollars that it counts beyond those settled, in usage or in budgets.
        missing_micros: micro-dollars settled that its budgets do not count.
    """

    kills: int
    seconds: float
    settled: int
    refused: int
    micros: int
    lost: int
    twice: int
    missing_micros: int


async def kill(  # noqa: PLR0915 - one story from beginning to end
    folder: Path,
    *,
    kills: int = 50,
    gateways: int = 4,
    per_second: float = 200.0,
    pause_s: float = 0.4,
    url: str | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> KillResult:
    """Kills the ledger again and again while gateways reserve and settle.

    Args:
        folder: for the store and the journals.
        kills: how often.
        gateways: how many.
        per_second: requests of all gateways together.
        pause_s: about how long a ledger lives once it is ready.
        url: of another store than SQLite.
        progress: told the share that is done.
    """
    plenty = 10**9
    config, file = configure(
        folder,
        url,
        limits={
            "tenant_tokens_per_minute": plenty,
            "user_tokens_per_minute": plenty,
            "user_tokens_per_hour": plenty,
        },
        # Without a budget nothing would be counted against one.
        budgets={"tenant_day": 10**12},
        ledger={"timeout_s": 1.0},
    )
    chance = random.Random(2)
    settled: dict[str, int] = {}
    refused = 0

    async def request(side: Gateway) -> None:
        nonlocal refused
        account = Account(f"tenant-{chance.randrange(_TENANTS)}", "user", "key")
        name = secrets.token_hex(16)
        try:
            await side.client.reserve(account, 100, 150, large=False, zone=ZONE, request_id=name)
        except (Limited, Unavailable):
            refused += 1
            return
        await asyncio.sleep(chance.random() * 0.3)
        if chance.random() < 0.1:
            side.client.release(name)
            return
        micros = chance.randint(1, 150)
        settled[name] = micros
        side.client.settle(settlement(name, account, chance.randint(1, 100), micros))

    process = ShardProcess(file)
    begin = time.monotonic()
    try:
        async with contextlib.AsyncExitStack() as stack:
            endpoint = await process.start()
            sides = [
                await stack.enter_async_context(gateway(config, endpoint)) for _ in range(gateways)
            ]
            stop = asyncio.Event()

            async def offer() -> None:
                sent, start = 0, time.monotonic()
                async with asyncio.TaskGroup() as group:
                    while not stop.is_set():
                        while sent < (time.monotonic() - start) * per_second:
                            group.create_task(request(sides[sent % gateways]))
                            sent += 1
                        await asyncio.sleep(0.005)

            load = asyncio.create_task(offer())
            for number in range(kills):
                await asyncio.sleep(pause_s * (0.25 + 1.5 * chance.random()))
                await process.kill()
                endpoint = await process.start()
                for side in sides:
                    side.moved(endpoint)
                progress((number + 1) / kills)
            await asyncio.sleep(pause_s)
            stop.set()
            await load
            await until(lambda: not any(side.client.undelivered for side in sides))
        seconds = time.monotonic() - begin
        stored, budgeted = await _stored(config.store.url)
    finally:
        await process.close()
    total = sum(settled.values())
    return KillResult(
        kills=kills,
        seconds=seconds,
        settled=len(settled),
        refused=refused,
        micros=total,
        lost=len(settled.keys() - stored.keys()),
        twice=max(0, sum(stored.values()) - total, budgeted - total),
        missing_micros=max(0, total - budgeted),
    )


async def _stored(url: str) -> tuple[dict[str, int], int]:
    """Micro-dollars by settlement, and those of all budgets."""
    async with Database(url) as database, database.read() as conn:
        rows = await conn.execute(select(usage.c.id, usage.c.micros))
        by_id = {row.id: int(row.micros) for row in rows}
        of_days = select(func.sum(spending.c.micros)).where(
            spending.c.key == "", spending.c.period == "day"
        )
        return by_id, int((await conn.execute(of_days)).scalar() or 0)
