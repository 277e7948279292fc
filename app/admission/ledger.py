"""One shard of the ledger: what its tenants may still use, and what they have spent.

A batch of ticks goes through it so, with one `now` from beginning to end:

    missing(tick, now)      what of the store it needs to know; for each tick of the batch
    load(now, ...)          that, as it was found
    apply(now, tick, fresh) the answer; for each tick of the batch
    dirty()                 what has to be stored before any answer is sent

If that cannot be stored, `discard` forgets everything, and no answer may be sent. So the store
always holds at least what gateways have been granted, and a ledger that begins anew grants nothing
twice:

- Windows start from the stored level. All that is missing from them counts as held in leases for
  as long as a lease is valid (see `Bucket`).
- Money is spent when it is settled, which the ids of settlements make count once; what is leased
  is stored as a sum beside it, and counts until it is given back. What was leased by a ledger
  before counts until no request of that time can still run.
- The count of a user's large requests is stored, too. What an earlier ledger left counts until
  every living gateway has said what it runs.

The ticks of a gateway are numbered. What a gateway gives back counts once: a tick whose number has
been applied is answered as it was before, or, by a ledger that does not remember the answer, has
its questions decided anew; what may have been granted before stays taken. An older one is left
alone. Settlements count by their id, whatever tick they come with.

A gateway that is silent for long loses its users' places and its leased money. Leased tokens that
nobody gives back count as used.
"""

from collections import OrderedDict
from collections.abc import Iterable

from msgspec.structs import replace

from app.admission.exchange import Account, Denial, Grant, Settlement, Tick, Tock
from app.admission.holdings import Holdings
from app.admission.limits import LimitTable
from app.admission.rows import BucketRow, Dirty, Missing, SpendingRow, TickRow


class _Gateway:
    """What is known of one life of a gateway."""

    __slots__ = ("gone", "known", "running", "seen", "sequence", "tock", "until")

    def __init__(self, sequence: int, known: bool, now: float) -> None:
        self.sequence = sequence
        self.known = known
        """It may hold money that a ledger before this one leased to it."""
        self.seen = now
        self.gone = False
        """It has been silent for so long that what it held was let go."""
        self.tock: Tock | None = None
        self.until = now
        """Until when the leases of `tock` are valid."""
        self.running: dict[str, Account] = {}


