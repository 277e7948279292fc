"""What the forecaster stores, a part at a time, and reads once when it begins."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from math import ceil, inf
from typing import Any, Protocol

import msgspec
import structlog

from autoscaling.fleet_planner import FLEET

Part = tuple[str, float, bytes]
"""Name, Unix time and body."""

FORMAT = 1
ROUND_S = 5.0
"""Seconds between two rounds of storing."""
GROUP_S = 300.0
"""Seconds after which a group is stored again, at the soonest."""
FLEET_S = 60.0
"""The same of what belongs to no group."""
LOAD_S = 10.0
"""How long what was stored is waited for."""
KEPT_S = 40 * 86400.0
"""Parts that nobody has renewed for so long are of groups that are gone."""
_FORGET_EVERY_S = 86400.0
_RETRY_S = 0.5
_MOST_BODY = 2**20
_MOST_STATE = 16 * 2**20

log = structlog.get_logger(__name__)


class Stateful(Protocol):
    """What is stored; see `FleetPlanner`."""

    def states(self) -> Iterable[str]:
        """Names of the parts."""
        ...

    def state(self, name: str) -> dict[str, Any]:
        """One of them, as plain data."""
        ...

    def restore(self, name: str, state: Mapping[str, Any]) -> list[str]:
        """Takes one of them back; what was of no use, and why."""
        ...


class Ledger(Protocol):
    """Where it is stored; see `LedgerModels`."""

    def save_forecasts(self, parts: list[Part]) -> Awaitable[None]:
        """Stores parts."""
        ...

    def load_forecasts(self, after: str) -> Awaitable[list[Part]]:
        """Parts behind a name, in the order of their names; none at the end."""
        ...

    def forget_forecasts(self, before: float) -> Awaitable[int]:
        """Removes what is older than a Unix time."""
        ...


class Checkpoints:
    """Stores the parts in turn, so that no round is long.

    Args:
        planner: what is stored.
        ledger: where.
    """

    def __init__(self, planner: Stateful, ledger: Ledger) -> None:
        self._planner = planner
        self._ledger = ledger
        self._saved: dict[str, float] = {}
        self._forgot = -inf
        self._failing = False

    async def load(self, limit_s: float = LOAD_S) -> None:
        """Reads what was stored. If the store is away for too long, it is done without.

        Args:
            limit_s: seconds to wait.
        """
        found, after = 0, ""
        try:
            async with asyncio.timeout(limit_s):
                while page := await self._page(after):
                    after = page[-1][0]
                    found += sum(self._restore(name, body) for name, _, body in page)
        except TimeoutError:
            log.warning("the forecaster begins without all that was stored", found=found)
            return
        log.info("the forecaster goes on with what was stored", found=found)

    async def _page(self, after: str) -> list[Part]:
        while True:
            try:
                return await self._ledger.load_forecasts(after)
            except Exception as error:  # noqa: BLE001 - Ray raises whatever the ledger did, and more
                log.warning("waiting for what was stored", error=type(error).__name__)
                await asyncio.sleep(_RETRY_S)

    def _restore(self, name: str, body: bytes) -> bool:
        try:
            left_out = self._planner.restore(name, unpacked(body))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others are good
            log.warning("what was stored is of no use", part=name, error=str(error)[:200])
            return False
        for each in left_out[:8]:
            log.warning("something that was stored is of no use", part=name, error=each[:200])
        return True

    async def save(self, now: float, wall: float) -> int:
        """Stores the parts whose turn it is.

        Args:
            now: the time, in monotonic seconds.
            wall: Unix time.

        Returns:
            How many were stored.
        """
        parts, names = [], self._due(now)
        for name in names:
            # The state is of one moment; packing it may take a while.
            state = self._planner.state(name)
            try:
                body = await asyncio.to_thread(packed, state)
            except (TypeError, ValueError, OverflowError) as error:
                log.warning("a part cannot be stored", part=name, error=str(error)[:200])
                continue
            parts.append((name, wall, body))
        try:
            if parts:
                await asyncio.wait_for(self._ledger.save_forecasts(parts), LOAD_S)
            if now - self._forgot >= _FORGET_EVERY_S:
                await asyncio.wait_for(self._ledger.forget_forecasts(wall - KEPT_S), LOAD_S)
                self._forgot = now
        except Exception as error:  # noqa: BLE001 - Ray raises whatever the ledger did, and more
            if not self._failing:
                log.warning("the forecaster's state is not stored", error=type(error).__name__)
            self._failing = True
            return 0
        self._failing = False
        self._saved |= dict.fromkeys(names, now)
        return len(parts)

    async def save_forever(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        """Stores round after round.

        Args:
            clock: monotonic seconds.
            wall: Unix time.
        """
        while True:
            await asyncio.sleep(ROUND_S)
            await self.save(clock(), wall())

    def _due(self, now: float) -> list[str]:
        names = list(self._planner.states())
        self._saved = {name: self._saved[name] for name in names if name in self._saved}
        due = [
            name
            for name in names
            if now - self._saved.get(name, -inf) >= (FLEET_S if name == FLEET else GROUP_S)
        ]
        due.sort(key=lambda name: (name != FLEET, self._saved.get(name, -inf)))
        return due[: 1 + ceil(len(names) * ROUND_S / GROUP_S)]


def packed(state: Mapping[str, Any]) -> bytes:
    """A state as it is stored.

    Raises:
        TypeError: it holds something that is no plain data.
        ValueError: it is longer than a row of the store may be.
    """
    body = zlib.compress(msgspec.msgpack.encode({"format": FORMAT, "state": state}), 1)
    if len(body) > _MOST_BODY:
        raise ValueError(f"it has {len(body):,} bytes, at most {_MOST_BODY:,} are stored")
    return body


def unpacked(body: bytes) -> dict[str, Any]:
    """A state that was stored.

    Raises:
        ValueError: it is none, or of another format.
    """
    reader = zlib.decompressobj()
    try:
        raw = reader.decompress(body, _MOST_STATE)
    except zlib.error as error:
        raise ValueError(f"it cannot be read: {error}") from None
    if not reader.eof:
        raise ValueError(f"it is cut off, or has more than {_MOST_STATE:,} bytes")
    document = msgspec.msgpack.decode(raw)
    state = document.get("state") if isinstance(document, dict) else None
    if not isinstance(state, dict) or document.get("format") != FORMAT:
        raise ValueError(f"it is no state of format {FORMAT}")
    return state
