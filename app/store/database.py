"""One way into the store, the same on SQLite and PostgreSQL."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiosqlite
from sqlalchemy import URL, Connection, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from app.errors import Conflict, StoreUnavailable
from app.store.faults import DRIVER_ERRORS, translate
from app.store.url import described, parse_url, sqlite_file

BUSY_S = 5.0
"""How long a transaction waits for another one's locks."""
STATEMENT_S = 10.0
"""How long one statement may take."""
NO_ANSWER_S = 5.0
"""How much longer an answer is waited for from a server that should have given up itself."""
CONNECT_S = 5.0
"""How long connecting may take."""

_READ = "tidegate_read"
# RETURNING and upserts as they are written here.
_OLDEST_SQLITE = (3, 35, 0)


class Database:
    """Transactions on the store.

    A store that goes away makes transactions fail with StoreUnavailable; as soon as it is back
    they work again. Several tasks may use one Database; each transaction is one task's.

    Args:
        url: as `store.url` in the configuration.
        statement_s: how long one statement may take, on PostgreSQL; 0 for no bound.
        wait_s: how long a transaction waits for another one's locks.

    Raises:
        ConfigError: the address is no store that is known here.
    """

    def __init__(
        self, url: str, *, statement_s: float = STATEMENT_S, wait_s: float = BUSY_S
    ) -> None:
        self.url: URL = parse_url(url)
        self.description = described(self.url)
        """The store in words that may be shown."""
        self._statement_s = statement_s
        self._wait_s = wait_s
        self._engine: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        # SQLite has one writer. Tasks of this process queue up here, in order, rather than poll
        # the file's lock.
        self._one_writer = asyncio.Lock() if self.url.get_backend_name() == "sqlite" else None

    async def start(self) -> None:
        """Make what is needed to connect; connecting itself waits for the first transaction."""
        if self._engine is not None:
            return
        if (file := sqlite_file(self.url)) is not None:
            self._make_file(file)
        self._engine = (
            _postgresql_engine(self.url, self._statement_s, self._wait_s)
            if self._one_writer is None
            else _sqlite_engine(self.url, self._wait_s)
        )
        options: dict[str, Any] = {_READ: True}
        if self._one_writer is None:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self._engine.execution_options(**options)

    async def close(self) -> None:
        """Close all connections."""
        engine, self._engine, self._reader = self._engine, None, None
        if engine is not None:
            await engine.dispose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that may write; committed at the end of the block, or rolled back.

        Raises:
            StoreUnavailable: the store cannot be used; nothing was written, or, if the connection
                went while committing, nobody can know: what is written must bear being repeated.
            Conflict: what was written collides with what is stored.
        """
        async with self._one_writer or nullcontext(), self._transaction(self._engine) as conn:
            yield conn

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """One transaction that only reads, all of it as of one moment; delays no writer.

        Raises:
            StoreUnavailable: the store cannot be used.
        """
        async with self._transaction(self._reader) as conn:
            yield conn

    async def ping(self) -> None:
        """Prove that the store answers.

        Raises:
            StoreUnavailable: it does not.
        """
        async with self.read() as conn:
            await conn.execute(text("SELECT 1"))

    @asynccontextmanager
    async def _transaction(self, engine: AsyncEngine | None) -> AsyncIterator[AsyncConnection]:
        if engine is None:
            raise StoreUnavailable(f"the store ({self.description}) is not open")
        try:
            async with engine.begin() as conn:
                yield conn
        except DRIVER_ERRORS as error:
            meaning = translate(error, self.description)
            if meaning is None:
                raise
            # PostgreSQL tells the values that collide; they are nobody else's business.
            raise meaning from (None if isinstance(meaning, Conflict) else error)

    def _make_file(self, file: Path) -> None:
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreUnavailable(
                f"the store ({self.description}) cannot be opened: {error.strerror}"
            ) from error


def _sqlite_engine(url: URL, wait_s: float) -> AsyncEngine:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise StoreUnavailable(
            f"SQLite {sqlite3.sqlite_version} is too old: Python needs one of {oldest} or newer"
        )
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=3,
        max_overflow=1,
        pool_timeout=BUSY_S,
        connect_args={"timeout": wait_s, "async_creator_fn": _connect_sqlite},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by itself, deferred and too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "wal_autocheckpoint=1000",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that began as a reader could not wait for another writer: SQLite refuses it at
        # once.
        reads = connection.get_execution_options().get(_READ)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


class _SqliteConnection(aiosqlite.Connection):
    """A connection that ends its transaction before it closes.

    When a task is cancelled in the middle of a statement, its connection is closed. SQLite keeps a
    closed connection's transaction, and with it the only writer's lock, for as long as a cursor
    refers to it, and the traceback does.
    """

    async def close(self) -> None:
        # The driver's ValueError means that it is closed already.
        with contextlib.suppress(sqlite3.Error, ValueError):
            await self.rollback()
        await super().close()


def _connect_sqlite(file: str, **options: Any) -> _SqliteConnection:
    connection = _SqliteConnection(lambda: sqlite3.connect(file, **options), iter_chunk_size=64)
    # As SQLAlchemy does with connections it makes itself: one that was not closed must not keep
    # the process from ending.
    connection._thread.daemon = True  # noqa: SLF001
    return connection


def _postgresql_engine(url: URL, statement_s: float, wait_s: float) -> AsyncEngine:
    engine = create_async_engine(
        url,
        hide_parameters=True,
        pool_size=4,
        max_overflow=2,
        pool_timeout=BUSY_S,
        pool_use_lifo=True,
        connect_args={
            "timeout": CONNECT_S,
            # Beyond the server's own bound: for a server that does not answer at all.
            "command_timeout": statement_s + NO_ANSWER_S if statement_s else None,
            "server_settings": {
                "application_name": "tidegate",
                "statement_timeout": str(int(statement_s * 1000)),
                "lock_timeout": str(int(wait_s * 1000)),
                # A frozen process must not keep its locks.
                "idle_in_transaction_session_timeout": "30000",
                # Costs more than it gives for statements of this size.
                "jit": "off",
            },
        },
    )

    @event.listens_for(engine.sync_engine, "checkout")
    def reconnect(connection: Any, _: ConnectionPoolEntry, __: object) -> None:
        # After a restart of the server the first transaction shall not fail on a connection that
        # is known to be closed. Unlike a ping this costs no round trip.
        if connection.driver_connection.is_closed():
            raise DisconnectionError

    return engine
