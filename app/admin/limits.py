"""Limits and budgets of one tenant, user or key, in place of the configuration's."""

from dataclasses import asdict
from typing import Any

from app.admin.params import (
    BudgetsDelete,
    BudgetsSet,
    LimitRule,
    LimitsDelete,
    LimitsSet,
    OfTenant,
)
from app.admin.rights import own_tenant
from app.admin.session import Session
from app.admin.tenants import require_tenant, require_user
from app.errors import InvalidRequest, NotFound
from app.store import keys, limits
from app.store.limits import BudgetRow, LimitRow


async def set_(session: Session, params: LimitsSet) -> dict[str, Any]:
    """Sets a limit; every ledger follows within a second."""
    await _check_target(session, params)
    row = LimitRow(params.tenant, params.user or "", params.rule.value, params.value)
    await limits.set_limit(session.conn, row)
    session.about(tenant=row.tenant, user=row.user, detail={"rule": row.rule, "value": row.value})
    return _limit(row)


async def list_(session: Session, params: OfTenant) -> dict[str, Any]:
    """The configuration's limits, and those that are set in their place."""
    tenant = await _tenant(session, params)
    rows = await limits.list_limits(session.conn, tenant)
    return {
        "defaults": session.config.limits.model_dump(mode="json"),
        "limits": [_limit(row) for row in rows],
    }


async def delete(session: Session, params: LimitsDelete) -> dict[str, Any]:
    """Goes back to the configuration's limit."""
    user, rule = params.user or "", params.rule.value
    if not await limits.delete_limit(session.conn, params.tenant, user, rule):
        await _check_target(session, params)
        raise NotFound(f"no other {rule} is set there; GET /admin/v1/limits lists them")
    session.about(tenant=params.tenant, user=user, detail={"rule": rule})
    return {"tenant": params.tenant, "user": params.user, "rule": rule}


async def set_budget(session: Session, params: BudgetsSet) -> dict[str, Any]:
    """Sets a budget; every ledger follows within a second."""
    await _check_key(session, params)
    defaults = session.config.budgets
    row = BudgetRow(
        tenant=params.tenant,
        key=params.key or "",
        period=params.period.value,
        micros=params.micros,
        alert=defaults.alert if params.alert is None else params.alert,
        policy=(params.policy or defaults.policy).value,
    )
    await limits.set_budget(session.conn, row)
    session.about(
        tenant=row.tenant,
        key=row.key,
        detail={"period": row.period, "micros": row.micros, "policy": row.policy},
    )
    return _budget(row)


async def list_budgets(session: Session, params: OfTenant) -> dict[str, Any]:
    """The configuration's budgets, and those that are set in their place."""
    tenant = await _tenant(session, params)
    rows = await limits.list_budgets(session.conn, tenant)
    return {
        "defaults": session.config.budgets.model_dump(mode="json"),
        "budgets": [_budget(row) for row in rows],
    }


async def delete_budget(session: Session, params: BudgetsDelete) -> dict[str, Any]:
    """Goes back to the configuration's budget."""
    key, period = params.key or "", params.period.value
    if not await limits.delete_budget(session.conn, params.tenant, key, period):
        await _check_key(session, params)
        raise NotFound(
            f"no other budget for the {period} is set there; GET /admin/v1/budgets lists them"
        )
    session.about(tenant=params.tenant, key=key, detail={"period": period})
    return {"tenant": params.tenant, "key": params.key, "period": period}


async def _tenant(session: Session, params: OfTenant) -> str | None:
    tenant = own_tenant(session.caller, params.tenant)
    if params.tenant is not None:
        # A name that is wrong must not look like a tenant without limits.
        await require_tenant(session, params.tenant)
    if tenant is not None:
        session.about(tenant=tenant)
    return tenant


async def _check_target(session: Session, params: LimitsDelete) -> None:
    if params.rule is LimitRule.TENANT_MINUTE and params.user is not None:
        raise InvalidRequest(
            f"{params.rule.value} is a limit of the whole tenant; leave `user` out, or set "
            f"{LimitRule.USER_MINUTE.value}",
            param="user",
        )
    await require_tenant(session, params.tenant)
    if params.user is not None:
        await require_user(session, params.tenant, params.user)


async def _check_key(session: Session, params: BudgetsDelete) -> None:
    await require_tenant(session, params.tenant)
    if params.key is None:
        return
    row = await keys.get(session.conn, params.key)
    if row is None or row.tenant != params.tenant:
        raise NotFound(
            f"tenant {params.tenant!r} has no key {params.key!r}; GET /admin/v1/keys lists them",
            param="key",
        )


def _limit(row: LimitRow) -> dict[str, Any]:
    return {**asdict(row), "user": row.user or None}


def _budget(row: BudgetRow) -> dict[str, Any]:
    return {**asdict(row), "key": row.key or None}