class LedgerCore:
    """Decides on leases, counts settlements, and says what has to be stored for it.

    Args:
        table: the limits and budgets.
        lease_s: how long a lease is valid, in seconds.
        gateway_silence_s: seconds after which a gateway that has not ticked counts as gone.
        longest_request_s: longest time that a request may run, in seconds.
        max_cached: most windows, and most rows of spending, that are kept between two batches.
    """

    def __init__(
        self,
        table: LimitTable,
        *,
        lease_s: float,
        gateway_silence_s: float = 10.0,
        longest_request_s: float = 600.0,
        max_cached: int = 100_000,
    ) -> None:
        self._table = table
        self._lease_s = lease_s
        # A gateway may use its leases for as long, silent or not.
        self._silence_s = max(gateway_silence_s, 2 * lease_s)
        self._inherit_s = longest_request_s + self._silence_s
        self._max_cached = max_cached
        self.discard()

    def discard(self) -> None:
        """Forgets everything, as a ledger that begins anew."""
        self._holdings = Holdings(self._table, self._lease_s, self._max_cached)
        self._gateways: OrderedDict[str, _Gateway] = OrderedDict()  # by when they were last heard
        self._began: float | None = None
        self._now: float | None = None
        self._ticked: dict[str, None] = {}
        self._counted: set[str] = set()

    def set_table(self, table: LimitTable) -> None:
        """Replaces the limits and budgets. What has been used stays used."""
        self._table = table
        self._holdings.set_table(table)

    def missing(self, tick: Tick, now: float) -> Missing:
        """What has to be loaded before a tick can be applied at this time."""
        if self._began is None:
            self._began = now
        gateways = frozenset((tick.gateway,)) - self._gateways.keys()
        return Missing(*self._holdings.missing(tick, now), gateways)

    def load(
        self,
        now: float,
        missing: Missing,
        buckets: Iterable[BucketRow],
        spending: Iterable[SpendingRow],
        ticks: Iterable[TickRow],
    ) -> None:
        """Takes in what was found of what was missing; what was not found begins at nothing used.

        Args:
            now: the time, in seconds.
            missing: what was asked for.
            buckets: those found.
            spending: those found.
            ticks: those found.
        """
        began = now if self._began is None else self._began
        self._holdings.load(
            now,
            missing.buckets,
            buckets,
            leased_until=began + self._inherit_s,
            places_until=began + self._silence_s,
        )
        self._holdings.spending.load(missing.spending, spending)
        sequences = {row.gateway: row.sequence for row in ticks}
        for gateway in missing.gateways:
            if gateway not in self._gateways:
                known = gateway in sequences
                self._gateways[gateway] = _Gateway(sequences.get(gateway, 0), known, now)

    def apply(self, now: float, tick: Tick, fresh: frozenset[str]) -> Tock:
        """Takes in a tick whose missing parts have been loaded, and answers it.

        Args:
            now: the time, in seconds: that of the batch.
            tick: from a gateway.
            fresh: ids of settlements that the store has seen for the first time in this batch.

        Raises:
            LookupError: something is missing.
        """
        gateway = self._gateways[tick.gateway]
        self._gateways.move_to_end(tick.gateway)
        gateway.seen, gateway.gone = now, False
        self.expire(now)
        self._settle(now, tick.settlements, fresh)
        if tick.sequence < gateway.sequence:
            tock = Tock(tick.sequence)
        elif tick.sequence == gateway.sequence and gateway.tock is not None:
            tock = _again(gateway.tock, max(gateway.until - now, 0.0))
        else:
            tock = self._decide_all(now, tick, gateway)
        return Tock(
            tick.sequence,
            tock.grants,
            tock.denials,
            tuple(settlement.id for settlement in tick.settlements),
            tuple(event.id for event in tick.events),
        )

    def dirty(self) -> Dirty:
        """What has changed since the last call, to be stored before any answer is sent."""
        now = self._now or 0.0
        ticked, self._ticked = self._ticked, {}
        self._counted.clear()
        spending, alerts = self._holdings.spending.dirty()
        ticks = tuple(
            TickRow(name, self._gateways[name].sequence, now)
            for name in ticked
            if name in self._gateways
        )
        return Dirty(self._holdings.dirty(now), spending, ticks, alerts)

    def expire(self, now: float) -> None:
        """Lets go of gateways that have been silent for too long.

        Time in which the ledger itself was not called is nobody's silence.
        """
        last, self._now = self._now, now
        pause = now - last if last is not None else 0.0
        if pause > self._silence_s / 4:
            for gateway in self._gateways.values():
                gateway.seen = min(gateway.seen + pause, now)
        for name, gateway in self._gateways.items():
            if now - gateway.seen <= self._silence_s:
                break  # Those behind it have been heard later.
            if not gateway.gone:
                self._holdings.let_go(name, gateway.running)
                gateway.running = {}
                gateway.known, gateway.gone = False, True
        while self._gateways:
            name, gateway = next(iter(self._gateways.items()))
            if now - gateway.seen <= self._inherit_s:
                break
            del self._gateways[name]

    def _decide_all(self, now: float, tick: Tick, gateway: _Gateway) -> Tock:
        if tick.sequence > gateway.sequence:
            for given in tick.returns:
                self._holdings.take_back(now, tick.gateway, given, may_inherit=gateway.known)
        running = dict(tick.large_running)
        self._holdings.learn_running(tick.gateway, gateway.running, running)
        gateway.running = running
        grants: list[Grant] = []
        denials: list[Denial] = []
        for ask in tick.asks:
            answer = self._holdings.decide(now, tick.gateway, ask)
            if isinstance(answer, Denial):
                denials.append(answer)
                continue
            grants.append(answer)
            if ask.large:
                gateway.running[ask.large] = ask.account
        if tick.sequence > gateway.sequence and (tick.asks or tick.returns):
            self._ticked[tick.gateway] = None
        gateway.sequence = tick.sequence
        gateway.until = now + self._lease_s
        gateway.tock = Tock(tick.sequence, tuple(grants), tuple(denials))
        return gateway.tock

    def _settle(self, now: float, settlements: Iterable[Settlement], fresh: frozenset[str]) -> None:
        for settlement in settlements:
            if settlement.id in fresh and settlement.id not in self._counted:
                self._counted.add(settlement.id)
                self._holdings.settle(settlement, now)


def _again(tock: Tock, valid_s: float) -> Tock:
    """An answer that was lost, with what is left of its validity."""
    grants = tuple(replace(grant, valid_s=min(grant.valid_s, valid_s)) for grant in tock.grants)
    return replace(tock, grants=grants)
