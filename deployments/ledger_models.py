"""What the ledger keeps of models: their starts and versions, what befell them, their demand."""

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.audit.events import AuditEvent, EventKind
from app.store import forecasts, starts
from app.store.database import Database

KINDS = frozenset({EventKind.MODEL, EventKind.REPLICA})
"""Kinds of events that the keeper may have recorded."""
MOST_TEXT = 500
PAGE_BYTES = 4 * 2**20
"""Of the forecaster's parts in one answer."""

Record = Callable[[Sequence[AuditEvent], float], Awaitable[None]]
"""Adds events to the audit log, at a time."""


class LedgerModels:
    """The way of the keeper and the forecaster to the store and to the audit log.

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

    async def save_forecasts(self, parts: Sequence[tuple[str, float, bytes]]) -> None:
        """Stores parts of what the forecaster is to go on with.

        Args:
            parts: name, Unix time and body of each, see `app.store.forecasts`.

        Raises:
            TooLarge: one is longer than a row may be.
            StoreUnavailable: the store cannot be written.
        """
        async with self._database.begin() as conn:
            await forecasts.save_forecasts(conn, parts)

    async def load_forecasts(self, after: str = "") -> list[tuple[str, float, bytes]]:
        """What was stored, a page of it: name, Unix time and body of each part.

        Args:
            after: the last name of the page before.

        Raises:
            StoreUnavailable: the store cannot be read.
        """
        async with self._database.read() as conn:
            return await forecasts.list_forecasts(conn, after, PAGE_BYTES)

    async def forget_forecasts(self, before: float) -> int:
        """Removes parts that are older than a Unix time; says how many there were.

        Raises:
            StoreUnavailable: the store cannot be written.
        """
        async with self._database.begin() as conn:
            return await forecasts.forget_forecasts(conn, before)

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
