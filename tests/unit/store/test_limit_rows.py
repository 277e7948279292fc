from dataclasses import replace

from app.store import limits
from app.store.database import Database
from app.store.limits import BudgetRow, LimitRow
from app.store.versions import Version, current

LIMIT = LimitRow("acme", "ada", "user_tokens_per_minute", 2**53)
BUDGET = BudgetRow("acme", "", "day", 2**53, 0.8, "refuse")


async def test_limits(database: Database) -> None:
    other = LimitRow("umbrella", "", "tenant_tokens_per_minute", 0)
    async with database.begin() as conn:
        assert await limits.set_limit(conn, LIMIT) == 1
        assert await limits.set_limit(conn, other) == 2
        assert await limits.list_limits(conn) == [LIMIT, other]
        assert await limits.list_limits(conn, "umbrella") == [other]
        changed = replace(LIMIT, value=7)
        assert await limits.set_limit(conn, changed) == 3
        assert await limits.list_limits(conn, "acme") == [changed]
        assert await limits.delete_limit(conn, "acme", "ada", LIMIT.rule)
        assert not await limits.delete_limit(conn, "acme", "ada", LIMIT.rule)
        assert await limits.list_limits(conn) == [other]
        assert (await current(conn))[Version.LIMITS] == 4


async def test_budgets(database: Database) -> None:
    other = BudgetRow("acme", "k1", "month", 0, 1.0, "degrade")
    async with database.begin() as conn:
        assert await limits.set_budget(conn, BUDGET) == 1
        assert await limits.set_budget(conn, other) == 2
        assert await limits.list_budgets(conn) == [BUDGET, other]
        assert await limits.list_budgets(conn, "umbrella") == []
        changed = replace(BUDGET, micros=7, policy="allow")
        assert await limits.set_budget(conn, changed) == 3
        assert await limits.list_budgets(conn, "acme") == [changed, other]
        assert await limits.delete_budget(conn, "acme", "k1", "month")
        assert not await limits.delete_budget(conn, "acme", "k1", "month")
        assert (await current(conn))[Version.LIMITS] == 4
