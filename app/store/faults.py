"""What a driver's error means to whoever asked.

No message here repeats what a driver says: it may hold values. The driver's error stays the cause.
"""

import sqlite3

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import Conflict, StoreUnavailable, TidegateError

DRIVER_ERRORS: tuple[type[Exception], ...] = (
    SQLAlchemyError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)
"""All that a statement or a connection attempt may raise."""

# By SQLSTATE, or by the first two letters of it, which name the class.
_POSTGRES = {
    "08": "the connection was lost",
    "25006": "it is read-only: is this a replica?",
    "28": "it does not let us in: check user and password in store.url",
    "3D": "there is no such database: create it, or correct store.url",
    "40": "another writer was in the way; trying again helps",
    "42P01": "its tables are missing: it has not been migrated",
    "42501": "the user in store.url may not do this: grant it the rights",
    "53100": "its disk is full",
    "53300": "it has no connection left: raise max_connections",
    "53": "it is out of resources",
    "55P03": "another writer held it for too long",
    "57014": "a statement took too long and was cancelled",
    "57": "it is starting or shutting down",
    "58": "its disk failed",
}

# By SQLite's primary result code, the low byte of the extended one.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "another writer held it for too long",
    sqlite3.SQLITE_LOCKED: "another writer held it for too long",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only",
    sqlite3.SQLITE_IOERR: "its disk failed, or is full",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a copy",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the file may not be opened",
}


def translate(error: Exception, where: str) -> TidegateError | None:
    """Say what became of a statement.

    Args:
        error: one of :data:`DRIVER_ERRORS`.
        where: the store, in words that may be shown.

    Returns:
        The error to raise; None where the fault is ours: a statement that makes no sense.
    """
    driver = _driver_error(error)
    if isinstance(error, IntegrityError | sqlite3.IntegrityError):
        return Conflict("this collides with what is stored already: read it again, then try anew")
    if isinstance(driver, sqlite3.Error):
        return _from_sqlite(driver, where)
    state = getattr(driver, "sqlstate", None)
    if isinstance(state, str):
        reason = _POSTGRES.get(state) or _POSTGRES.get(state[:2])
        return None if reason is None else _unavailable(where, reason)
    if isinstance(driver, asyncpg.InterfaceError) and isinstance(driver, ValueError):
        # The driver could not put a value into the column's type.
        return None
    if isinstance(error, PoolTimeout):
        return _unavailable(where, "every connection is busy")
    if isinstance(driver, TimeoutError):
        return _unavailable(where, "it did not answer in time")
    if isinstance(driver, OSError):
        return _unavailable(where, "it cannot be reached")
    if isinstance(error, ProgrammingError) or not isinstance(error, DBAPIError):
        return None if isinstance(error, SQLAlchemyError) else _unavailable(where, "it went away")
    return _unavailable(where, "the connection was lost")


def _from_sqlite(error: sqlite3.Error, where: str) -> TidegateError | None:
    # The driver itself raises some without a code: on a connection that was closed, for example.
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return _unavailable(where, "the connection was lost")
    if (code & 0xFF) == sqlite3.SQLITE_ERROR:
        # Nothing but the text tells a missing table from a mistake in a statement.
        if "no such table" in str(error):
            return _unavailable(where, _POSTGRES["42P01"])
        return None
    reason = _SQLITE.get(code & 0xFF)
    return None if reason is None else _unavailable(where, reason)


def _unavailable(where: str, reason: str) -> StoreUnavailable:
    return StoreUnavailable(f"the store ({where}) cannot be used: {reason}")


def _driver_error(error: BaseException) -> BaseException:
    """The driver's own error below SQLAlchemy's wrapping."""
    seen = error
    if isinstance(seen, DBAPIError) and seen.orig is not None:
        seen = seen.orig
    if seen.__cause__ is not None and isinstance(
        seen.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError | sqlite3.Error | OSError
    ):
        seen = seen.__cause__
    return seen
