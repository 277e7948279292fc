"""The table of limits: whose applies, and that no name is silently without effect."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admission.exchange import Rule
from app.admission.limits import (
    Budget,
    BudgetTerms,
    LimitDefaults,
    LimitTable,
    period_left_s,
    period_start,
)

TERMS = BudgetTerms(5, 0.5, "degrade")


def test_the_nearest_limit_applies() -> None:
    table = LimitTable(
        LimitDefaults(user_tokens_per_minute=1),
        limits={
            ("a", "", "user_tokens_per_minute"): 2,
            ("a", "ada", "user_tokens_per_minute"): 3,
            ("a", "", "tenant_tokens_per_minute"): 0,
        },
    )
    assert table.limit(Rule.USER_MINUTE, "b", "ada") == 1
    assert table.limit(Rule.USER_MINUTE, "a", "bob") == 2
    assert table.limit(Rule.USER_MINUTE, "a", "ada") == 3
    assert table.limit(Rule.TENANT_MINUTE, "a", "ada") == 0
    assert table.limit(Rule.TENANT_MINUTE, "b", "") == 50_000
    assert table.limit(Rule.USER_LARGE, "a", "ada") == 1


def test_budgets_of_tenants_and_keys() -> None:
    table = LimitTable(
        LimitDefaults(tenant_day=10, key_month=20),
        budgets={("a", "", "day"): TERMS, ("a", "k", "day"): TERMS},
    )
    default = BudgetTerms(10, 0.8, "refuse")
    assert table.budgets("b", "") == (Budget(Rule.TENANT_DAY, "day", default),)
    assert table.budgets("a", "") == (Budget(Rule.TENANT_DAY, "day", TERMS),)
    assert table.budgets("a", "k") == (
        Budget(Rule.KEY_DAY, "day", TERMS),
        Budget(Rule.KEY_MONTH, "month", BudgetTerms(20, 0.8, "refuse")),
    )
    assert LimitTable(LimitDefaults()).budgets("a", "k") == ()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (("a", "", "user_token_per_minute"), 1, "there is no rule 'user_token_per_minute'"),
        (("a", "", "tenant_budget_day"), 1, "there is no rule 'tenant_budget_day'"),
        (("a", "ada", "tenant_tokens_per_minute"), 1, "set it without a user"),
        (("a", "ada", "user_large_requests"), -1, "must be 0 or more, not -1"),
    ],
)
def test_limits_without_effect_are_refused(
    name: tuple[str, str, str], value: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        LimitTable(LimitDefaults(), limits={name: value})


@pytest.mark.parametrize(
    ("name", "terms", "says"),
    [
        (("a", "", "week"), TERMS, "not 'week'"),
        (("a", "k", "day"), BudgetTerms(1, 0.8, "ignore"), "not 'ignore'"),
        (("a", "k", "day"), BudgetTerms(-1, 0.8, "allow"), "-1 micro-dollars are less than 0"),
    ],
)
def test_budgets_without_effect_are_refused(
    name: tuple[str, str, str], terms: BudgetTerms, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        LimitTable(LimitDefaults(), budgets={name: terms})


@given(st.integers(0, 220_000_000_000))
def test_periods_are_days_and_months_by_utc(now: int) -> None:
    at = datetime.fromtimestamp(now, UTC)
    assert period_start("day", now) == at.strftime("%Y-%m-%d")
    assert period_start("month", now) == at.strftime("%Y-%m-01")
    for period in ("day", "month"):
        end = at + timedelta(seconds=period_left_s(period, now))
        assert period_start(period, end.timestamp() - 1) == period_start(period, now)
        assert end.strftime("%H:%M:%S") == "00:00:00"
        assert period == "day" or end.day == 1


@pytest.mark.parametrize("at", [-1e300, -1.0, 1e300, float("inf")])
def test_no_clock_is_too_wrong(at: float) -> None:
    assert len(period_start("month", at)) == 10
