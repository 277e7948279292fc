"""Statements that the two databases write differently."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Table, cast, func
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

BATCH = 256
"""Most rows in one statement."""


def insert(conn: AsyncConnection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """An INSERT that knows ON CONFLICT."""
    return _insert(conn.dialect.name, table)


async def upsert(conn: AsyncConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, over those with the same primary key."""
    if rows:
        await conn.execute(_upsert(conn.dialect.name, table), rows)


def whole(conn: AsyncConnection, number: ColumnElement[Any]) -> ColumnElement[int]:
    """A number that is not negative, without its fraction."""
    if conn.dialect.name == "sqlite":
        return cast(number, BigInteger)
    # A cast would round.
    return cast(func.floor(number), BigInteger)


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Parts of a sequence, filled up with their last item to a power of two.

    PostgreSQL prepares each statement by its text, so there should be few texts. Only for
    statements to which an item that comes twice makes no difference.
    """
    for start in range(0, len(items), BATCH):
        part = items[start : start + BATCH]
        size = 1 << (len(part) - 1).bit_length()
        yield [*part, *[part[-1]] * (size - len(part))]


@cache
def _insert(dialect: str, table: Table) -> "postgresql.Insert | sqlite.Insert":
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache
def _upsert(dialect: str, table: Table) -> "postgresql.Insert | sqlite.Insert":
    statement = _insert(dialect, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={
            column.name: statement.excluded[column.name]
            for column in table.columns
            if not column.primary_key
        },
    )
