"""Demand from the store's own history: what requests came to is kept there, one by one."""

import asyncio
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from app.cli.replaying.demand import Demand, Kind
from app.cli.replaying.options import BIN_S
from app.errors import StoreUnavailable, TraceInvalid
from app.store.database import Database
from app.store.demand import requests_by_time
from app.store.migrate import check_version
from app.store.url import sqlite_file
from autoscaling.simulator.demand.own import of_columns
from autoscaling.simulator.terms import Ints

MOST_ROWS = 50_000_000
MOST_TOKENS = 10_000_000
"""Of one request; more is no request."""
_WHEN = (
    "The store keeps when a request ended, not when it came: demand is as much later here as "
    "answers took."
)


def read_store(
    url: str,
    *,
    since: float | None = None,
    until: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Demand:
    """Reads what a store knows of requests. Nothing is changed there.

    Args:
        url: As `store.url` in the configuration.
        since: Not before this Unix time.
        until: Before this Unix time.
        progress: Told how many rows have been read.

    Raises:
        ConfigError: The URL is no store that is known.
        StoreUnavailable: There is none, or it cannot be read.
        TraceInvalid: There is no request in it, too many, or one that makes no sense.
    """
    return asyncio.run(_read(url, since, until, progress or (lambda _: None)))


async def _read(
    url: str, since: float | None, until: float | None, progress: Callable[[int], None]
) -> Demand:
    database = Database(url)
    file = sqlite_file(database.url)
    if file is not None and not file.is_file():
        # Opening it would make an empty one.
        raise StoreUnavailable(f"there is no store at {file}: check the path")
    columns = _Columns(database.description)
    async with database, database.read() as conn:
        await check_version(conn)
        async for rows in requests_by_time(conn, since=since, until=until):
            columns.take(rows)
            progress(columns.read)
    return columns.demand()


class _Columns:
    """Rows of the store on their way to being columns."""

    __slots__ = (
        "_at", "_kind", "_kinds", "_output", "_prompt", "_source", "_tenant", "_tenants",
        "_unanswered", "_void", "read",
    )  # fmt: skip

    def __init__(self, source: str) -> None:
        self._source = source
        self._at, self._prompt, self._output = array("d"), array("i"), array("i")
        self._tenant, self._kind = array("i"), array("i")
        self._tenants: dict[str, int] = {}
        self._kinds: dict[Kind, int] = {}
        self._void = self._unanswered = self.read = 0

    def take(self, rows: Sequence[Any]) -> None:
        """Takes rows in the order of their time."""
        self.read += len(rows)
        if self.read > MOST_ROWS:
            raise TraceInvalid(
                self._source, 0, f"has more than {MOST_ROWS:,} requests: narrow them by --since"
            )
        for row in rows:
            prompt, output = int(row.prompt_tokens), int(row.output_tokens)
            if not (0 <= prompt <= MOST_TOKENS and 0 <= output <= MOST_TOKENS):
                raise TraceInvalid(
                    self._source,
                    0,
                    f"request {row.id} has {prompt:,} prompt and {output:,} output tokens: both "
                    f"must be from 0 to {MOST_TOKENS:,}; correct the row, or leave it out by "
                    "--since and --until",
                )
            if not prompt:
                self._void += 1
                continue
            self._unanswered += not output
            kind = Kind(row.zone, row.model)
            self._at.append(row.at)
            self._prompt.append(prompt)
            self._output.append(max(1, output))
            self._tenant.append(self._tenants.setdefault(row.tenant, len(self._tenants)))
            self._kind.append(self._kinds.setdefault(kind, len(self._kinds)))

    def demand(self) -> Demand:
        """All of it."""
        if not self._at:
            raise TraceInvalid(
                self._source, 0, "has no request of that time: check --since and --until"
            )
        notes = [_WHEN]
        if self._void:
            notes.append(f"{self._void:,} requests had no prompt token; they are left out.")
        if self._unanswered:
            notes.append(f"{self._unanswered:,} requests without output count as 1 output token.")
        found = of_columns(
            np.frombuffer(self._at, np.float64),
            _ints(self._tenant),
            tuple(self._tenants),
            _ints(self._prompt),
            _ints(self._output),
            what=self._source,
            window_s=BIN_S,
            notes=notes,
        )
        # Rows came by time, so that they are still in the order in which they were read.
        return Demand(
            source=self._source,
            start=found.origin_s,
            requests=found.requests,
            tenants=found.tenants,
            tenant=found.tenant,
            kinds=tuple(self._kinds),
            kind=_ints(self._kind),
            notes=found.notes,
        )


def _ints(values: "array[int]") -> Ints:
    return np.frombuffer(values, np.int32)
