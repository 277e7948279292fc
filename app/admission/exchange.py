"""What gateways and the ledger say to each other, as plain data.

A gateway sends one `Tick` at a time to each shard and waits for its `Tock`; a tick whose answer is
lost is sent again, unchanged, under the same `sequence`.
"""

from enum import StrEnum

import msgspec

from app.audit.events import AuditEvent


class Rule(StrEnum):
    """The limits that a request can run into, by the names that a 429 and the configuration use."""

    USER_MINUTE = "user_tokens_per_minute"
    USER_HOUR = "user_tokens_per_hour"
    TENANT_MINUTE = "tenant_tokens_per_minute"
    USER_LARGE = "user_large_requests"
    TENANT_DAY = "tenant_budget_day"
    TENANT_MONTH = "tenant_budget_month"
    KEY_DAY = "key_budget_day"
    KEY_MONTH = "key_budget_month"


class Account(msgspec.Struct, frozen=True, array_like=True):
    """Whose limits and budgets a request counts against."""

    tenant: str
    user: str
    key: str


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """A gateway needs a larger lease for one account.

    Attributes:
        number: the gateway's number for this question.
        account: whose.
        tokens: the least that will do: what the waiting requests need.
        more_tokens: what it would take beyond that, to serve the next requests without asking.
        micros: the least money, in integer micro-dollars.
        more_micros: what it would take beyond that.
        large: id of the large-or-xl request that this is for; it takes one of the user's places.
            Empty for all others.
    """

    number: int
    account: Account
    tokens: int
    more_tokens: int
    micros: int
    more_micros: int
    large: str = ""


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """The lease asked for, at least in the least amount.

    Attributes:
        number: of the question.
        tokens: tokens leased.
        micros: micro-dollars leased.
        valid_s: seconds until what is unspent counts as spent; the gateway returns it before.
        limit: the tightest token rule's size, for `x-ratelimit-limit-tokens`.
        remaining: what is left of it after this lease.
        reset_s: seconds until it is full again.
        degraded: a budget is used up and its policy is to serve in the batch tier.
    """

    number: int
    tokens: int
    micros: int
    valid_s: float
    limit: int
    remaining: int
    reset_s: float
    degraded: bool = False


class Denial(msgspec.Struct, frozen=True, array_like=True):
    """A no, with the rule that says it.

    Attributes:
        number: of the question.
        rule: the limit that was met.
        limit: its size: tokens, requests or micro-dollars.
        used: what is used of it, leases included.
        retry_after_s: when asking again may help; None where it never will (the request is larger
            than the limit).
    """

    number: int
    rule: Rule
    limit: int
    used: int
    retry_after_s: float | None


class Return(msgspec.Struct, frozen=True, array_like=True):
    """What a gateway gives back of its lease; negative where more was used than had been leased."""

    account: Account
    tokens: int
    micros: int


class Settlement(msgspec.Struct, frozen=True, array_like=True):
    """What one request really used. Its `id` makes it count once, however often it arrives.

    Attributes:
        id: ours, unique for ever; never the client's request id.
        request_id: what the client was told.
        at: Unix time at the end of the request, in seconds.
        account: who pays.
        micros: the price in micro-dollars, by our own price table.
        outcome: `finished`, `cancelled`, or the `code` of the error that ended it.
        batch_tenants: tenants that shared a batch with it, as the engine saw them.
    """

    id: str
    request_id: str
    at: float
    account: Account
    model: str
    pool: str
    zone: str
    route: str
    size_class: str
    tier: str
    prompt_tokens: int
    output_tokens: int
    micros: int
    outcome: str
    batch_tenants: tuple[str, ...] = ()


class Tick(msgspec.Struct, frozen=True, array_like=True):
    """Everything one gateway has for one shard.

    Attributes:
        gateway: unique for every life of a gateway.
        sequence: counts up from 1 by one; a tick that is sent again keeps its number. Returns and
            freed places of a sequence that has been applied are not applied again.
        large_done: ids of large-or-xl requests that have ended.
        large_running: ids of all that still run here: what a new ledger learns its counts from.
    """

    gateway: str
    sequence: int
    asks: tuple[Ask, ...] = ()
    returns: tuple[Return, ...] = ()
    large_done: tuple[str, ...] = ()
    large_running: tuple[tuple[str, Account], ...] = ()
    settlements: tuple[Settlement, ...] = ()
    events: tuple[AuditEvent, ...] = ()


class Tock(msgspec.Struct, frozen=True, array_like=True):
    """The ledger's answer; all of it is durable when it is sent.

    Attributes:
        settled: ids of settlements that are in the store, whether by this tick or an earlier one.
        recorded: ids of audit events that are in the store.
    """

    sequence: int
    grants: tuple[Grant, ...] = ()
    denials: tuple[Denial, ...] = ()
    settled: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
