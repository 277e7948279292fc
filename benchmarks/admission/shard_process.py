"""Ledger shards as processes: ``python -m benchmarks.admission.shard_process CONFIG SHARD``.

The process that is started has everything imported, and forks a ledger whenever it is told to: a
ledger can be killed and started many times without importing anything again. It ends, and its
ledger with it, once whoever started it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import msgspec
import structlog
import uvloop

from app.config import FleetConfig, parse_config
from deployments.ledger_shard import LedgerShard
from deployments.wire import Endpoint

__all__ = ["ShardProcess"]

_START_S = 60.0


class _Started(msgspec.Struct):
    pid: int
    endpoint: Endpoint


class ShardProcess:
    """A shard in a process of its own, to be killed.

    Args:
        config: file with the fleet's configuration as JSON.
        shard: its number.
    """

    def __init__(self, config: Path, shard: int = 0) -> None:
        self._arguments = ("-m", "benchmarks.admission.shard_process", str(config), str(shard))
        self._nursery: asyncio.subprocess.Process | None = None
        self._pid: int | None = None

    async def start(self) -> Endpoint:
        if self._nursery is None:
            self._nursery = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(b"s")
        started = msgspec.json.decode(await self._line(), type=_Started)
        self._pid = started.pid
        return started.endpoint

    async def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = None
            # That it is dead.
            await self._line()

    async def close(self) -> None:
        """Kills the ledger and ends what it was forked from."""
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            if self._pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                self._pid = None
            assert nursery.stdin is not None
            nursery.stdin.close()
            await nursery.communicate()

    async def _line(self) -> bytes:
        assert self._nursery is not None
        assert self._nursery.stdout is not None
        line = await asyncio.wait_for(self._nursery.stdout.readline(), _START_S)
        if not line:
            raise RuntimeError("the ledger did not start; its errors are above")
        return line


def _say(message: bytes) -> None:
    os.write(1, message + b"\n")


async def _serve(config: FleetConfig, shard: int) -> None:
    ledger = LedgerShard(config, shard)
    endpoint = await ledger.start("127.0.0.1")
    _say(msgspec.json.encode(_Started(os.getpid(), endpoint)))
    loop = asyncio.get_running_loop()
    # Ends when the other side of the pipe is closed: nothing is written to it meanwhile.
    gone = loop.run_in_executor(None, os.read, 0, 1)
    while not gone.done():
        ledger.check()
        await asyncio.wait([gone], timeout=0.1)
    await ledger.close()


def _main(config: FleetConfig, shard: int) -> NoReturn:
    while os.read(0, 1):
        child = os.fork()
        if not child:
            uvloop.run(_serve(config, shard))
            os._exit(0)
        os.waitpid(child, 0)
        with contextlib.suppress(BrokenPipeError):
            _say(b"gone")
    sys.exit()


if __name__ == "__main__":
    # Standard output is for the endpoints alone.
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    _main(parse_config(json.loads(Path(sys.argv[1]).read_text())), int(sys.argv[2]))
