"""A gateway's side of one ledger shard: its leases, its ticks and what is still to be delivered."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from app.admission.exchange import Account, Denial, Settlement, Tick
from app.admission.leases import Admitted, LeaseBook
from app.audit.events import AuditEvent
from app.errors import LedgerUnavailable
from app.security.identity import Identity
from app.usage.frames import Record
from app.usage.journal import Journal
from deployments.ledger_messages import ENCODER, RESULT, TOCK, Call, Result
from deployments.ledger_stream import Members, MemberStream
from deployments.wire import Connection, Kind

ASK_S = 0.001
DELIVER_S = 0.01
MOST_DELIVER_S = 1.0
HEARTBEAT_S = 1.0
CALL_S = 30.0
MAX_RECORDS = 500
_SILENCES = 4
# Deliveries take about this share of the time of a ledger at most: asks find it free, and a
# transaction holds many records, which is what makes them cheap.
_DELIVERY_SHARE = 0.01

log = structlog.get_logger(__name__)


class ShardLink:
    """Speaks to one shard, one tick at a time.

    Args:
        shard: its number.
        gateway: unique for every life of a gateway.
        lease_s: validity of leases, in seconds.
        timeout_s: how long an answer is waited for, in seconds.
        journal: told what has been delivered.
        on_directory: called with each message of the key directory.
    """

    def __init__(
        self,
        shard: int,
        gateway: str,
        *,
        lease_s: float,
        timeout_s: float,
        journal: Journal,
        on_directory: Callable[[bytes], None],
    ) -> None:
        self._shard = shard
        self._gateway = gateway
        self._timeout_s = timeout_s
        self._journal = journal
        self._on_directory = on_directory
        self._loop = asyncio.get_running_loop()
        self._book = LeaseBook(lease_s=lease_s)
        self._waiting: dict[str, asyncio.Future[Admitted | Denial | None]] = {}
        self._settlements: dict[str, Settlement] = {}
        self._events: dict[str, AuditEvent] = {}
        self._delivered: dict[str, asyncio.Future[None]] = {}
        self._calls: dict[int, asyncio.Future[Result]] = {}
        self._numbers = itertools.count(1)
        self._out: bytes | None = None
        self._out_at = 0.0
        self._round_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._late: asyncio.TimerHandle | None = None
        self._stream = MemberStream(
            f"ledger-{shard}",
            timeout_s,
            on_frame=self._frame,
            on_open=self._opened,
            on_lost=self._ended,
        )
        self._closing = False
        self._flushing = False
        self.away = True
        """The shard cannot be asked: no stream, or no answer in time."""

    @property
    def connected(self) -> bool:
        """Whether there is a stream."""
        return self._stream.connection is not None

    @property
    def undelivered(self) -> int:
        """Settlements and events that the store is not known to have."""
        return len(self._settlements) + len(self._events)

    def start(self) -> None:
        """Begins to connect to whoever is a member."""
        self._stream.start()

    def set_members(self, members: Members) -> None:
        """Takes Serve's list of the shard's ledgers."""
        self._stream.set_members(members)

    # Admission.

    async def reserve(
        self, request_id: str, account: Account, tokens: int, micros: int, *, large: bool
    ) -> Admitted | Denial | None:
        """What the lease or the ledger says; None where the ledger cannot be asked."""
        answer = self._book.reserve(self._now(), request_id, account, tokens, micros, large)
        if isinstance(answer, Admitted | Denial):
            if self._book.asks:
                self._wake(ASK_S)
            return answer
        if self.away:
            self._book.release(self._now(), request_id)
            return None
        decided: asyncio.Future[Admitted | Denial | None] = self._loop.create_future()
        self._waiting[request_id] = decided
        timer = self._loop.call_later(self._timeout_s, _decide, decided, None)
        self._wake(ASK_S)
        try:
            decision = await decided
        except asyncio.CancelledError:
            # It may just have been granted: what nobody will use goes back.
            self._book.release(self._now(), request_id)
            raise
        finally:
            timer.cancel()
            del self._waiting[request_id]
        if decision is None:
            self._book.release(self._now(), request_id)
        return decision

    def adopt(self, request_id: str, account: Account, *, large: bool) -> Admitted:
        """Lets a request in without a lease; what it uses is settled later."""
        return self._book.adopt(self._now(), request_id, account, large=large)

    def release(self, request_id: str) -> None:
        """Ends a request that used nothing."""
        self._book.release(self._now(), request_id)

    def settle(self, settlement: Settlement, request_id: str) -> None:
        """Ends a request with what it used, and has that delivered."""
        tokens = settlement.prompt_tokens + settlement.output_tokens
        self._book.settle(self._now(), request_id, tokens, settlement.micros, settlement.id)
        self.deliver(settlement)

    # Delivery.

    def deliver(self, record: Record) -> None:
        """Has a record, which is in the journal, brought to the store, at least once."""
        if isinstance(record, Settlement):
            self._settlements[record.id] = record
        else:
            self._events[record.id] = record
        self._wake(min(max(DELIVER_S, self._round_s / _DELIVERY_SHARE), MOST_DELIVER_S))

    async def delivered(self, settlement_id: str, timeout_s: float) -> bool:
        """Waits until the store has a settlement; returns whether it has."""
        if settlement_id not in self._settlements:
            return True
        future = self._delivered.setdefault(settlement_id, self._loop.create_future())
        self._wake(ASK_S)
        done, _ = await asyncio.wait([future], timeout=timeout_s)
        if not done:
            self._delivered.pop(settlement_id, None)
        return bool(done)

    async def flush(self) -> None:
        """Waits until all is delivered and given back; nothing more may be reserved."""
        self._flushing = True
        while self.undelivered or self._out is not None or self._book.gives(self._later()):
            self._wake(ASK_S)
            await asyncio.sleep(0.005)

    # Calls.

    async def call(self, method: str, params: dict[str, Any], caller: Identity) -> dict[str, Any]:
        """Has the registrar do something, and gives its answer.

        Raises:
            TidegateError: what the registrar answers.
            LedgerUnavailable: it cannot be asked, or it is not known what has become of the call.
        """
        if self._stream.connection is None:
            raise LedgerUnavailable("the ledger cannot be reached; try again in a second")
        number = next(self._numbers)
        answer: asyncio.Future[Result] = self._loop.create_future()
        self._calls[number] = answer
        self._stream.connection.send(
            Kind.CALL, [ENCODER.encode(Call(number, method, params, caller))]
        )
        try:
            async with asyncio.timeout(CALL_S):
                return (await answer).get()
        except TimeoutError:
            raise LedgerUnavailable(
                f"the ledger has not answered for {CALL_S:g} s; look whether it was done before "
                "trying again"
            ) from None
        finally:
            self._calls.pop(number, None)

    async def close(self) -> None:
        """Ends the stream and everything that waits for it."""
        self._closing = True
        await self._stream.close()
        for timer in (self._timer, self._late):
            if timer is not None:
                timer.cancel()
        self._lose()

    # Ticks.

    @staticmethod
    def _now() -> float:
        return time.monotonic()

    def _later(self) -> float:
        """A time by which every lease is idle."""
        return self._now() + 1e6

    def _wake(self, delay_s: float) -> None:
        """Sends a tick after a while; sooner, if one is due sooner anyway."""
        if self._out is not None or self._stream.connection is None:
            return
        due = self._loop.time() + delay_s
        if self._timer is not None:
            if self._due <= due:
                return
            self._timer.cancel()
        self._timer, self._due = self._loop.call_at(due, self._tick), due

    def _tick(self) -> None:
        self._timer = None
        if self._out is not None or self._stream.connection is None:
            return
        self._out_at = self._now()
        # At the end nobody will use what is left of the leases.
        taken = self._book.take(self._later() if self._flushing else self._out_at)
        tick = Tick(
            self._gateway,
            self._book.sequence,
            taken.asks,
            taken.returns,
            taken.large_done,
            taken.large_running,
            tuple(itertools.islice(self._settlements.values(), MAX_RECORDS)),
            tuple(itertools.islice(self._events.values(), MAX_RECORDS)),
        )
        self._out = ENCODER.encode(tick)
        self._send_out()

    def _send_out(self) -> None:
        """Sends the tick that is out, for the first time or again."""
        if self._out is None or self._stream.connection is None:
            return
        self._stream.connection.send(Kind.TICK, [self._out])
        if self._late is not None:
            self._late.cancel()
        self._late = self._loop.call_later(self._timeout_s, self._overdue, self._stream.connection)

    def _overdue(self, connection: Connection) -> None:
        self._lose()
        # The other side may be gone without a word; another stream will show.
        self._late = self._loop.call_later(_SILENCES * self._timeout_s, connection.close)

    def _answered(self, body: memoryview) -> None:
        tock = TOCK.decode(body)
        if self._out is None or tock.sequence != self._book.sequence:
            return
        now = self._now()
        self._out = None
        self._round_s += (now - self._out_at - self._round_s) / 8
        self._stream.answered()
        if self._late is not None:
            self._late.cancel()
        if self.away:
            self.away = False
            log.info("ledger back", shard=self._shard)
        for request_id, decision in self._book.answered(now, tock):
            waiting = self._waiting.get(request_id)
            if waiting is not None:
                _decide(waiting, decision)
        self._acknowledge(tock.settled, tock.recorded)
        if self._book.asks or self._delivered:
            self._wake(ASK_S)
        elif self.undelivered >= MAX_RECORDS:
            self._wake(0.0)
        elif self.undelivered:
            self._wake(min(max(DELIVER_S, self._round_s / _DELIVERY_SHARE), MOST_DELIVER_S))
        else:
            self._wake(HEARTBEAT_S)

    def _acknowledge(self, settled: Iterable[str], recorded: Iterable[str]) -> None:
        self._journal.acknowledge(settled, recorded)
        for each in settled:
            self._settlements.pop(each, None)
            if (waiting := self._delivered.pop(each, None)) is not None and not waiting.done():
                waiting.set_result(None)
        for each in recorded:
            self._events.pop(each, None)

    def _lose(self) -> None:
        """The shard cannot be asked: whoever waits is left to the zone's policy."""
        if not self.away:
            self.away = True
            if not self._closing:
                log.warning("ledger away", shard=self._shard)
        for request_id in self._book.lost(self._now()):
            waiting = self._waiting.get(request_id)
            if waiting is not None:
                _decide(waiting, None)

    # The stream.

    def _opened(self, connection: Connection) -> None:
        self.away = False
        if self._out is None:
            # Shows whether it answers.
            self._wake(0.0)
        else:
            self._send_out()

    def _ended(self) -> None:
        self._lose()
        unknown = LedgerUnavailable(
            "the ledger was lost during the call; look whether it was done before trying again"
        )
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(unknown)

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.TOCK:
            self._answered(buffers[0])
        elif kind is Kind.DIRECTORY:
            self._on_directory(bytes(buffers[0]))
        elif kind is Kind.RESULT:
            result = RESULT.decode(buffers[0])
            answer = self._calls.get(result.number)
            if answer is not None and not answer.done():
                answer.set_result(result)
        else:
            connection.close()


def _decide(
    waiting: "asyncio.Future[Admitted | Denial | None]", decision: Admitted | Denial | None
) -> None:
    if not waiting.done():
        waiting.set_result(decision)
