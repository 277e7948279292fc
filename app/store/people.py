"""Tenants and their users.

A user's name stands in the row of the user, in the rows of its keys and in the ledger's buckets.
Everything that is kept for longer holds the user's subject, a pseudonym that means nothing once
the user's row is gone.
"""

import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import batches, insert
from app.store.tables import buckets, keys, limits, tenants, users
from app.store.text import fit
from app.store.versions import Version, bump


@dataclass(frozen=True, slots=True)
class TenantRow:
    """Who pays.

    Attributes:
        weight: share of an engine, as a multiple of another tenant's.
    """

    name: str
    created_at: float
    weight: float


@dataclass(frozen=True, slots=True)
class UserRow:
    """Who asks, within a tenant.

    Attributes:
        subject: what stands for the user in usage and the audit log.
    """

    tenant: str
    name: str
    subject: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is left of a user.

    Attributes:
        subject: still in usage and the audit log, and linked to nobody.
        keys: ids of the keys that were revoked.
    """

    subject: str
    keys: tuple[str, ...]


_TENANT = (tenants.c.name, tenants.c.created_at, tenants.c.weight)
_USER = (users.c.tenant, users.c.name, users.c.subject, users.c.created_at)


async def ensure_tenant(conn: AsyncConnection, name: str, now: float, weight: float = 1.0) -> bool:
    """Create a tenant unless it is there.

    Returns:
        Whether it was created.
    """
    statement = insert(conn, tenants).on_conflict_do_nothing().returning(tenants.c.name)
    row = {"name": fit(tenants.c.name, name), "created_at": now, "weight": weight}
    created = (await conn.execute(statement.values(row))).first() is not None
    if created:
        await bump(conn, Version.TENANTS)
    return created


async def get_tenant(conn: AsyncConnection, name: str) -> TenantRow | None:
    """One tenant."""
    row = (await conn.execute(select(*_TENANT).where(tenants.c.name == name))).first()
    return None if row is None else TenantRow(*row)


async def list_tenants(
    conn: AsyncConnection, *, after: str = "", limit: int = 1000
) -> list[TenantRow]:
    """Tenants by name, those after a name, at most so many."""
    statement = select(*_TENANT).where(tenants.c.name > after).order_by(tenants.c.name)
    return [TenantRow(*row) for row in await conn.execute(statement.limit(limit))]


async def weights(conn: AsyncConnection) -> dict[str, float]:
    """The weights of tenants, where they are not 1."""
    statement = select(tenants.c.name, tenants.c.weight).where(tenants.c.weight != 1.0)
    return {row.name: row.weight for row in await conn.execute(statement)}


async def set_weight(conn: AsyncConnection, name: str, weight: float) -> bool:
    """Give a tenant another weight.

    Returns:
        Whether there is such a tenant.
    """
    changed = await conn.execute(
        update(tenants).where(tenants.c.name == name).values(weight=weight)
    )
    if changed.rowcount:
        await bump(conn, Version.TENANTS)
    return bool(changed.rowcount)


async def ensure_user(conn: AsyncConnection, tenant: str, user: str, now: float) -> str:
    """The subject of a user; tenant and user are created if they are missing."""
    return (await ensure_users(conn, [(tenant, user)], now))[tenant, user]


async def ensure_users(
    conn: AsyncConnection, names: Collection[tuple[str, str]], now: float
) -> dict[tuple[str, str], str]:
    """The subjects of many users by (tenant, user); what is missing is created."""
    stored = {
        name: (fit(users.c.tenant, name[0]), fit(users.c.name, name[1])) for name in set(names)
    }
    found = await _subjects(conn, stored.values())
    # In one order everywhere: writers that create the same users then wait for each other rather
    # than for ever.
    missing = sorted(set(stored.values()) - found.keys())
    if missing:
        for tenant in sorted({tenant for tenant, _ in missing}):
            await ensure_tenant(conn, tenant, now)
        await conn.execute(
            insert(conn, users).on_conflict_do_nothing(),
            [
                {"tenant": t, "name": u, "subject": secrets.token_hex(16), "created_at": now}
                for t, u in missing
            ],
        )
        # Another writer may have been first: what counts is what is stored.
        found |= await _subjects(conn, missing)
    return {name: found[row] for name, row in stored.items()}


async def find_user(conn: AsyncConnection, tenant: str, user: str) -> UserRow | None:
    """One user."""
    statement = select(*_USER).where(users.c.tenant == tenant, users.c.name == user)
    row = (await conn.execute(statement)).first()
    return None if row is None else UserRow(*row)


async def list_users(
    conn: AsyncConnection, tenant: str, *, after: str = "", limit: int = 1000
) -> list[UserRow]:
    """A tenant's users by name, those after a name, at most so many."""
    statement = select(*_USER).where(users.c.tenant == tenant, users.c.name > after)
    statement = statement.order_by(users.c.name).limit(limit)
    return [UserRow(*row) for row in await conn.execute(statement)]


async def names_of(conn: AsyncConnection, subjects: Collection[str]) -> dict[str, tuple[str, str]]:
    """(tenant, user) by subject; the forgotten ones are missing."""
    found: dict[str, tuple[str, str]] = {}
    for part in batches(sorted(set(subjects))):
        statement = select(users.c.subject, users.c.tenant, users.c.name)
        for row in await conn.execute(statement.where(users.c.subject.in_(part))):
            found[row.subject] = (row.tenant, row.name)
    return found


async def forget_user(
    conn: AsyncConnection, tenant: str, user: str, now: float
) -> Forgotten | None:
    """Remove a user's name from the store.

    Its keys are revoked and bear its subject instead of its name; its limits and windows go. Who
    keeps subjects in memory must drop them when :attr:`Version.PEOPLE` changes. A user of the same
    name who comes later is somebody else.

    Returns:
        None if there is no such user.
    """
    gone = (
        await conn.execute(
            delete(users)
            .where(users.c.tenant == tenant, users.c.name == user)
            .returning(users.c.subject)
        )
    ).first()
    if gone is None:
        return None
    mine = (keys.c.tenant == tenant, keys.c.user == user)
    version = await bump(conn, Version.DIRECTORY)
    await conn.execute(
        update(keys).where(*mine, keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    renamed = await conn.execute(
        update(keys).where(*mine).values(user=gone.subject, version=version).returning(keys.c.id)
    )
    dropped = await conn.execute(
        delete(limits).where(limits.c.tenant == tenant, limits.c.user == user)
    )
    if dropped.rowcount:
        await bump(conn, Version.LIMITS)
    await conn.execute(delete(buckets).where(buckets.c.tenant == tenant, buckets.c.user == user))
    await bump(conn, Version.PEOPLE)
    return Forgotten(gone.subject, tuple(sorted(row.id for row in renamed)))


async def _subjects(
    conn: AsyncConnection, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for part in batches(sorted(set(names))):
        statement = select(users.c.tenant, users.c.name, users.c.subject)
        statement = statement.where(tuple_(users.c.tenant, users.c.name).in_(part))
        for row in await conn.execute(statement):
            found[row.tenant, row.name] = row.subject
    return found
