"""An Administration on a store with a real audit log, and who calls it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.operations import Administration
from app.admission.tier import Tier
from app.audit.events import AuditEvent
from app.audit.log import AuditLog
from app.audit.signing import SigningKey
from app.config import FleetConfig
from app.security.identity import Identity, Role
from app.store import audit
from app.store.audit import AuditRow
from app.store.database import Database
from app.store.people import find_user

PEPPER = bytes(range(32))
NOW = 1_900_000_000.0
ADMIN = Identity(
    tenant="admin",
    user="admin",
    max_zone="confidential",
    key="admin",
    roles=frozenset({Role.ADMIN}),
    tiers=frozenset(Tier),
    unlimited=True,
)
OPERATOR = Identity(
    tenant="acme", user="olga", max_zone="private", key="op", roles=frozenset({Role.OPERATOR})
)
DEVELOPER = replace(OPERATOR, user="ada", key="dev", roles=frozenset({Role.DEVELOPER}))


class Desk:
    """Calls, with a clock that is set by hand."""

    def __init__(self, database: Database, config: FleetConfig) -> None:
        self.database = database
        self.config = config
        self.now = NOW
        self.key = SigningKey(bytes(32))
        self.log = AuditLog("ledger-0", self.key, checkpoint_every=5, checkpoint_s=60.0)
        self.administration = Administration(
            database,
            config,
            PEPPER,
            clock=lambda: self.now,
            append_audit=self.append,
            audit_keys=[self.key.public],
        )

    async def append(self, conn: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        subjects = {}
        for event in events:
            if found := await find_user(conn, event.tenant, event.user):
                subjects[event.tenant, event.user] = found.subject
        await self.log.append(conn, events, subjects, self.now)

    async def call(self, name: str, caller: Identity = ADMIN, /, **params: Any) -> dict[str, Any]:
        return await self.administration.call(name, params, caller)

    async def entries(self) -> list[AuditRow]:
        async with self.database.read() as conn:
            return await audit.page(conn, "ledger-0")

    async def last_entry(self) -> dict[str, Any]:
        row = (await self.entries())[-1]
        body = msgspec.json.decode(row.body)
        found: dict[str, Any] = {
            "kind": row.kind,
            "tenant": row.tenant,
            "subject": row.subject,
            **body,
        }
        detail: dict[str, Any] = found.pop("detail", {})
        return found | detail
