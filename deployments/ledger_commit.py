"""One transaction of the ledger: a batch of ticks becomes true in the store, or none of it does."""

from collections.abc import Iterable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from app.admission import rows
from app.admission.exchange import Tick, Tock
from app.admission.ledger import LedgerCore
from app.audit.events import AuditEvent
from app.audit.log import AuditLog
from app.store import ledger as store
from app.store.database import Database
from app.store.people import ensure_users, find_user


class LedgerCommit:
    """Carries ticks through the core and the store.

    Args:
        database: the store.
        core: decides.
        audit: the shard's chain of the log.
        shard: its number.
        epoch: of this ledger; one with a newer epoch shuts it out.
    """

    def __init__(
        self, database: Database, core: LedgerCore, audit: AuditLog, *, shard: int, epoch: int
    ) -> None:
        self._database = database
        self._core = core
        self._audit = audit
        self._shard = shard
        self._epoch = epoch

    async def apply(self, ticks: Sequence[Tick], now: float) -> list[Tock]:
        """The answers to ticks, all of them durable.

        Raises:
            StoreUnavailable: nothing is known to be written; the ticks may be applied again.
            Fenced: another ledger has taken over.
        """
        try:
            async with self._database.begin() as conn:
                await store.check_epoch(conn, self._shard, self._epoch)
                await self._load(conn, ticks, now)
                names = _users(ticks)
                subjects = await ensure_users(conn, names, now) if names else {}
                new = await self._settle(conn, ticks, subjects)
                tocks = [
                    self._core.apply(now, tick, fresh)
                    for tick, fresh in zip(ticks, _shares(ticks, new), strict=True)
                ]
                dirty = self._core.dirty()
                await self._write(conn, dirty)
                events = [*_unique(event for tick in ticks for event in tick.events), *dirty.alerts]
                if events or self._audit.due(now):
                    await self._audit.append(conn, events, subjects, now)
        except BaseException:
            # Also where it was cancelled: what the core decided may not be in the store.
            self._core.discard()
            raise
        return tocks

    def at_once(self, tick: Tick, now: float) -> Tock | None:
        """The answer to a tick that changes nothing worth a transaction; None for all others.

        What little it changes is stored with the next transaction: a ledger that begins without
        it takes the same tick for a new one, which does no harm.
        """
        if tick.asks or tick.returns or tick.large_done or tick.settlements or tick.events:
            return None
        if self._core.missing(tick, now) or self._audit.due(now):
            return None
        return self._core.apply(now, tick, frozenset())

    async def append_audit(
        self, conn: AsyncConnection, events: Sequence[AuditEvent], now: float
    ) -> None:
        """Adds events to the log within somebody else's transaction.

        Raises:
            Fenced: another ledger has taken over, so that nothing of this one counts any more.
        """
        await store.check_epoch(conn, self._shard, self._epoch)
        subjects = {}
        for tenant, user in {(event.tenant, event.user) for event in events if event.user}:
            found = await find_user(conn, tenant, user)
            if found is not None:
                subjects[tenant, user] = found.subject
        await self._audit.append(conn, events, subjects, now)

    async def record(self, events: Sequence[AuditEvent], now: float) -> None:
        """Adds events of the ledger's own to the log."""
        async with self._database.begin() as conn:
            await self.append_audit(conn, events, now)

    async def seal(self, now: float) -> None:
        """Signs where the log ends."""
        async with self._database.begin() as conn:
            await store.check_epoch(conn, self._shard, self._epoch)
            await self._audit.seal(conn, now)

    async def _load(self, conn: AsyncConnection, ticks: Sequence[Tick], now: float) -> None:
        for tick in ticks:
            missing = self._core.missing(tick, now)
            if not missing:
                continue
            buckets = await store.load_buckets(conn, missing.buckets) if missing.buckets else []
            spending = await store.load_spending(conn, missing.spending) if missing.spending else []
            gateways = (
                await store.load_ticks(conn, self._shard, missing.gateways)
                if missing.gateways
                else []
            )
            self._core.load(
                now,
                missing,
                [rows.BucketRow(r.rule, r.tenant, r.user, r.level, r.at) for r in buckets],
                [
                    rows.SpendingRow(r.tenant, r.key, r.period, r.start, r.micros, r.alerted)
                    for r in spending
                ],
                [rows.TickRow(r.gateway, r.sequence, r.at) for r in gateways],
            )

    async def _settle(
        self,
        conn: AsyncConnection,
        ticks: Sequence[Tick],
        subjects: dict[tuple[str, str], str],
    ) -> set[str]:
        settlements = {each.id: each for tick in ticks for each in tick.settlements}
        if not settlements:
            return set()
        return await store.add_settlements(
            conn,
            [
                (each, subjects.get((each.account.tenant, each.account.user), ""))
                for each in settlements.values()
            ],
        )

    async def _write(self, conn: AsyncConnection, dirty: rows.Dirty) -> None:
        await store.write_buckets(
            conn,
            [store.BucketRow(r.rule, r.tenant, r.user, r.level, r.at) for r in dirty.buckets],
        )
        await store.write_spending(
            conn,
            [
                store.SpendingRow(r.tenant, r.key, r.period, r.start, r.micros, r.alerted)
                for r in dirty.spending
            ],
        )
        await store.write_ticks(
            conn,
            self._shard,
            [store.TickRow(r.gateway, r.sequence, r.at) for r in dirty.ticks],
        )


def _users(ticks: Sequence[Tick]) -> set[tuple[str, str]]:
    """Everybody whom the ticks tell of; gateways only name users whom they have identified."""
    accounts = {
        (each.account.tenant, each.account.user) for tick in ticks for each in tick.settlements
    }
    return accounts | {
        (event.tenant, event.user) for tick in ticks for event in tick.events if event.user
    }


def _shares(ticks: Sequence[Tick], new: set[str]) -> list[frozenset[str]]:
    """Which of the new settlements each tick brought first."""
    left = set(new)
    shares = []
    for tick in ticks:
        share = frozenset(left.intersection(each.id for each in tick.settlements))
        left -= share
        shares.append(share)
    return shares


def _unique(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    return list({event.id: event for event in events}.values())
