"""The gateway's side of the ledger: reserve, settle, release, over all shards.

What a request used is in the journal before its stream ends, and is delivered from there, now or
later, by this gateway or by whoever finds its journal.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.admission.exchange import Account, Denial, Settlement
from app.admission.leases import Admitted
from app.audit.events import AuditEvent, EventKind
from app.config import FleetConfig
from app.config.tenancy import WhenLedgerAway
from app.errors import LedgerUnavailable
from app.security.identity import Identity
from app.usage.frames import Record
from app.usage.journal import Journal
from app.usage.orphans import Orphan, orphans
from deployments.ledger_errors import limited
from deployments.ledger_link import ShardLink
from deployments.ledger_messages import shard_of
from deployments.ledger_stream import Members

CLOSE_S = 2.0
ORPHANS_S = 10.0
RETRY_S = 1.0
JOURNAL_DIRECTORY = "journal"

log = structlog.get_logger(__name__)


class LedgerClient:
    """Asks the shard of each tenant, and tells it what was used.

    Args:
        config: the fleet's configuration.
        gateway: unique for every life of a gateway.
        journal: open; whoever has opened it closes it, after this client.
    """

    def __init__(self, config: FleetConfig, gateway: str, journal: Journal) -> None:
        self._config = config
        self._journal = journal
        self._directory = Path(config.store.data_dir) / JOURNAL_DIRECTORY
        self._told = False
        self._closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_directory: Callable[[bytes], None] = lambda message: None
        """Called with each message of the key directory; to be set before `start`."""
        self.dropped_events = 0
        """Audit events that a full journal did not take, since the log was last told of them."""
        self._links = [
            ShardLink(
                shard,
                gateway,
                lease_s=config.ledger.lease_s,
                timeout_s=config.ledger.timeout_s,
                journal=journal,
                on_directory=self._on_directory,
            )
            for shard in range(config.ledger.shards)
        ]

    @property
    def ready(self) -> bool:
        """Every shard can be asked, and the keys are known."""
        return self._told and all(link.connected for link in self._links)

    @property
    def undelivered(self) -> int:
        """Settlements and events that the store is not known to have."""
        return sum(link.undelivered for link in self._links)

    async def start(self) -> None:
        """Begins to connect, and to deliver what dead gateways of this node have left."""
        for link in self._links:
            link.start()
        for forever in (self._adopt_forever(), self._retry_forever()):
            task = asyncio.get_running_loop().create_task(forever)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def set_members(self, shard: int, members: Members) -> None:
        """Takes Serve's list of a shard's running ledgers."""
        self._links[shard].set_members(members)

    async def reserve(
        self,
        account: Account,
        tokens: int,
        micros: int,
        *,
        large: bool,
        zone: str,
        request_id: str,
    ) -> Admitted:
        """Admits a request, or raises why not.

        Args:
            account: who pays.
            tokens: prompt and expected output.
            micros: their price.
            large: it is of the classes large or xl.
            zone: decides what happens while the ledger is away.
            request_id: ours and unique for ever: the `id` of the settlement that will end it.

        Raises:
            RateLimited: a window has not that much left.
            RequestTooLarge: a window never has that much.
            TooManyLarge: the user has as many large requests running as it may.
            BudgetExhausted: the money is used up.
            LedgerUnavailable: nobody can say, and the zone's policy is to refuse then; or what the
                request will have used could not be written down.
        """
        if not self._journal.usable:
            raise LedgerUnavailable(
                "usage cannot be written down: the disk under store.data_dir is full, or too much "
                "waits for the ledger; try again later"
            )
        link = self._link(account.tenant)
        decision = await link.reserve(request_id, account, tokens, micros, large=large)
        if isinstance(decision, Admitted):
            return decision
        if isinstance(decision, Denial):
            raise limited(decision, account, tokens)
        if self._config.zones[zone].when_ledger_away is WhenLedgerAway.SERVE:
            return link.adopt(request_id, account, large=large)
        raise LedgerUnavailable(
            "the ledger, which knows what may be used, cannot be asked, and zone "
            f"{zone!r} serves nothing then; try again in a second"
        )

    def settle(self, settlement: Settlement, request_id: str | None = None) -> None:
        """Ends a request with what it used: on this node's disk when this returns.

        A settlement without a reservation, as of an identity without limits, counts as well.

        Args:
            settlement: what was used.
            request_id: as it was reserved under; by default the settlement's `id`.
        """
        self._journal.append(settlement)
        link = self._link(settlement.account.tenant)
        link.settle(settlement, settlement.id if request_id is None else request_id)

    async def settled(self, settlement: Settlement) -> bool:
        """Waits until the store has a settlement, at most `ledger.timeout_s`.

        Returns:
            Whether it has; if not, it is in the journal and will be delivered.
        """
        link = self._link(settlement.account.tenant)
        return await link.delivered(settlement.id, self._config.ledger.timeout_s)

    def release(self, request_id: str) -> None:
        """Ends a request that used nothing; harmless for one that has ended."""
        for link in self._links:
            link.release(request_id)

    def record(self, event: AuditEvent) -> None:
        """Writes an audit event down and has it delivered."""
        if not self._journal.usable:
            # What was used comes first. No request is let in meanwhile either, so that what is
            # lost are refusals; they are counted.
            if not self.dropped_events:
                log.error("audit events are being dropped: the journal is full")
            self.dropped_events += 1
            return
        self._journal.append(event)
        self._link(event.tenant).deliver(event)

    async def call(self, method: str, params: dict[str, Any], caller: Identity) -> dict[str, Any]:
        """An admin call, to the registrar.

        Raises:
            TidegateError: what the registrar answers, or LedgerUnavailable.
        """
        return await self._links[0].call(method, params, caller)

    async def close(self) -> None:
        """Delivers what it can in `CLOSE_S`, gives leases back, and ends the streams."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*(link.flush() for link in self._links))
        await asyncio.gather(*(link.close() for link in self._links))

    def _link(self, tenant: str) -> ShardLink:
        return self._links[shard_of(tenant, len(self._links))]

    def _on_directory(self, message: bytes) -> None:
        self.on_directory(message)
        self._told = True

    async def _retry_forever(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            self._journal.retry()
            if self.dropped_events and self._journal.usable:
                count, self.dropped_events = self.dropped_events, 0
                detail: dict[str, str | int | float | bool] = {
                    "what": "events dropped by a gateway whose journal was full",
                    "count": count,
                }
                self.record(
                    AuditEvent(uuid.uuid4().hex, time.time(), EventKind.LEDGER, detail=detail)
                )

    # What dead gateways have left.

    async def _adopt_forever(self) -> None:
        while True:
            for orphan in orphans(self._directory):
                try:
                    await self._adopt(orphan)
                finally:
                    orphan.close()
            await asyncio.sleep(ORPHANS_S)

    async def _adopt(self, orphan: Orphan) -> None:
        """Makes a journal's records our own, file by file; they count once, whoever sends them."""
        log.info("delivering the journal of a dead gateway", journal=orphan.name)
        for segment in orphan.segments():
            # Ours must not fill up with what is safe where it is.
            while self._journal.crowded or any(link.away for link in self._links):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            for record in await asyncio.to_thread(orphan.read, segment):
                self._journal.append(record)
                self._link(_tenant(record)).deliver(record)
            await asyncio.to_thread(self._journal.sync)
            orphan.discard(segment)


def _tenant(record: Record) -> str:
    return record.account.tenant if isinstance(record, Settlement) else record.tenant
