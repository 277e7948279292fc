"""Limits and budgets that differ from the configured ones. Every change raises their version."""

from dataclasses import asdict, dataclass

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.store.statements import upsert
from app.store.tables import budgets, limits
from app.store.versions import Version, bump


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit.

    Attributes:
        tenant: whose.
        user: for this user alone; empty for the tenant, or for each of its users.
        rule: name of the limit.
        value: tokens or requests.
    """

    tenant: str
    user: str
    rule: str
    value: int


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """One budget.

    Attributes:
        tenant: whose.
        key: for this key alone; empty for the whole tenant.
        period: `day` or `month`.
        micros: how much, in micro-dollars.
        alert: share of it at which an alert is raised.
        policy: what becomes of requests beyond it.
    """

    tenant: str
    key: str
    period: str
    micros: int
    alert: float
    policy: str


_LIMIT = tuple(limits.c[name] for name in LimitRow.__slots__)
_BUDGET = tuple(budgets.c[name] for name in BudgetRow.__slots__)


async def set_limit(conn: AsyncConnection, limit: LimitRow) -> int:
    """Set a limit.

    Returns:
        The new version.
    """
    await upsert(conn, limits, [asdict(limit)])
    return await bump(conn, Version.LIMITS)


async def delete_limit(conn: AsyncConnection, tenant: str, user: str, rule: str) -> bool:
    """Let the configured limit apply again.

    Returns:
        Whether there was another.
    """
    gone = await conn.execute(
        delete(limits).where(
            limits.c.tenant == tenant, limits.c.user == user, limits.c.rule == rule
        )
    )
    if gone.rowcount:
        await bump(conn, Version.LIMITS)
    return bool(gone.rowcount)


async def list_limits(conn: AsyncConnection, tenant: str | None = None) -> list[LimitRow]:
    """All limits that are set, or a tenant's."""
    statement = select(*_LIMIT).order_by(limits.c.tenant, limits.c.user, limits.c.rule)
    if tenant is not None:
        statement = statement.where(limits.c.tenant == tenant)
    return [LimitRow(*row) for row in await conn.execute(statement)]


async def set_budget(conn: AsyncConnection, budget: BudgetRow) -> int:
    """Set a budget.

    Returns:
        The new version.
    """
    await upsert(conn, budgets, [asdict(budget)])
    return await bump(conn, Version.LIMITS)


async def delete_budget(conn: AsyncConnection, tenant: str, key: str, period: str) -> bool:
    """Let the configured budget apply again.

    Returns:
        Whether there was another.
    """
    gone = await conn.execute(
        delete(budgets).where(
            budgets.c.tenant == tenant, budgets.c.key == key, budgets.c.period == period
        )
    )
    if gone.rowcount:
        await bump(conn, Version.LIMITS)
    return bool(gone.rowcount)


async def list_budgets(conn: AsyncConnection, tenant: str | None = None) -> list[BudgetRow]:
    """All budgets that are set, or a tenant's."""
    statement = select(*_BUDGET).order_by(budgets.c.tenant, budgets.c.key, budgets.c.period)
    if tenant is not None:
        statement = statement.where(budgets.c.tenant == tenant)
    return [BudgetRow(*row) for row in await conn.execute(statement)]
