"""Tenants and their users."""

from typing import Any

from app.admin.params import (
    TenantsCreate,
    TenantsList,
    TenantsUpdate,
    UsersCreate,
    UsersForget,
    UsersList,
)
from app.admin.session import Session
from app.audit.events import EventKind
from app.config.explain import did_you_mean
from app.errors import Conflict, NotFound
from app.store import people
from app.store.people import TenantRow, UserRow

_NEIGHBOURS = 1000


async def create(session: Session, params: TenantsCreate) -> dict[str, Any]:
    """Makes a tenant."""
    created = await people.ensure_tenant(session.conn, params.tenant, session.now, params.weight)
    if not created:
        raise Conflict(f"there is a tenant {params.tenant!r} already", param="tenant")
    session.about(tenant=params.tenant, detail={"weight": params.weight})
    return _tenant(TenantRow(params.tenant, session.now, params.weight))


async def list_(session: Session, params: TenantsList) -> dict[str, Any]:
    """Tenants, a page of them."""
    rows = await people.list_tenants(session.conn, after=params.after or "", limit=params.limit + 1)
    more = len(rows) > params.limit
    rows = rows[: params.limit]
    return {
        "tenants": [_tenant(row) for row in rows],
        "next": rows[-1].name if more else None,
    }


async def update(session: Session, params: TenantsUpdate) -> dict[str, Any]:
    """Changes a tenant's weight."""
    row = await require_tenant(session, params.tenant)
    await people.set_weight(session.conn, row.name, params.weight)
    session.about(tenant=row.name, detail={"weight": params.weight, "before": row.weight})
    return _tenant(TenantRow(row.name, row.created_at, params.weight))


async def create_user(session: Session, params: UsersCreate) -> dict[str, Any]:
    """Makes a user of a tenant, before it has a key or shows its first token."""
    tenant = await require_tenant(session, params.tenant)
    if await people.find_user(session.conn, tenant.name, params.user):
        raise Conflict(f"tenant {tenant.name!r} has a user {params.user!r} already", param="user")
    await people.ensure_user(session.conn, tenant.name, params.user, session.now)
    session.about(tenant=tenant.name, user=params.user)
    return _user(await require_user(session, tenant.name, params.user))


async def list_users(session: Session, params: UsersList) -> dict[str, Any]:
    """A tenant's users, a page of them."""
    tenant = await require_tenant(session, params.tenant)
    session.about(tenant=tenant.name)
    rows = await people.list_users(
        session.conn, tenant.name, after=params.after or "", limit=params.limit + 1
    )
    more = len(rows) > params.limit
    rows = rows[: params.limit]
    return {"users": [_user(row) for row in rows], "next": rows[-1].name if more else None}


async def forget_user(session: Session, params: UsersForget) -> dict[str, Any]:
    """Deletes what links usage and the log to a person, and revokes the person's keys."""
    forgotten = await people.forget_user(session.conn, params.tenant, params.user, session.now)
    if forgotten is None:
        await require_user(session, params.tenant, params.user)
        raise Conflict(f"user {params.user!r} has just been forgotten", param="user")
    # The name is not in the entry: recording it would undo what is recorded.
    session.about(
        kind=EventKind.PERSONAL_DATA_DELETED,
        tenant=params.tenant,
        detail={"subject": forgotten.subject, "keys_revoked": len(forgotten.keys)},
    )
    return {"subject": forgotten.subject, "keys_revoked": list(forgotten.keys)}


async def require_tenant(session: Session, name: str) -> TenantRow:
    """The tenant of this name.

    Raises:
        NotFound: there is none.
    """
    row = await people.get_tenant(session.conn, name)
    if row is None:
        names = [near.name for near in await people.list_tenants(session.conn, limit=_NEIGHBOURS)]
        hint = did_you_mean(name, names)
        raise NotFound(
            f"there is no tenant {name!r}; {hint or 'make it with POST /admin/v1/tenants'}",
            param="tenant",
        )
    return row


async def require_user(session: Session, tenant: str, user: str) -> UserRow:
    """The user of this name.

    Raises:
        NotFound: there is none, or no such tenant.
    """
    row = await people.find_user(session.conn, tenant, user)
    if row is None:
        await require_tenant(session, tenant)
        raise NotFound(
            f"tenant {tenant!r} has no user {user!r}; "
            f"make it with POST /admin/v1/tenants/{tenant}/users",
            param="user",
        )
    return row


def _tenant(row: TenantRow) -> dict[str, Any]:
    return {"tenant": row.name, "weight": row.weight, "created_at": row.created_at}


def _user(row: UserRow) -> dict[str, Any]:
    return {
        "tenant": row.tenant,
        "user": row.name,
        "subject": row.subject,
        "created_at": row.created_at,
    }
