"""The ledger's no in words: which limit, how much of it is used, and what to do."""

import math

from app.admission.exchange import Account, Denial, Rule
from app.errors import BudgetExhausted, Limited, RateLimited, RequestTooLarge, TooManyLarge

_WINDOWS = {
    Rule.USER_MINUTE: "a minute",
    Rule.USER_HOUR: "an hour",
    Rule.TENANT_MINUTE: "a minute",
}
_BUDGETS = {
    Rule.TENANT_DAY: "a day",
    Rule.TENANT_MONTH: "a month",
    Rule.KEY_DAY: "a day",
    Rule.KEY_MONTH: "a month",
}
_OF_TENANTS = {Rule.TENANT_MINUTE, Rule.TENANT_DAY, Rule.TENANT_MONTH}
_OF_KEYS = {Rule.KEY_DAY, Rule.KEY_MONTH}


def limited(denial: Denial, account: Account, tokens: int) -> Limited:
    """The error for the client.

    Args:
        denial: the ledger's no.
        account: whose request it was.
        tokens: what it would have reserved.
    """
    who = _who(denial.rule, account)
    if denial.rule in _BUDGETS:
        return _error(BudgetExhausted, _budget(denial, who), denial)
    if denial.rule is Rule.USER_LARGE:
        return _error(TooManyLarge, _large(denial, who), denial)
    limit = f"{who} may use {denial.limit:,} tokens {_WINDOWS[denial.rule]} ({denial.rule})"
    if denial.retry_after_s is None:
        return _error(
            RequestTooLarge,
            f"{limit}. This request needs up to {tokens:,}, more than that ever lets through at "
            "once: shorten the prompt, ask for fewer output tokens, or have an admin raise the "
            "limit.",
            denial,
        )
    return _error(
        RateLimited,
        f"{limit}, and {denial.used:,} are used or reserved. This request needs up to "
        f"{tokens:,}: try again in {_span(denial.retry_after_s)}, or ask for fewer output tokens.",
        denial,
    )


def _who(rule: Rule, account: Account) -> str:
    if rule in _OF_TENANTS:
        return f"Tenant {account.tenant!r}"
    if rule in _OF_KEYS:
        return f"Key {account.key!r} of tenant {account.tenant!r}"
    return f"User {account.user!r} of tenant {account.tenant!r}"


def _budget(denial: Denial, who: str) -> str:
    text = (
        f"{who} may spend {_dollars(denial.limit)} {_BUDGETS[denial.rule]} ({denial.rule}, in "
        f"UTC), and {_dollars(denial.used)} is spent or reserved"
    )
    if denial.retry_after_s is None:
        return f"{text}. This request may cost more than is left: have an admin raise the budget."
    return f"{text}. Try again in {_span(denial.retry_after_s)}, or have an admin raise the budget."


def _large(denial: Denial, who: str) -> str:
    requests = "request" if denial.limit == 1 else "requests"
    return (
        f"{who} may have {denial.limit:,} {requests} of the size classes large and xl running at a "
        f"time ({denial.rule}), and has {denial.used:,}. Try again when one of them has ended, or "
        "send a shorter request."
    )


def _error(cls: type[Limited], message: str, denial: Denial) -> Limited:
    return cls(
        message,
        rule=denial.rule.value,
        limit=denial.limit,
        used=denial.used,
        retry_after_s=denial.retry_after_s,
    )


def _dollars(micros: int) -> str:
    whole, rest = divmod(micros, 1_000_000)
    return f"${whole:,}." + f"{rest:06d}".rstrip("0").ljust(2, "0")


def _span(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if whole >= 2 * size:
            return f"{math.ceil(whole / size)} {unit}"
    return f"{whole} s"
