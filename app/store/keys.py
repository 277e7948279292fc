"""API keys, as digests. Every change raises the directory's version and marks its rows with it."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.tables import keys
from app.store.versions import Version, bump, current


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key.

    Attributes:
        id: the part of the key that may be shown.
        digest: keyed hash of the secret part.
        tenant: who pays.
        user: who asks; the subject once the user is forgotten.
        roles: names of roles.
        zone: the highest zone.
        models: allowed models; None for all.
        tiers: allowed tiers.
        unlimited: no limit and no budget applies.
        created_at: Unix time, as all times here.
        expires_at: when it stops working; None for never.
        revoked_at: since when it does not work any more.
        rotated_from: id of the key that this one takes over from.
        version: the directory's version when the row last changed; given by the store.
    """

    id: str
    digest: bytes
    tenant: str
    user: str
    roles: tuple[str, ...]
    zone: str
    models: tuple[str, ...] | None
    tiers: tuple[str, ...]
    unlimited: bool
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    rotated_from: str | None = None
    version: int = 0


_COLUMNS = tuple(keys.c[name] for name in KeyRow.__slots__)


async def insert(conn: AsyncConnection, key: KeyRow) -> KeyRow:
    """Add a key of a tenant and user that exist.

    Returns:
        The key with its version.
    """
    key = replace(key, version=await bump(conn, Version.DIRECTORY))
    values: dict[str, Any] = {name: getattr(key, name) for name in KeyRow.__slots__}
    values["roles"] = list(key.roles)
    values["tiers"] = list(key.tiers)
    values["models"] = None if key.models is None else list(key.models)
    await conn.execute(keys.insert().values(values))
    return key


async def get(conn: AsyncConnection, key_id: str) -> KeyRow | None:
    """One key."""
    row = (await conn.execute(select(*_COLUMNS).where(keys.c.id == key_id))).first()
    return None if row is None else _key(row)


async def revoke(conn: AsyncConnection, key_id: str, now: float) -> KeyRow | None:
    """Take a key out of use; one that is out of use already keeps its time.

    Returns:
        The key as it is now; None if there is none.
    """
    version = await bump(conn, Version.DIRECTORY)
    await conn.execute(
        update(keys)
        .where(keys.c.id == key_id, keys.c.revoked_at.is_(None))
        .values(revoked_at=now, version=version)
    )
    return await get(conn, key_id)


async def expire(conn: AsyncConnection, key_id: str, at: float) -> KeyRow | None:
    """Let a key end at a time, unless it ends sooner anyway.

    Returns:
        The key as it is now; None if there is none.
    """
    version = await bump(conn, Version.DIRECTORY)
    await conn.execute(
        update(keys)
        .where(keys.c.id == key_id, or_(keys.c.expires_at.is_(None), keys.c.expires_at > at))
        .values(expires_at=at, version=version)
    )
    return await get(conn, key_id)


async def list_keys(
    conn: AsyncConnection,
    *,
    tenant: str | None = None,
    user: str | None = None,
    live_at: float | None = None,
    after: str = "",
    limit: int = 1000,
) -> list[KeyRow]:
    """Keys by id.

    Args:
        conn: a transaction.
        tenant: of this tenant alone.
        user: of users with this name alone.
        live_at: without those that are revoked, or expired at this time.
        after: ids after this one: where the last page ended.
        limit: at most so many.
    """
    statement = select(*_COLUMNS).where(keys.c.id > after)
    if tenant is not None:
        statement = statement.where(keys.c.tenant == tenant)
    if user is not None:
        statement = statement.where(keys.c.user == user)
    if live_at is not None:
        statement = statement.where(
            keys.c.revoked_at.is_(None),
            or_(keys.c.expires_at.is_(None), keys.c.expires_at > live_at),
        )
    rows = await conn.execute(statement.order_by(keys.c.id).limit(limit))
    return [_key(row) for row in rows]


async def changed_since(conn: AsyncConnection, version: int) -> tuple[int, list[KeyRow]]:
    """What a copy of the directory lacks.

    Args:
        conn: a transaction of :meth:`Database.read`, so that both answers are of one moment.
        version: of the copy; 0 for all keys.

    Returns:
        The directory's version, and every key changed after the copy's, oldest change first.
    """
    newest = (await current(conn))[Version.DIRECTORY]
    if newest <= version:
        return newest, []
    statement = select(*_COLUMNS).where(keys.c.version > version)
    rows = await conn.execute(statement.order_by(keys.c.version, keys.c.id))
    return newest, [_key(row) for row in rows]


async def delete_dead(conn: AsyncConnection, before: float) -> int:
    """Remove the rows of keys that were revoked or have expired before a time.

    Copies may keep them: such a key does not work there either.

    Returns:
        How many there were.
    """
    gone = await conn.execute(
        delete(keys).where(or_(keys.c.revoked_at < before, keys.c.expires_at < before))
    )
    return gone.rowcount


def _key(row: Row[Any]) -> KeyRow:
    values = dict(zip(KeyRow.__slots__, row, strict=True))
    values["digest"] = bytes(values["digest"])
    values["roles"] = tuple(values["roles"])
    values["tiers"] = tuple(values["tiers"])
    if values["models"] is not None:
        values["models"] = tuple(values["models"])
    return KeyRow(**values)
