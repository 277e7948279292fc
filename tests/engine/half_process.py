"""One engine of a disaggregated pool in a process of its own; see `halves.py`.

Writes a line of JSON for each line that it reads, the first for its endpoint; ends with its input.
"""

import asyncio
import json
import os
import sys
from typing import Any

import msgspec

from app.config import Role, parse_config
from deployments.engine_args import check_sides, engine_args
from deployments.engine_host import EngineHost


async def main(args: dict[str, Any], role: Role) -> None:
    config = parse_config(args)
    pool = config.pools[0].side(role)
    engine = engine_args(
        config.model(pool.model), pool, config.zones[pool.zone], config.fairness, role
    ).create_engine_config()
    check_sides(engine, pool)
    host = EngineHost(engine, pool.zone)
    say(msgspec.to_builtins(await host.start("127.0.0.1")))
    loop = asyncio.get_running_loop()
    draining: set[asyncio.Task[bool]] = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["drain", seconds]:
                draining.add(loop.create_task(host.drain(float(seconds))))
        scheduler = host.scheduler
        say(
            host.counts()
            | {
                "kv_usage": host.load().kv_usage,
                "live": host.live_requests,
                "requests": len(scheduler.requests),
            }
        )
    await host.close()


def say(message: dict[str, Any]) -> None:
    OUT.write(json.dumps(message) + "\n")
    OUT.flush()


if __name__ == "__main__":
    # What others print is not an answer.
    OUT = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    asyncio.run(main(json.loads(sys.argv[1]), Role(sys.argv[2])))
