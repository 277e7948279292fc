"""The one way in: a method, its parameters and who calls."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin import capacity, keys, limits, log, tenants, usage
from app.admin import params as p
from app.admin.rights import ADMIN, EVERYBODY, MANAGERS, require
from app.admin.session import Entry, Session, View
from app.admin.values import parse
from app.audit.events import AuditEvent, EventKind
from app.config import FleetConfig
from app.config.explain import did_you_mean
from app.config.types import Section
from app.errors import InvalidRequest, NotFound, Refused, TidegateError, Unavailable
from app.security.identity import Identity, Role
from app.store.database import Database

AppendAudit = Callable[[AsyncConnection, Sequence[AuditEvent]], Awaitable[None]]
"""Adds entries to the audit log, within a transaction that the caller commits."""

_log = structlog.get_logger(__name__)


class Operation(NamedTuple):
    """What stands behind a method."""

    run: Callable[[Session, Any], Awaitable[dict[str, Any]]]
    params: type[Section]
    roles: frozenset[Role]
    reads: bool = False
    """Whether it changes nothing; it then delays no writer."""


OPERATIONS = {
    "keys.create": Operation(keys.create, p.KeysCreate, MANAGERS),
    "keys.list": Operation(keys.list_, p.KeysList, MANAGERS, reads=True),
    "keys.get": Operation(keys.get, p.OneKey, MANAGERS, reads=True),
    "keys.revoke": Operation(keys.revoke, p.OneKey, MANAGERS),
    "keys.rotate": Operation(keys.rotate, p.KeysRotate, MANAGERS),
    "tenants.create": Operation(tenants.create, p.TenantsCreate, ADMIN),
    "tenants.list": Operation(tenants.list_, p.TenantsList, ADMIN, reads=True),
    "tenants.update": Operation(tenants.update, p.TenantsUpdate, ADMIN),
    "users.create": Operation(tenants.create_user, p.UsersCreate, ADMIN),
    "users.list": Operation(tenants.list_users, p.UsersList, ADMIN, reads=True),
    "users.forget": Operation(tenants.forget_user, p.UsersForget, ADMIN),
    "limits.set": Operation(limits.set_, p.LimitsSet, ADMIN),
    "limits.list": Operation(limits.list_, p.OfTenant, MANAGERS, reads=True),
    "limits.delete": Operation(limits.delete, p.LimitsDelete, ADMIN),
    "budgets.set": Operation(limits.set_budget, p.BudgetsSet, ADMIN),
    "budgets.list": Operation(limits.list_budgets, p.OfTenant, MANAGERS, reads=True),
    "budgets.delete": Operation(limits.delete_budget, p.BudgetsDelete, ADMIN),
    "usage.query": Operation(usage.query, p.UsageQuery, EVERYBODY, reads=True),
    "forecast.get": Operation(capacity.forecast, p.OfPool, MANAGERS, reads=True),
    "plan.get": Operation(capacity.plan, p.OfPool, MANAGERS, reads=True),
    "audit.list": Operation(log.list_, p.AuditList, MANAGERS, reads=True),
    "audit.checkpoints": Operation(log.checkpoints, p.AuditCheckpoints, ADMIN, reads=True),
    "audit.export": Operation(log.export, p.AuditExport, ADMIN, reads=True),
    "audit.verify": Operation(log.verify, p.AuditVerify, ADMIN, reads=True),
}
"""By the method's name."""


class Administration:
    """What the administrators of a fleet can do.

    A change and its entry in the audit log are one transaction. Reads and refused calls are logged
    too.

    Args:
        database: the store.
        config: the fleet's configuration.
        pepper: what digests of keys are keyed with.
        clock: Unix time, as the ledger has it.
        append_audit: adds entries to the audit log.
        audit_keys: public keys that sign the audit log; without them `audit.verify` takes the
            signatures of any key.
        forecaster: asks for `forecast` or `plan` of a pool, or of all; without it they cannot be
            had.
    """

    def __init__(
        self,
        database: Database,
        config: FleetConfig,
        pepper: bytes,
        *,
        clock: Callable[[], float],
        append_audit: AppendAudit,
        audit_keys: Collection[bytes] | None = None,
        forecaster: View | None = None,
    ) -> None:
        self._database = database
        self._config = config
        self._pepper = pepper
        self._clock = clock
        self._append_audit = append_audit
        self._audit_keys = None if audit_keys is None else frozenset(audit_keys)
        self._forecaster = forecaster

    async def call(self, method: str, params: dict[str, Any], caller: Identity) -> dict[str, Any]:
        """Does what is asked, if the caller may.

        Args:
            method: one of `OPERATIONS`.
            params: by name, as they came from outside.
            caller: who asks; authenticated.

        Returns:
            The answer: plain data that JSON can hold.

        Raises:
            NotFound: there is no such method, or nothing of the name that was given.
            InvalidRequest: a parameter is not valid; the error names it and the way out.
            RoleForbidden: the caller may not do this.
            ZoneForbidden: the key would have a zone above the caller's; so for models and tiers.
            Conflict: what is to be made exists already.
            StoreUnavailable: the store cannot be read or written.
            ForecasterUnavailable: the forecaster does not answer.
        """
        entry = _entry(method, caller)
        now = self._clock()
        try:
            operation = _operation(method)
            require(method, operation.roles, caller)
            checked = parse(operation.params, params)
            return await self._run(operation, checked, caller, entry, now)
        except (InvalidRequest, Refused) as error:
            await self._record_refusal(error, _entry(method, caller), now)
            raise

    async def _run(
        self, operation: Operation, params: Section, caller: Identity, entry: Entry, now: float
    ) -> dict[str, Any]:
        def session(conn: AsyncConnection) -> Session:
            return Session(
                *(conn, self._config, self._pepper, now, caller, entry, self._audit_keys),
                forecaster=self._forecaster,
            )

        if operation.reads:
            async with self._database.read() as conn:
                answer = await operation.run(session(conn), params)
            # What nobody could record, nobody gets to see.
            async with self._database.begin() as conn:
                await self._append_audit(conn, [entry.event(now)])
            return answer
        async with self._database.begin() as conn:
            answer = await operation.run(session(conn), params)
            await self._append_audit(conn, [entry.event(now)])
        return answer

    async def _record_refusal(self, error: TidegateError, entry: Entry, now: float) -> None:
        entry.detail["outcome"] = error.code
        try:
            async with self._database.begin() as conn:
                await self._append_audit(conn, [entry.event(now)])
        except Unavailable:
            # The caller is refused either way, and should read why.
            _log.warning("a refused admin call could not be recorded: the store is away")


def _entry(method: str, caller: Identity) -> Entry:
    entry = Entry(EventKind.ADMIN_CALL, caller.tenant, caller.user, caller.key)
    entry.detail |= {"method": method[:64], "by": caller.key, "outcome": "done"}
    return entry


def _operation(method: str) -> Operation:
    try:
        return OPERATIONS[method]
    except KeyError:
        way_out = did_you_mean(method, OPERATIONS) or f"there are {', '.join(OPERATIONS)}"
        raise NotFound(f"there is no method {method[:64]!r}; {way_out}") from None
