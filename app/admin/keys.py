"""Keys: made, shown once, replaced with overlap, withdrawn."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.admin.params import KeysCreate, KeysList, KeysRotate, OneKey
from app.admin.rights import check_grant, check_names, is_admin, own_tenant
from app.admin.session import Session
from app.admin.values import when
from app.admission.tier import Tier
from app.audit.events import EventKind
from app.errors import Conflict, InvalidRequest, NotFound
from app.security.identity import Identity, Role
from app.security.keys import digest, mint, parse
from app.store import keys as store
from app.store import ledger, limits, people
from app.store.keys import KeyRow


async def create(session: Session, params: KeysCreate) -> dict[str, Any]:
    """Makes a key; tenant and user are made with it if they are missing."""
    caller, now = session.caller, session.now
    models = params.models
    if models is None and caller.models is not None:
        models = tuple(sorted(caller.models))
    check_names(session.config, params.zone, models)
    tiers = _tiers(params, caller)
    check_grant(
        session.config,
        caller,
        tenant=params.tenant,
        roles=params.roles,
        zone=params.zone,
        models=models,
        tiers=tiers,
    )
    _check_future("expires_at", params.expires_at, now)
    await people.ensure_user(session.conn, params.tenant, params.user, now)
    row = KeyRow(
        id="",
        digest=b"",
        tenant=params.tenant,
        user=params.user,
        roles=tuple(str(role) for role in params.roles),
        zone=params.zone,
        models=models,
        tiers=tuple(str(tier) for tier in tiers),
        unlimited=False,
        created_at=now,
        expires_at=params.expires_at,
    )
    row, key = await _insert(session, row)
    _about(session, EventKind.KEY_CREATED, row, roles=" ".join(row.roles))
    return {**_shown(row, now), "key": key}


async def list_(session: Session, params: KeysList) -> dict[str, Any]:
    """Keys, a page of them."""
    tenant = own_tenant(session.caller, params.tenant)
    if tenant is not None:
        session.about(tenant=tenant)
    rows = await store.list_keys(
        session.conn,
        tenant=tenant,
        user=params.user,
        live_at=None if params.revoked else session.now,
        after=params.after or "",
        limit=params.limit + 1,
    )
    more = len(rows) > params.limit
    rows = rows[: params.limit]
    return {
        "keys": [_shown(row, session.now) for row in rows],
        "next": rows[-1].id if more else None,
    }


async def get(session: Session, params: OneKey) -> dict[str, Any]:
    """One key."""
    row = await _found(session, params.id)
    session.about(tenant=row.tenant, user=row.user, key=row.id)
    return _shown(row, session.now)


async def revoke(session: Session, params: OneKey) -> dict[str, Any]:
    """Withdraws a key; doing so again changes nothing."""
    row = await _found(session, params.id)
    if not is_admin(session.caller):
        _check_manages(session, replace(row, models=(), tiers=()))
    revoked = await store.revoke(session.conn, row.id, session.now)
    _about(session, EventKind.KEY_REVOKED, row)
    return _shown(revoked or row, session.now)


async def rotate(session: Session, params: KeysRotate) -> dict[str, Any]:
    """Makes a key with an old one's rights and budgets; the old one works for a while longer.

    The new key lives as long as the old one was made for.
    """
    conn, now = session.conn, session.now
    old = await _found(session, params.id)
    check_names(session.config, old.zone, None)
    _check_manages(session, old)
    # Ends the old key before it is looked at: from here on nobody else can change it.
    ended = await (
        store.expire(conn, old.id, now + params.overlap_s)
        if params.overlap_s
        else store.revoke(conn, old.id, now)
    )
    since = None if ended is None else ended.revoked_at
    if ended is None or (since is not None and (params.overlap_s or since != now)):
        raise Conflict(f"key {old.id!r} has been revoked; make a new one", param="id")
    if old.expires_at is not None and old.expires_at <= now:
        raise Conflict(
            f"key {old.id!r} has expired on {when(old.expires_at)}; make a new one", param="id"
        )
    lifetime = None if old.expires_at is None else old.expires_at - old.created_at
    new, key = await _insert(
        session,
        replace(
            old,
            created_at=now,
            expires_at=None if lifetime is None else now + lifetime,
            rotated_from=old.id,
        ),
    )
    await _pass_on_budgets(session, old, new)
    _about(session, EventKind.KEY_ROTATED, new, rotated_from=old.id, overlap_s=params.overlap_s)
    return {**_shown(new, now), "key": key, "replaces": _shown(ended, now)}


async def _insert(session: Session, row: KeyRow) -> tuple[KeyRow, str]:
    key_id, key = mint()
    parts = parse(key)
    assert parts is not None
    row = replace(row, id=key_id, digest=digest(session.pepper, key_id, parts[1]))
    return await store.insert(session.conn, row), key


async def _pass_on_budgets(session: Session, old: KeyRow, new: KeyRow) -> None:
    """Gives a key the budgets of the one before, and what that one has spent of them.

    Otherwise changing the key would be a way to spend a budget twice.
    """
    today = datetime.fromtimestamp(session.now, UTC).date()
    starts = {"day": today.isoformat(), "month": today.replace(day=1).isoformat()}
    spent = await ledger.load_spending(
        session.conn,
        [(old.tenant, old.id, period, start) for period, start in starts.items()],
    )
    await ledger.write_spending(session.conn, [replace(row, key=new.id) for row in spent])
    for budget in await limits.list_budgets(session.conn, tenant=old.tenant):
        if budget.key == old.id:
            await limits.set_budget(session.conn, replace(budget, key=new.id))


def _tiers(params: KeysCreate, caller: Identity) -> tuple[Tier, ...]:
    only_batch = set(params.roles) == {Role.BATCH}
    if params.tiers is None:
        usual = {Tier.BATCH} if only_batch else {Tier.STANDARD, Tier.BATCH} & caller.tiers
        return tuple(sorted(usual, key=lambda tier: tier.band))
    if only_batch and set(params.tiers) != {Tier.BATCH}:
        raise InvalidRequest(
            "a key whose only role is `batch` has the tier `batch` alone; leave `tiers` out, or "
            "add the role `developer`",
            param="tiers",
        )
    return params.tiers


def _check_future(field: str, moment: float | None, now: float) -> None:
    if moment is not None and moment <= now:
        raise InvalidRequest(
            f"`{field}`: {when(moment)} is past; it is {when(now)} now", param=field
        )


async def _found(session: Session, key_id: str) -> KeyRow:
    row = await store.get(session.conn, key_id)
    # What is another tenant's does not exist for an operator.
    if row is None or (not is_admin(session.caller) and row.tenant != session.caller.tenant):
        raise NotFound(
            f"there is no key with the id {key_id!r}; GET /admin/v1/keys lists them. The first "
            "admin key is not among them: it is set where the service starts",
            param="id",
        )
    return row


def _check_manages(session: Session, row: KeyRow) -> None:
    check_grant(
        session.config,
        session.caller,
        tenant=row.tenant,
        roles=[Role(role) for role in row.roles],
        zone=row.zone,
        models=row.models,
        tiers=[Tier(tier) for tier in row.tiers],
    )


def _about(session: Session, kind: EventKind, row: KeyRow, **detail: str | float | bool) -> None:
    session.about(
        kind=kind, tenant=row.tenant, user=row.user, key=row.id, zone=row.zone, detail=detail
    )


def _shown(row: KeyRow, now: float) -> dict[str, Any]:
    if row.revoked_at is not None:
        state = "revoked"
    elif row.expires_at is not None and row.expires_at <= now:
        state = "expired"
    else:
        state = "active"
    return {
        "id": row.id,
        "state": state,
        "tenant": row.tenant,
        "user": row.user,
        "roles": list(row.roles),
        "zone": row.zone,
        "models": None if row.models is None else list(row.models),
        "tiers": list(row.tiers),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "rotated_from": row.rotated_from,
    }
