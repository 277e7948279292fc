"""A stream to whichever of a deployment's replicas is the newest, opened again and again."""

import asyncio
from collections.abc import Callable, Mapping

import structlog

from app.errors import ReplicaUnreachable
from deployments.wire import Connection, Endpoint, Kind, connect

Members = Mapping[str, Endpoint]
"""Endpoints by replica id, as `deployments.membership` has them, but without Ray."""

_RECONNECT_S = (0.05, 0.1, 0.25, 0.5, 1.0)

log = structlog.get_logger(__name__)


class MemberStream:
    """Keeps one stream open while there is a member.

    A ledger has one replica, and two while one takes over from the other: the newest is the one
    to talk to, and the others are tried where it does not answer.

    Args:
        name: for the log.
        timeout_s: how long connecting may take, in seconds.
        on_frame: called with each frame.
        on_open: called with each new connection.
        on_lost: called when it has ended.
    """

    def __init__(
        self,
        name: str,
        timeout_s: float,
        *,
        on_frame: Callable[[Connection, Kind, list[memoryview]], None],
        on_open: Callable[[Connection], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._name = name
        self._timeout_s = timeout_s
        self._on_frame = on_frame
        self._on_open = on_open
        self._on_lost = on_lost
        self._members: Members = {}
        self._target: str | None = None
        self._changed = asyncio.Event()
        self._fruitless = 0
        self._task: asyncio.Task[None] | None = None
        self.connection: Connection | None = None
        """The stream, while it is open."""

    def start(self) -> None:
        """Begins to connect."""
        self._task = asyncio.get_running_loop().create_task(self._stay_connected())

    def set_members(self, members: Members) -> None:
        """Takes the list of running replicas."""
        new = [name for name in members if name not in self._members]
        self._members = dict(members)
        if new:
            self._target = new[-1]
        elif self._target not in members:
            self._target = next(iter(members), None)
        self._changed.set()

    def answered(self) -> None:
        """The other side does its work: if it is lost, it is tried again at once."""
        self._fruitless = 0

    async def close(self) -> None:
        """Ends the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _stay_connected(self) -> None:
        while True:
            self._changed.clear()
            endpoint = self._members.get(self._target) if self._target is not None else None
            if endpoint is None:
                await self._changed.wait()
                continue
            if self._fruitless and await self._changed_within(
                _RECONNECT_S[min(self._fruitless, len(_RECONNECT_S)) - 1]
            ):
                self._fruitless = 0
                continue
            # Only an answer shows that it was worth it.
            self._fruitless += 1
            tried = self._target
            await self._be_connected(endpoint)
            names = list(self._members)
            if self._target != tried:
                self._fruitless = 0
            elif tried in names:
                self._target = names[(names.index(tried) + 1) % len(names)]

    async def _be_connected(self, endpoint: Endpoint) -> None:
        gone = asyncio.Event()
        try:
            connection = await connect(
                endpoint, self._on_frame, lambda _: gone.set(), timeout_s=self._timeout_s
            )
        except ReplicaUnreachable as error:
            log.warning("unreachable", member=self._name, error=str(error))
            return
        self.connection = connection
        log.info("connected", member=self._name)
        try:
            self._on_open(connection)
            while not gone.is_set() and self._members.get(self._target or "") == endpoint:
                self._changed.clear()
                await _either(gone, self._changed)
        finally:
            self.connection = None
            connection.close()
            self._on_lost()

    async def _changed_within(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    tasks = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
