"""Numbers that tell others when their copies are old."""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import insert
from app.store.tables import versions


class Version(StrEnum):
    """What copies are kept of."""

    DIRECTORY = "directory"
    """Keys; a key carries the value at its last change."""
    LIMITS = "limits"
    """Limits and budgets."""
    PEOPLE = "people"
    """Which subject stands for which user: raised when a user is forgotten."""
    TENANTS = "tenants"
    """Tenants and their weights."""


async def bump(conn: AsyncConnection, name: Version) -> int:
    """Raise a version by one and return it.

    The row stays locked until the transaction ends, so that versions become visible in their
    order: whoever has read one has seen every change before it.
    """
    statement = insert(conn, versions).values(name=name.value, value=1)
    statement = statement.on_conflict_do_update(
        index_elements=[versions.c.name], set_={"value": versions.c.value + 1}
    )
    return int((await conn.execute(statement.returning(versions.c.value))).scalar_one())


async def current(conn: AsyncConnection) -> Mapping[Version, int]:
    """All versions; 0 where nothing has been written yet."""
    found = {row.name: int(row.value) for row in await conn.execute(select(versions))}
    return {name: found.get(name.value, 0) for name in Version}
