"""What starts of models took, and the highest version of each that was ever loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import insert, upsert
from app.store.tables import model_versions, starts
from app.store.text import fit
from app.weights.baseline import KEPT

_NAMES = (starts.c.model, starts.c.hardware, starts.c.stage)
_LARGEST = 2**63 - 1


async def remember_starts(conn: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store stages of starts, and remove those that are too old to be held against the next one.

    Args:
        conn: a transaction.
        rows: with `model`, `hardware`, `stage`, `at` (Unix time), `seconds`, `bytes` (0 or more)
            and `memory` (bytes, less than 0 where it shrank). One that is stored already, of the
            same moment, is replaced.
    """
    stored = [_fitting(row) for row in rows]
    await upsert(conn, starts, stored)
    for model, hardware, stage in sorted({(r["model"], r["hardware"], r["stage"]) for r in stored}):
        same = and_(starts.c.model == model, starts.c.hardware == hardware, starts.c.stage == stage)
        oldest = select(starts.c.at).where(same).order_by(starts.c.at.desc()).offset(KEPT - 1)
        await conn.execute(
            delete(starts).where(same, starts.c.at < oldest.limit(1).scalar_subquery())
        )


async def recent_starts(
    conn: AsyncConnection, model: str, hardware: str, limit: int = KEPT
) -> list[dict[str, Any]]:
    """The stages of a model's last starts on some hardware, oldest first.

    Args:
        conn: a transaction.
        model: the model's name.
        hardware: what it started on.
        limit: how many starts at most, of each stage.
    """
    same = and_(
        starts.c.model == fit(starts.c.model, model),
        starts.c.hardware == fit(starts.c.hardware, hardware),
    )
    found = await conn.execute(select(starts).where(same).order_by(starts.c.at.desc()))
    taken: dict[str, int] = {}
    newest: list[dict[str, Any]] = []
    for row in found.mappings():
        taken[row["stage"]] = taken.get(row["stage"], 0) + 1
        if taken[row["stage"]] <= limit:
            newest.append(dict(row))
    return newest[::-1]


async def raise_version(conn: AsyncConnection, model: str, version: int) -> int:
    """Store that a version was loaded, unless a higher one was before.

    Args:
        conn: a transaction.
        model: the model's name.
        version: the signed version; 0 or more.

    Returns:
        The highest version that was ever loaded.
    """
    statement = insert(conn, model_versions).values(
        model=fit(model_versions.c.model, model), version=min(version, _LARGEST)
    )
    higher = statement.excluded.version > model_versions.c.version
    statement = statement.on_conflict_do_update(
        index_elements=[model_versions.c.model],
        set_={
            "version": case((higher, statement.excluded.version), else_=model_versions.c.version)
        },
    )
    return int((await conn.execute(statement.returning(model_versions.c.version))).scalar_one())


async def versions(conn: AsyncConnection) -> dict[str, int]:
    """The highest version of each model that was ever loaded."""
    rows = await conn.execute(select(model_versions.c.model, model_versions.c.version))
    return {row.model: row.version for row in rows}


def _fitting(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{column.name: fit(column, str(row[column.name])) for column in _NAMES},
        "at": float(row["at"]),
        "seconds": float(row["seconds"]),
        "bytes": int(row.get("bytes", 0)),
        "memory": int(row.get("memory", 0)),
    }
