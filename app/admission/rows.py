"""What the ledger keeps in the store, row by row, as it goes in and out."""

from dataclasses import dataclass
from typing import NamedTuple

from app.audit.events import AuditEvent

TENANT_LEASED = "tenant_leased_micros"
KEY_LEASED = "key_leased_micros"
"""Names under which the money in leases is kept among the buckets: of a tenant, and of one of its
keys (which takes the place of the user)."""


class BucketName(NamedTuple):
    """What a row of the buckets is found by; `user` is empty for a whole tenant's."""

    rule: str
    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class BucketRow:
    """A number of the ledger's own: a window's level, money in leases, or large requests running.

    Attributes:
        rule: which number.
        tenant: whose.
        user: the user or key; empty for a whole tenant's.
        level: the number.
        at: when it was right, in seconds.
    """

    rule: str
    tenant: str
    user: str
    level: float
    at: float


class SpendingName(NamedTuple):
    """What a row of the spending is found by; `key` is empty for the whole tenant's."""

    tenant: str
    key: str
    period: str
    start: str


@dataclass(frozen=True, slots=True)
class SpendingRow:
    """What was spent in one period.

    Attributes:
        tenant: whose.
        key: by which key; empty for the whole tenant.
        period: `day` or `month`.
        start: its first day, such as `2026-11-01`.
        micros: settled micro-dollars.
        alerted: the alert of this period has been raised.
    """

    tenant: str
    key: str
    period: str
    start: str
    micros: int
    alerted: bool


@dataclass(frozen=True, slots=True)
class TickRow:
    """The last tick of a gateway that was applied.

    Attributes:
        gateway: one life of a gateway.
        sequence: the tick's number.
        at: when, in seconds.
    """

    gateway: str
    sequence: int
    at: float


class Missing(NamedTuple):
    """What has to be read from the store before a tick can be applied."""

    buckets: frozenset[BucketName] = frozenset()
    spending: frozenset[SpendingName] = frozenset()
    gateways: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.buckets or self.spending or self.gateways)


class Dirty(NamedTuple):
    """What has to be written in the transaction that makes a batch of ticks true."""

    buckets: tuple[BucketRow, ...] = ()
    spending: tuple[SpendingRow, ...] = ()
    ticks: tuple[TickRow, ...] = ()
    alerts: tuple[AuditEvent, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.buckets or self.spending or self.ticks or self.alerts)
