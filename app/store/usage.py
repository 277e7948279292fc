"""What was used, summed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, delete, func, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import whole
from app.store.tables import usage, users

# A forgotten user appears as the subject that is left.
_USER = func.coalesce(users.c.name, usage.c.subject)

_GROUPS: dict[str, ColumnElement[Any]] = {
    "tenant": usage.c.tenant,
    "user": _USER,
    "key": usage.c.key,
    "model": usage.c.model,
    "pool": usage.c.pool,
    "zone": usage.c.zone,
    "route": usage.c.route,
    "size_class": usage.c.size_class,
    "tier": usage.c.tier,
    "outcome": usage.c.outcome,
}

GROUPS = tuple(_GROUPS)
"""What usage can be summed up by, and filtered by."""

INTERVALS: Mapping[str, int] = {"hour": 3600, "day": 86400}
"""Lengths of the intervals of time, in seconds; both start at full hours and days of UTC."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A sum.

    Attributes:
        group: what it is the sum of, by the names in :data:`GROUPS`.
        start: start of the interval as Unix time; None without intervals.
        requests: how many.
        prompt_tokens: of all of them.
        output_tokens: of all of them.
        micros: their price in micro-dollars.
    """

    group: dict[str, str]
    start: int | None
    requests: int
    prompt_tokens: int
    output_tokens: int
    micros: int


async def summarise(
    conn: AsyncConnection,
    *,
    by: Sequence[str] = (),
    interval: str | None = None,
    where: Mapping[str, str] | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int = 1000,
) -> list[UsageRow]:
    """Sum usage up.

    Args:
        conn: a transaction.
        by: names in :data:`GROUPS`; one sum of everything without any.
        interval: `hour` or `day`, for a row each; None for the whole time.
        where: what it must be, by names in :data:`GROUPS`. A user is named as it is called, or by
            its subject once it is forgotten.
        since: not before this Unix time.
        until: before this Unix time.
        limit: at most so many rows, the dearest first; with an interval, the earliest first.

    Raises:
        KeyError: a name in none of the tables above.
    """
    columns = [_GROUPS[name].label(f"by_{name}") for name in by]
    sums = [
        func.count().label("requests"),
        *(
            func.coalesce(func.sum(usage.c[name]), 0).label(name)
            for name in ("prompt_tokens", "output_tokens", "micros")
        ),
    ]
    start: ColumnElement[int] | None = None
    if interval is not None:
        # Written out: PostgreSQL takes two parameters for two expressions, and refuses to group.
        length = literal_column(str(INTERVALS[interval]), Integer)
        start = (whole(conn, usage.c.at / length) * length).label("start")
    groups = columns if start is None else [start, *columns]
    joined = usage.outerjoin(
        users, (users.c.subject == usage.c.subject) & (users.c.tenant == usage.c.tenant)
    )
    statement = select(*groups, *sums).select_from(joined)
    statement = statement.where(*_conditions(where or {}, since, until)).group_by(*groups)
    order = [] if start is None else [start]
    statement = statement.order_by(*order, sums[3].desc(), sums[0].desc(), *columns)
    found = []
    for row in (await conn.execute(statement.limit(limit))).mappings():
        if not row["requests"]:
            continue
        found.append(
            UsageRow(
                group={name: row[f"by_{name}"] for name in by},
                start=None if start is None else int(row["start"]),
                requests=int(row["requests"]),
                prompt_tokens=int(row["prompt_tokens"]),
                output_tokens=int(row["output_tokens"]),
                micros=int(row["micros"]),
            )
        )
    return found


async def delete_before(conn: AsyncConnection, at: float, *, limit: int = 10_000) -> int:
    """Remove usage older than a time, at most so many rows, so that no writer waits for long.

    Returns:
        How many rows there were; fewer than `limit` when nothing is left.
    """
    old = select(usage.c.id).where(usage.c.at < at).limit(limit)
    return (await conn.execute(delete(usage).where(usage.c.id.in_(old)))).rowcount


def _conditions(
    where: Mapping[str, str], since: float | None, until: float | None
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for name, value in where.items():
        if name == "user":
            conditions.append(or_(users.c.name == value, usage.c.subject == value))
        else:
            conditions.append(_GROUPS[name] == value)
    if since is not None:
        conditions.append(usage.c.at >= since)
    if until is not None:
        conditions.append(usage.c.at < until)
    return conditions
