"""Which limits and budgets apply to whom: the configured ones, and those set otherwise."""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from app.admission.exchange import Rule

TOKEN_RULES = (Rule.USER_MINUTE, Rule.USER_HOUR, Rule.TENANT_MINUTE)
"""The rules that are windows of tokens."""

PERIOD_S: Mapping[Rule, float] = MappingProxyType(
    {Rule.USER_MINUTE: 60.0, Rule.USER_HOUR: 3600.0, Rule.TENANT_MINUTE: 60.0}
)
"""Seconds in which the limit of such a rule flows in."""

REFUSE, DEGRADE, ALLOW = "refuse", "degrade", "allow"
"""What becomes of requests beyond a budget."""

DAY, MONTH = "day", "month"
PERIODS = (DAY, MONTH)
"""What budgets are for; both by UTC."""


@dataclass(frozen=True, slots=True)
class LimitDefaults:
    """What applies where nothing else is set.

    Attributes:
        burst: capacity of a window in multiples of its limit.
        tenant_day: micro-dollars; None for no budget.
        alert: share of a budget at which an alert is raised.
        policy: `refuse`, `degrade` or `allow`.
    """

    user_tokens_per_minute: int = 10_000
    user_tokens_per_hour: int = 100_000
    tenant_tokens_per_minute: int = 50_000
    burst: float = 1.5
    user_large_requests: int = 1
    tenant_day: int | None = None
    tenant_month: int | None = None
    key_day: int | None = None
    key_month: int | None = None
    alert: float = 0.8
    policy: str = REFUSE


class BudgetTerms(NamedTuple):
    """A budget as the admin set it.

    Attributes:
        micros: how much, in micro-dollars.
        alert: share at which an alert is raised.
        policy: `refuse`, `degrade` or `allow`.
    """

    micros: int
    alert: float
    policy: str


class Budget(NamedTuple):
    """A budget that applies to an account.

    Attributes:
        rule: its name in a refusal.
        period: `day` or `month`.
        terms: how much, and what becomes of requests beyond it.
    """

    rule: Rule
    period: str
    terms: BudgetTerms


class LimitTable:
    """All limits and budgets at one time. It never changes: a change makes another table.

    Args:
        defaults: what applies where nothing else is set.
        limits: by (tenant, user, rule). Where the user is empty it is the tenant's own limit, or
            that of each of its users.
        budgets: by (tenant, key, period). Where the key is empty it is the whole tenant's.

    Raises:
        ValueError: a rule, period or policy has a name that nobody knows, or a number is negative.
            A limit that would silently not apply is not taken.
    """

    __slots__ = ("_budgets", "_default_terms", "_defaults", "_limits", "burst")

    def __init__(
        self,
        defaults: LimitDefaults,
        limits: Mapping[tuple[str, str, str], int] = MappingProxyType({}),
        budgets: Mapping[tuple[str, str, str], BudgetTerms] = MappingProxyType({}),
    ) -> None:
        self._defaults = {
            Rule.USER_MINUTE: defaults.user_tokens_per_minute,
            Rule.USER_HOUR: defaults.user_tokens_per_hour,
            Rule.TENANT_MINUTE: defaults.tenant_tokens_per_minute,
            Rule.USER_LARGE: defaults.user_large_requests,
        }
        self.burst = defaults.burst
        """Capacity of a window in multiples of its limit."""
        self._limits = dict(limits)
        self._budgets = dict(budgets)
        self._default_terms = {
            rule: BudgetTerms(micros, defaults.alert, defaults.policy)
            for rule, micros in (
                (Rule.TENANT_DAY, defaults.tenant_day),
                (Rule.TENANT_MONTH, defaults.tenant_month),
                (Rule.KEY_DAY, defaults.key_day),
                (Rule.KEY_MONTH, defaults.key_month),
            )
            if micros is not None
        }
        for (tenant, user, rule), value in self._limits.items():
            _check_limit(tenant, user, rule, value)
        for (tenant, key, period), terms in self._budgets.items():
            _check_budget(tenant, key, period, terms)

    def limit(self, rule: Rule, tenant: str, user: str) -> int:
        """How much a rule allows: tokens, or requests at a time."""
        if rule is not Rule.TENANT_MINUTE and user:
            own = self._limits.get((tenant, user, rule))
            if own is not None:
                return own
        return self._limits.get((tenant, "", rule), self._defaults[rule])

    def budgets(self, tenant: str, key: str) -> tuple[Budget, ...]:
        """The budgets of a key, or of the whole tenant where the key is empty."""
        found = []
        for period, rule in _RULES_OF_KEYS if key else _RULES_OF_TENANTS:
            terms = self._budgets.get((tenant, key, period)) or self._default_terms.get(rule)
            if terms is not None:
                found.append(Budget(rule, period, terms))
        return tuple(found)


_DAY_S = 86_400.0
_EPOCH = date(1970, 1, 1).toordinal()
_LAST_S = (date(9999, 1, 1).toordinal() - _EPOCH) * _DAY_S
_RULES_OF_TENANTS = ((DAY, Rule.TENANT_DAY), (MONTH, Rule.TENANT_MONTH))
_RULES_OF_KEYS = ((DAY, Rule.KEY_DAY), (MONTH, Rule.KEY_MONTH))


def period_start(period: str, at: float) -> str:
    """The first day (UTC) of the period that a time is in, such as `2026-11-01`."""
    return _start(period, _day(at)).isoformat()


def period_left_s(period: str, at: float) -> float:
    """Seconds until that period ends."""
    start = _start(period, _day(at))
    days = 1 if period == DAY else monthrange(start.year, start.month)[1]
    return (start.toordinal() - _EPOCH + days) * _DAY_S - at


def _day(at: float) -> int:
    # Clocks can be wrong, but never so that no day can be told.
    return int(min(max(at, 0.0), _LAST_S) // _DAY_S)


@lru_cache(maxsize=128)
def _start(period: str, day: int) -> date:
    found = date.fromordinal(_EPOCH + day)
    return found if period == DAY else found.replace(day=1)


def _check_limit(tenant: str, user: str, rule: str, value: int) -> None:
    whose = f"tenant {tenant!r}" + (f", user {user!r}" if user else "")
    known = (*TOKEN_RULES, Rule.USER_LARGE)
    if rule not in known:
        raise ValueError(f"{whose}: there is no rule {rule!r}; the rules are {', '.join(known)}")
    if user and rule == Rule.TENANT_MINUTE:
        raise ValueError(f"{whose}: {rule} is a limit of the tenant; set it without a user")
    if value < 0:
        raise ValueError(f"{whose}: {rule} must be 0 or more, not {value}")


def _check_budget(tenant: str, key: str, period: str, terms: BudgetTerms) -> None:
    whose = f"budget of tenant {tenant!r}" + (f", key {key!r}" if key else "")
    if period not in PERIODS:
        raise ValueError(f"{whose}: the period is 'day' or 'month', not {period!r}")
    if terms.policy not in {REFUSE, DEGRADE, ALLOW}:
        raise ValueError(
            f"{whose}: the policy is 'refuse', 'degrade' or 'allow', not {terms.policy!r}"
        )
    if terms.micros < 0:
        raise ValueError(f"{whose}: {terms.micros} micro-dollars are less than 0")
