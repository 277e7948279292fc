"""What the forecaster has stored to go on with after a restart."""

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import upsert
from app.store.tables import forecasts

MOST_BYTES = 2**20
"""In one row."""
MOST_NAME = 128
"""Characters of a name."""
_PAGE = 64


class TooLarge(ValueError):
    """A row would be longer than a row may be."""


async def save_forecasts(conn: AsyncConnection, parts: Sequence[tuple[str, float, bytes]]) -> None:
    """Store parts, each in place of what is stored under its name.

    Args:
        conn: a transaction.
        parts: name (1 to `MOST_NAME` characters), Unix time, and body (at most `MOST_BYTES`) of
            each.

    Raises:
        TooLarge: one is longer, or its name is; the message says by how much. None is stored.
    """
    for name, _, body in parts:
        if len(body) > MOST_BYTES:
            raise TooLarge(f"{name[:MOST_NAME]} has {len(body):,} bytes of at most {MOST_BYTES:,}")
        if not 0 < len(name) <= MOST_NAME:
            raise TooLarge(f"a name has {len(name)} characters, 1 to {MOST_NAME} are allowed")
    rows = [{"name": name, "at": at, "body": body} for name, at, body in parts]
    await upsert(conn, forecasts, rows)


async def list_forecasts(
    conn: AsyncConnection, after: str, most_bytes: int
) -> list[tuple[str, float, bytes]]:
    """Parts in the order of their names: name, Unix time and body of each.

    Args:
        conn: a transaction.
        after: only names behind this one.
        most_bytes: where to end; there is one part at least, if any is left.
    """
    statement = select(forecasts).where(forecasts.c.name > after).order_by(forecasts.c.name)
    found: list[tuple[str, float, bytes]] = []
    size = 0
    for row in await conn.execute(statement.limit(_PAGE)):
        size += len(row.body)
        if found and size > most_bytes:
            break
        found.append((row.name, row.at, bytes(row.body)))
    return found


async def forget_forecasts(conn: AsyncConnection, before: float) -> int:
    """Remove what nobody has renewed for long, such as that of pools that are gone.

    Args:
        conn: a transaction.
        before: Unix time; what is older goes.

    Returns:
        How many parts there were.
    """
    return (await conn.execute(delete(forecasts).where(forecasts.c.at < before))).rowcount
