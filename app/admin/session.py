"""What every operation works with, and what it leaves for the audit log."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from app.audit.events import AuditEvent, EventKind
from app.config import FleetConfig
from app.security.identity import Identity

View = Callable[[str, str | None], Awaitable[dict[str, Any]]]
"""Asks for what is called so, of one pool or of all."""


@dataclass(slots=True)
class Entry:
    """What the audit log will say about a call.

    Attributes:
        kind: what happened.
        tenant: whose things were touched; the caller's own where nothing else was.
        user: whose, within the tenant.
        key: id of the key that was touched; the caller's own where none was.
        zone: the zone of the key that was touched.
        detail: names and numbers. Never the name of a user, which must stay forgettable.
    """

    kind: EventKind
    tenant: str
    user: str
    key: str
    zone: str = ""
    detail: dict[str, str | int | float | bool] = field(default_factory=dict)

    def event(self, now: float) -> AuditEvent:
        """The entry as the log takes it."""
        return AuditEvent(
            id=secrets.token_hex(16),
            at=now,
            kind=self.kind,
            tenant=self.tenant,
            user=self.user,
            key=self.key,
            zone=self.zone,
            detail=self.detail,
        )


@dataclass(frozen=True, slots=True)
class Session:
    """One call: a transaction, who asks, when, and under which configuration.

    Attributes:
        conn: the transaction that the call reads and writes in.
        config: the fleet's configuration, whose names and defaults count.
        pepper: what digests of keys are keyed with.
        now: Unix time.
        caller: who asks.
        entry: what the audit log will say.
        audit_keys: public keys that sign the audit log; None for any.
        forecaster: asks for `forecast` or `plan` of a pool, or of all; None where nobody can.
    """

    conn: AsyncConnection
    config: FleetConfig
    pepper: bytes
    now: float
    caller: Identity
    entry: Entry
    audit_keys: frozenset[bytes] | None = None
    forecaster: View | None = None

    def about(
        self,
        *,
        tenant: str | None = None,
        user: str = "",
        key: str = "",
        zone: str = "",
        detail: Mapping[str, str | int | float | bool | None] | None = None,
        kind: EventKind | None = None,
    ) -> None:
        """Says what the call touches: the log files it there, with the caller's key beside it."""
        entry = self.entry
        entry.kind = kind or entry.kind
        if tenant is not None:
            entry.tenant, entry.user = tenant, user
        entry.key, entry.zone = key or entry.key, zone
        entry.detail |= {
            name: value for name, value in (detail or {}).items() if value not in {None, ""}
        }
