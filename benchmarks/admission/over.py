"""Over-admission: several gateways offer many times what a tenant may use."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.admission.exchange import Account
from app.errors import Limited
from benchmarks.admission.setup import ZONE, Gateway, configure, gateway, settlement, until
from benchmarks.admission.shard_process import ShardProcess

__all__ = ["OverResult", "most_past", "over"]

_LEAST, _MOST = 50, 400
_USERS = 20


@dataclass(frozen=True, slots=True)
class OverResult:
    """What was offered, let in and used; ``past`` must be 0 or less.

    Attributes:
        past: tokens beyond limit x burst + rate x time, in the worst of all windows of time.
        share: of what the limit would have allowed in the whole time, how much was used.
    """

    gateways: int
    seconds: float
    limit_per_minute: int
    offered_tokens: int
    admitted_requests: int
    refused_requests: int
    used_tokens: int
    past: float
    share: float


def most_past(uses: Sequence[tuple[float, int]], capacity: float, rate: float) -> float:
    """Tokens used beyond ``capacity + rate * seconds`` in the worst window; negative for none.

    Args:
        uses: time in seconds and tokens of each use, in any order.
        capacity: what may be used at once.
        rate: tokens a second.
    """
    worst, least, total = -capacity, float("inf"), 0
    for at, tokens in sorted(uses):
        least = min(least, total - rate * at)
        total += tokens
        worst = max(worst, total - rate * at - least - capacity)
    return worst


async def over(
    folder: Path,
    *,
    gateways: int = 4,
    factor: float = 10.0,
    seconds: float = 30.0,
    limit: int = 50_000,
    url: str | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> OverResult:
    """Offers ``factor`` times a tenant's limit over several gateways.

    Args:
        folder: for the store and the journals.
        gateways: how many.
        factor: offered tokens, in multiples of the limit.
        seconds: how long.
        limit: the tenant's tokens a minute.
        url: of another store than SQLite.
        progress: told the share that is done.
    """
    # Its users alone could use more than the tenant may: the tenant's limit is the one met.
    config, file = configure(
        folder,
        url,
        limits={
            "tenant_tokens_per_minute": limit,
            "user_tokens_per_minute": limit,
            "user_tokens_per_hour": 60 * limit,
        },
    )
    process = ShardProcess(file)
    endpoint = await process.start()
    uses: list[tuple[float, int]] = []
    counts = {"offered": 0, "admitted": 0, "refused": 0}
    chance = random.Random(1)

    async def request(side: Gateway) -> None:
        account = Account("acme", f"user-{chance.randrange(_USERS)}", "key")
        tokens = chance.randint(_LEAST, _MOST)
        name = secrets.token_hex(16)
        counts["offered"] += tokens
        try:
            await side.client.reserve(account, tokens, 0, large=False, zone=ZONE, request_id=name)
        except Limited:
            counts["refused"] += 1
            return
        counts["admitted"] += 1
        at = time.monotonic()
        if chance.random() < 0.1:
            # The client has gone before anything was computed.
            side.client.release(name)
            return
        used = tokens if chance.random() < 0.5 else chance.randint(1, tokens)
        uses.append((at, used))
        await asyncio.sleep(chance.random() * 0.2)
        side.client.settle(settlement(name, account, used, 0))

    per_second = factor * limit / 60 / ((_LEAST + _MOST) / 2)
    try:
        async with contextlib.AsyncExitStack() as stack:
            sides = [
                await stack.enter_async_context(gateway(config, endpoint)) for _ in range(gateways)
            ]
            await until(lambda: all(side.client.ready for side in sides))
            begin, sent = time.monotonic(), 0
            async with asyncio.TaskGroup() as group:
                while (gone := time.monotonic() - begin) < seconds:
                    while sent < gone * per_second:
                        group.create_task(request(sides[sent % gateways]))
                        sent += 1
                    progress(gone / seconds)
                    await asyncio.sleep(0.005)
    finally:
        await process.close()
    capacity, rate = limit * config.limits.burst, limit / 60
    used = sum(tokens for _, tokens in uses)
    return OverResult(
        gateways=gateways,
        seconds=seconds,
        limit_per_minute=limit,
        offered_tokens=counts["offered"],
        admitted_requests=counts["admitted"],
        refused_requests=counts["refused"],
        used_tokens=used,
        past=most_past(uses, capacity, rate),
        share=used / (capacity + rate * seconds),
    )
