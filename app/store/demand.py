"""What requests came to, one by one, in the order in which they ended."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import usage

PAGE = 10_000
"""Rows that are read at once, unless told otherwise."""

_COLUMNS = (
    usage.c.at,
    usage.c.id,
    usage.c.tenant,
    usage.c.zone,
    usage.c.model,
    usage.c.prompt_tokens,
    usage.c.output_tokens,
)


async def requests_by_time(
    conn: AsyncConnection,
    *,
    since: float | None = None,
    until: float | None = None,
    page: int = PAGE,
) -> AsyncIterator[Sequence[Any]]:
    """Usage of single requests, oldest first, some at a time.

    Args:
        conn: a transaction.
        since: not before this Unix time.
        until: before this Unix time.
        page: most rows at a time.

    Yields:
        Rows with `at` (Unix time of the end of the request), `id`, `tenant`, `zone`, `model`,
        `prompt_tokens` and `output_tokens`.
    """
    statement = select(*_COLUMNS).order_by(usage.c.at, usage.c.id).limit(page)
    if since is not None:
        statement = statement.where(usage.c.at >= since)
    if until is not None:
        statement = statement.where(usage.c.at < until)
    part = statement
    while rows := (await conn.execute(part)).all():
        yield rows
        if len(rows) < page:
            return
        at, last = rows[-1].at, rows[-1].id
        # By what the index knows: a count of rows to skip would read all of them again.
        part = statement.where(usage.c.at >= at).where(or_(usage.c.at > at, usage.c.id > last))
