"""What the ledger keeps of models: their starts, their versions, and what befell them."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.audit.events import AuditEvent, EventKind
from app.store import starts
from app.store.database import Database

KINDS = frozenset({EventKind.MODEL, EventKind.REPLICA})
"""Kinds of events that the keeper may have recorded."""
MOST_TEXT = 500

Record = Callable[[Sequence[AuditEvent], float], Awaitable[None]]
"""Adds events to the audit log, at a time."""


class LedgerModels:
    """The keeper's way to the store and to the audit log.

    Args:
        database: the store.
        record: adds events to the log.
        clock: Unix time, in seconds.
    """

    def __init__(self, database: Database, record: Record, clock: Callable[[], float]) -> None:
        self._database = database
        self._record = record
        self._clock = clock

    async def recall_starts(self, model: str, hardware: str) -> list[dict[str, Any]]:
        """The stages of a model's last starts on some hardware, oldest first.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        async with self._database.read() as conn:
            return await starts.recent_starts(conn, model, hardware)

    async def remember_starts(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Stores stages of a start.

        Args:
            rows: as `StagedStart.rows` gives them.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        if rows:
            async with self._database.begin() as conn:
                await starts.remember_starts(conn, rows)

    async def model_versions(self) -> dict[str, int]:
        """The highest signed version of each model that was ever loaded.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        async with self._database.read() as conn:
            return await starts.versions(conn)

    async def raise_version(self, model: str, version: int) -> int:
        """Stores that a version was loaded.

        Returns:
            The highest one of the model that ever was.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        async with self._database.begin() as conn:
            return await starts.raise_version(conn, model, version)

    async def security_event(
        self, kind: str, detail: Mapping[str, str | int | float | bool]
    ) -> None:
        """Adds an event to the audit log.

        Args:
            kind: `model` for weights that were refused and for anomalies, `replica` for recycling.
            detail: names and numbers; long texts are cut.

        Raises:
            ValueError: there is no such kind, or it is not the keeper's.
            StoreUnavailable: the store cannot be written.
            Fenced: another ledger has taken over.
        """
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of event that can be recorded here: {KINDS}")
        event = AuditEvent(
            id=uuid.uuid4().hex,
            at=self._clock(),
            kind=EventKind(kind),
            detail={
                name: value[:MOST_TEXT] if isinstance(value, str) else value
                for name, value in detail.items()
            },
        )
        await self._record([event], self._clock())
