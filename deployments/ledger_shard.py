"""One shard of the ledger without Ray: its stream, its store and what it decides.

Ticks that have come while the store was busy share the next transaction, and are answered when it
is durable. If it fails, nothing is answered; the shard forgets what it had decided and tries the
same ticks again until the store takes them.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from app.admin.operations import Administration
from app.admin.session import View
from app.admission.exchange import Tick
from app.admission.ledger import LedgerCore
from app.admission.limits import BudgetTerms, LimitDefaults, LimitTable
from app.audit.events import AuditEvent, EventKind
from app.audit.log import AuditLog
from app.audit.signing import SigningKey, load_signing_key
from app.config import FleetConfig
from app.errors import ConfigError, InternalError, Overloaded, StoreUnavailable, TidegateError
from app.store.database import Database
from app.store.ledger import Fenced, claim_shard
from app.store.limits import list_budgets, list_limits
from app.store.migrate import migrate
from app.store.tables import shards
from app.store.versions import Version, current
from deployments.ledger_clock import LedgerClock
from deployments.ledger_commit import LedgerCommit
from deployments.ledger_messages import CALL, ENCODER, TICK, Call, Failure, Result
from deployments.ledger_models import LedgerModels
from deployments.ledger_registrar import Registrar
from deployments.ledger_retention import DEAD_KEYS_S, EVERY_S, retain
from deployments.wire import Connection, Endpoint, Kind, StreamServer

POLL_S = 0.25
START_S = 30.0
MAX_CALLS = 64
_BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0)

log = structlog.get_logger(__name__)


class LedgerShard:
    """Keeps what its tenants may use and have used; shard 0 is the registrar too.

    Args:
        config: the fleet's configuration.
        shard: its number, from 0.
        forecaster: asks for forecasts and plans; None where nobody can.
    """

    def __init__(self, config: FleetConfig, shard: int, forecaster: View | None = None) -> None:
        self._config = config
        self._shard = shard
        self._forecaster = forecaster
        self._database = Database(config.store.url)
        self._clock = LedgerClock()
        self._core = LedgerCore(
            _table(config, (), ()),
            lease_s=config.ledger.lease_s,
            longest_request_s=config.gateway.request_timeout_s,
        )
        signing_key = _signing_key(config.store.data_dir)
        # With several shards on several nodes, each may sign with a key of its own.
        self._audit_keys = [signing_key.public] if config.ledger.shards == 1 else None
        self._audit = AuditLog(
            f"ledger-{shard}",
            signing_key,
            checkpoint_every=config.audit.checkpoint_every,
            checkpoint_s=config.audit.checkpoint_s,
        )
        self._registrar = Registrar(config, self._database) if shard == 0 else None
        self._server = StreamServer(self._frame, self._lost, on_open=self._opened)
        self._ticks: dict[Connection, Tick] = {}
        self._come = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._polling = asyncio.Lock()
        self._table: LimitTable | None = None
        self._limits_version = -1
        self._epoch = 0
        self._commit: LedgerCommit
        self._administration: Administration
        self.models = LedgerModels(self._database, self._record, self._clock)

    @property
    def admin_key_file(self) -> str | None:
        """Where the first admin key is; None if it was set by the environment, or elsewhere."""
        file = self._registrar.admin_key_file if self._registrar is not None else None
        return None if file is None else str(file)

    async def start(self, host: str) -> Endpoint:
        """Takes over the shard and listens on `host`, an address of this node.

        A store that is not there yet is waited for.

        Raises:
            StoreUnavailable: it did not come in time, or cannot be used at all.
            ConfigError: a secret cannot be used.
        """
        await self._patiently(self._take_over)
        endpoint = await self._server.start(host)
        self._run(self._serve_ticks())
        self._run(self._poll_forever())
        self._run(self._retain_forever())
        log.info("ledger ready", shard=self._shard, epoch=self._epoch)
        return endpoint

    def check(self) -> None:
        """Raises once this ledger must be replaced: its loop has died, or another took over."""
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Stops; whatever has not been answered is sent again by the gateways, to the next one."""
        for task in (*self._tasks, *self._calls):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._calls, return_exceptions=True)
        await self._server.close()
        if self._epoch and self._failure is None:
            with contextlib.suppress(StoreUnavailable, Fenced):
                await self._commit.seal(self._clock())
        await self._database.close()

    # Beginning.

    async def _patiently(self, begin: Any) -> None:
        deadline = time.monotonic() + START_S
        attempt = 0
        while True:
            try:
                await begin()
                return
            except StoreUnavailable as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("waiting for the store", shard=self._shard, error=str(error))
                await asyncio.sleep(_pause(attempt))
                attempt += 1

    async def _take_over(self) -> None:
        await migrate(self._config.store.url)
        await self._database.start()
        async with self._database.begin() as conn:
            self._epoch = await claim_shard(conn, self._shard)
        self._commit = LedgerCommit(
            self._database, self._core, self._audit, shard=self._shard, epoch=self._epoch
        )
        if self._registrar is not None:
            await self._registrar.load()
            self._administration = Administration(
                self._database,
                self._config,
                self._registrar.pepper,
                clock=self._clock,
                append_audit=self._append_audit,
                audit_keys=self._audit_keys,
                forecaster=self._forecaster,
            )
        async with self._database.read() as conn:
            await self._load_limits(conn, (await current(conn))[Version.LIMITS])
        await self._commit.record([self._event("started", epoch=self._epoch)], self._clock())

    async def _append_audit(self, conn: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        await self._commit.append_audit(conn, events, self._clock())

    async def _record(self, events: Sequence[AuditEvent], now: float) -> None:
        await self._commit.record(events, now)

    def _event(self, what: str, **detail: int) -> AuditEvent:
        return AuditEvent(
            id=uuid.uuid4().hex,
            at=self._clock(),
            kind=EventKind.LEDGER,
            detail={"what": what, "shard": self._shard, **detail},
        )

    def _run(self, forever: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(forever)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            log.error("ledger stops", shard=self._shard, error=str(error))
            self._failure = error
        # Gateways shall look for the one that took over, at once.
        for connection in list(self._server.connections):
            connection.close()

    # Streams.

    def _opened(self, connection: Connection) -> None:
        if self._failure is not None:
            connection.close()
        elif self._registrar is not None:
            connection.send(Kind.DIRECTORY, [self._registrar.snapshot])

    def _lost(self, connection: Connection) -> None:
        self._ticks.pop(connection, None)

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if self._failure is not None:
            connection.close()
        elif kind is Kind.TICK:
            self._ticks[connection] = TICK.decode(buffers[0])
            self._come.set()
        elif kind is Kind.CALL and self._registrar is not None:
            task = asyncio.get_running_loop().create_task(
                self._answer(
                    connection, CALL.decode(buffers[0]), full=len(self._calls) >= MAX_CALLS
                )
            )
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
        else:
            connection.close()

    # Ticks.

    async def _serve_ticks(self) -> None:
        attempt = 0
        while True:
            await self._come.wait()
            self._come.clear()
            batch = self._quick_ones_answered()
            if not batch:
                continue
            try:
                await self._serve(batch)
                attempt = 0
            except StoreUnavailable as error:
                log.warning("ticks wait for the store", shard=self._shard, error=str(error))
                await asyncio.sleep(_pause(attempt))
                attempt += 1
                self._come.set()

    def _quick_ones_answered(self) -> dict[Connection, Tick]:
        """Answers the ticks that need no store; returns the others."""
        now = self._clock()
        left = {}
        for connection, tick in list(self._ticks.items()):
            tock = self._commit.at_once(tick, now)
            if tock is None:
                left[connection] = tick
            else:
                del self._ticks[connection]
                connection.send(Kind.TOCK, [ENCODER.encode(tock)])
        return left

    async def _serve(self, batch: dict[Connection, Tick]) -> None:
        # Not while a batch is being decided: all of it is decided by one table.
        if self._table is not None:
            self._core.set_table(self._table)
            self._table = None
        try:
            tocks = await self._commit.apply(list(batch.values()), self._clock())
        except (StoreUnavailable, Fenced):
            raise
        except Exception as error:
            if len(batch) > 1:
                # One of them must not keep the others from being served.
                for connection, tick in batch.items():
                    await self._serve({connection: tick})
                return
            log.exception("tick dropped", shard=self._shard, error=type(error).__name__)
            for connection in batch:
                self._ticks.pop(connection, None)
                connection.close()
            return
        for (connection, tick), tock in zip(batch.items(), tocks, strict=True):
            if self._ticks.get(connection) is tick:
                del self._ticks[connection]
            connection.send(Kind.TOCK, [ENCODER.encode(tock)])

    # Calls.

    async def _answer(self, connection: Connection, call: Call, *, full: bool) -> None:
        try:
            if full:
                raise Overloaded("too many admin calls at once; try again in a second")
            value = await self._administration.call(call.method, call.params, call.caller)
            result = Result(call.number, value)
            # Before the answer, so that a key that was just revoked is refused from here on. If
            # the store has gone meanwhile it is said a little later, and done all the same.
            with contextlib.suppress(StoreUnavailable):
                await self._poll()
        except TidegateError as error:
            result = Result(call.number, failure=Failure.of(error))
        except Fenced as error:
            self._fail(error)
            return
        except Exception:
            log.exception("admin call failed", method=call.method[:64])
            internal = InternalError("the call failed; the ledger's log says why")
            result = Result(call.number, failure=Failure.of(internal))
        connection.send(Kind.RESULT, [ENCODER.encode(result)])

    # What others change in the store.

    async def _poll_forever(self) -> None:
        away = False
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self._poll()
                away = False
            except StoreUnavailable as error:
                if not away:
                    log.warning("store away", shard=self._shard, error=str(error))
                away = True

    async def _poll(self) -> None:
        # One at a time, or a slower one would bring back what a faster one has replaced.
        async with self._polling:
            await self._follow()

    async def _follow(self) -> None:
        async with self._database.read() as conn:
            epoch = (
                await conn.execute(select(shards.c.epoch).where(shards.c.shard == self._shard))
            ).scalar()
            if epoch != self._epoch:
                raise Fenced(f"shard {self._shard} is at epoch {epoch}, this one at {self._epoch}")
            versions = await current(conn)
            if versions[Version.LIMITS] != self._limits_version:
                await self._load_limits(conn, versions[Version.LIMITS])
        if self._registrar is not None:
            directory, tenants = versions[Version.DIRECTORY], versions[Version.TENANTS]
            self._publish(await self._registrar.refresh(directory, tenants))

    async def _load_limits(self, conn: AsyncConnection, version: int) -> None:
        limits, budgets = await list_limits(conn), await list_budgets(conn)
        try:
            self._table = _table(
                self._config,
                [((row.tenant, row.user, row.rule), row.value) for row in limits],
                [
                    (
                        (row.tenant, row.key, row.period),
                        BudgetTerms(row.micros, row.alert, row.policy),
                    )
                    for row in budgets
                ],
            )
        except ValueError as error:
            # The ones before go on being applied: better than some of these.
            log.error("limits not taken", shard=self._shard, error=str(error))  # noqa: TRY400
        self._limits_version = version

    def _publish(self, message: bytes | None) -> None:
        if message is not None:
            for connection in self._server.connections:
                connection.send(Kind.DIRECTORY, [message])

    async def _retain_forever(self) -> None:
        while True:
            now = self._clock()
            try:
                await retain(
                    self._database,
                    self._audit,
                    shard=self._shard,
                    retention_days=self._config.audit.retention_days,
                    now=now,
                )
            except StoreUnavailable as error:
                log.warning("nothing removed", shard=self._shard, error=str(error))
            if self._registrar is not None:
                self._publish(self._registrar.forget(now - DEAD_KEYS_S))
            await asyncio.sleep(EVERY_S)


def _signing_key(data_dir: str) -> SigningKey:
    try:
        return load_signing_key(data_dir)
    except (ValueError, OSError) as error:
        raise ConfigError([("store.data_dir", str(error))]) from None


def _table(
    config: FleetConfig,
    limits: Sequence[tuple[tuple[str, str, str], int]],
    budgets: Sequence[tuple[tuple[str, str, str], BudgetTerms]],
) -> LimitTable:
    defaults = LimitDefaults(**config.limits.model_dump(), **config.budgets.model_dump(mode="json"))
    return LimitTable(defaults, dict(limits), dict(budgets))


def _pause(attempt: int) -> float:
    return _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]
