"""What reserving and settling costs a request at its gateway."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app.admission.exchange import Account
from benchmarks.admission.setup import ZONE, configure, gateway, settlement, until
from benchmarks.admission.shard_process import ShardProcess
from benchmarks.gateway.stats import quantiles

__all__ = ["LatencyResult", "latency"]

_WARM_S = 2.0
_KEYS = 4


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """Milliseconds of reserve + settle a request, p50, p95 and p99.

    Attributes:
        leased: while the key has a lease, as every busy key has.
        first: the first request of a key, which asks the ledger and waits for its disk.
        asked: requests among the leased that had to wait for the ledger all the same.
    """

    requests: int
    per_second: float
    asked: int
    leased: dict[str, float]
    first: dict[str, float]


async def latency(
    folder: Path,
    *,
    seconds: float = 20.0,
    per_second: float = 300.0,
    url: str | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> LatencyResult:
    """Measures reserve + settle, one request after another, with the ledger on the same machine.

    Args:
        folder: for the store and the journals.
        seconds: how long.
        per_second: requests offered by the one gateway.
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
        budgets={"tenant_day": 10**12},
    )
    process = ShardProcess(file)
    leased: list[float] = []
    first: list[float] = []

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(process.close)
        side = await stack.enter_async_context(gateway(config, await process.start()))
        await until(lambda: side.client.ready)

        async def once(account: Account) -> float:
            name = secrets.token_hex(16)
            begin = time.perf_counter()
            await side.client.reserve(account, 300, 20, large=False, zone=ZONE, request_id=name)
            reserved = time.perf_counter() - begin
            # The request itself takes its time; others go on meanwhile.
            await asyncio.sleep(0)
            used = settlement(name, account, 250, 15)
            begin = time.perf_counter()
            side.client.settle(used)
            return reserved + time.perf_counter() - begin

        for number in range(100):
            cost = await once(Account("acme", f"new-{number}", f"new-{number}"))
            first.append(cost)
        accounts = [Account("acme", f"user-{n}", f"key-{n}") for n in range(_KEYS)]
        start, sent = time.monotonic(), 0
        while (gone := time.monotonic() - start) < seconds + _WARM_S:
            while sent < gone * per_second:
                cost = await once(accounts[sent % _KEYS])
                sent += 1
                if gone > _WARM_S:
                    leased.append(cost)
            progress(gone / (seconds + _WARM_S))
            await asyncio.sleep(0.0005)
    return LatencyResult(
        requests=len(leased),
        per_second=per_second,
        # Nothing else takes longer than a round trip with a transaction in it.
        asked=sum(cost > 0.0015 for cost in leased),
        leased=quantiles(leased, 1000.0),
        first=quantiles(first, 1000.0),
    )
