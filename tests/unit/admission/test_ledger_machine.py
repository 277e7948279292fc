"""Gateways, a ledger and a store that can each fail at any moment, on a network that loses,
repeats and reorders: nothing past a limit, nothing counted twice, nothing lost, nothing leaked."""

from dataclasses import dataclass, field
from itertools import count

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.admission.exchange import Account, Denial, Rule, Settlement, Tick, Tock
from app.admission.leases import Admitted, Asking, LeaseBook
from app.admission.ledger import LedgerCore
from app.admission.limits import BudgetTerms, LimitDefaults, LimitTable
from app.admission.rows import BucketName, BucketRow, SpendingName, SpendingRow, TickRow

LEASE_S = 20.0  # long, so that what flows in meanwhile would show
SILENCE_S = 60.0
LONGEST_S = 1_000.0
START = 1_800_014_400.0  # noon, lest a day end within a run
BUDGET = 1_000
TABLE = LimitTable(
    LimitDefaults(
        user_tokens_per_minute=600,
        user_tokens_per_hour=2_000,
        tenant_tokens_per_minute=800,
        burst=1.5,
        user_large_requests=2,
    ),
    limits={("t", "small", "user_tokens_per_minute"): 300},
    budgets={
        ("t", "", "day"): BudgetTerms(BUDGET, 0.8, "refuse"),
        ("t", "k1", "month"): BudgetTerms(BUDGET // 2, 0.8, "refuse"),
    },
)
USERS = ("ada", "small")
ACCOUNTS = [Account("t", "ada", "k1"), Account("t", "ada", "k2"), Account("t", "small", "k1")]
GATEWAYS = st.integers(0, 1)


@dataclass
class Store:
    """What has been committed."""

    buckets: dict[BucketName, BucketRow] = field(default_factory=dict)
    spending: dict[SpendingName, SpendingRow] = field(default_factory=dict)
    ticks: dict[str, TickRow] = field(default_factory=dict)
    usage: dict[str, Settlement] = field(default_factory=dict)


@dataclass
class Reserved:
    account: Account
    tokens: int
    micros: int
    large: bool
    at: float


class Gateway:
    """One life of a gateway, with its journal, which outlives it."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.book = LeaseBook(lease_s=LEASE_S)
        self.out: Tick | None = None
        self.journal: dict[str, Settlement] = {}
        self.asked: dict[str, Reserved] = {}
        self.open: dict[str, Reserved] = {}
        self.heard = now  # when the ledger last took in a tick


class LedgerMachine(RuleBasedStateMachine):
    exact = True
    """Requests use what they reserved, so that every window can be held to the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.store = Store()
        self.core = self.new_core()
        self.numbers = count(1)
        self.gateways = [Gateway(f"g{next(self.numbers)}", self.now) for _ in range(2)]
        self.to_ledger: list[Tick] = []
        self.to_gateway: list[tuple[str, Tock]] = []
        self.orphans: dict[str, Settlement] = {}
        self.let_in: dict[tuple[Rule, str], list[tuple[float, int]]] = {}
        self.net: dict[tuple[Rule, str], int] = {}
        self.settled: dict[str, Settlement] = {}
        self.silent = False  # a gateway was silent for so long that what it held was let go

    def new_core(self) -> LedgerCore:
        return LedgerCore(
            TABLE, lease_s=LEASE_S, gateway_silence_s=SILENCE_S, longest_request_s=LONGEST_S
        )

    # What requests do

    @rule(
        which=GATEWAYS,
        account=st.sampled_from(ACCOUNTS),
        tokens=st.one_of(st.integers(1, 60), st.integers(1, 1_000)),
        price=st.sampled_from([0, 0, 1, 2]),
        large=st.sampled_from([False, False, True]),
    )
    def reserve(self, which: int, account: Account, tokens: int, price: int, large: bool) -> None:
        gateway = self.gateways[which]
        request = f"r{next(self.numbers)}"
        wanted = Reserved(account, tokens, tokens * price // 2, large, self.now)
        answer = gateway.book.reserve(self.now, request, account, tokens, wanted.micros, large)
        if isinstance(answer, Asking):
            gateway.asked[request] = wanted
        elif isinstance(answer, Admitted):
            self.admit(gateway, request, wanted)

    @rule(
        which=GATEWAYS,
        account=st.sampled_from(ACCOUNTS),
        tokens=st.integers(1, 120),
        price=st.sampled_from([0, 1]),
        large=st.booleans(),
        times=st.integers(1, 15),
        seconds=st.sampled_from([0.0, 0.0, 1.0]),
    )
    def many(
        self,
        which: int,
        account: Account,
        tokens: int,
        price: int,
        large: bool,
        times: int,
        seconds: float,
    ) -> None:
        for _ in range(times):
            self.reserve(which, account, tokens, price, large)
            if self.gateways[which].book.asks:
                self.all_goes_well(which)
            self.time_passes(seconds, True)

    @rule(account=st.sampled_from(ACCOUNTS))
    def drain(self, account: Account) -> None:
        """Takes all that there is, to the last token."""
        for tokens in (100, 20, 4):
            for which in range(2):
                for _ in range(30):
                    let_in = len(self.gateways[which].open)
                    self.reserve(which, account, tokens, 0, False)
                    if self.gateways[which].book.asks:
                        self.all_goes_well(which)
                    if len(self.gateways[which].open) == let_in:
                        break

    def admit(self, gateway: Gateway, request: str, wanted: Reserved) -> None:
        gateway.open[request] = wanted
        wanted.at = self.now
        for key in keys(wanted.account):
            self.let_in.setdefault(key, []).append((self.now, wanted.tokens))
            self.net[key] = self.net.get(key, 0) + wanted.tokens

    @precondition(lambda self: any(gateway.open for gateway in self.gateways))
    @rule(data=st.data(), share=st.floats(0, 1), held=st.booleans())
    def settle(self, data: st.DataObject, share: float, held: bool) -> None:
        gateway = data.draw(st.sampled_from([each for each in self.gateways if each.open]))
        request = data.draw(st.sampled_from(sorted(gateway.open)))
        wanted = gateway.open.pop(request)
        tokens = wanted.tokens if self.exact else int(wanted.tokens * share)
        micros = int(wanted.micros * share)
        for key in keys(wanted.account):
            self.net[key] -= wanted.tokens - tokens
        settlement = settled(f"s-{request}", request, self.now, wanted.account, micros)
        self.settled[settlement.id] = gateway.journal[settlement.id] = settlement
        gateway.book.settle(self.now, request, tokens, micros, settlement.id if held else "")

    @rule(which=GATEWAYS, data=st.data())
    def leave(self, which: int, data: st.DataObject) -> None:
        gateway = self.gateways[which]
        cancellable = sorted(gateway.asked) + ([] if self.exact else sorted(gateway.open))
        if not cancellable:
            return
        request = data.draw(st.sampled_from(cancellable))
        gateway.asked.pop(request, None)
        wanted = gateway.open.pop(request, None)
        if wanted is not None:
            for key in keys(wanted.account):
                self.net[key] -= wanted.tokens
        gateway.book.release(self.now, request)

    # What happens between gateways and the ledger

    @rule(
        seconds=st.sampled_from([0.01, 1.0, 9.0, 18.0, 30.0, 59.0]),
        alive=st.sampled_from([True, True, True, True, False]),
    )
    def time_passes(self, seconds: float, alive: bool) -> None:
        for which, gateway in enumerate(self.gateways):
            if alive and self.now + seconds - gateway.heard >= SILENCE_S:
                self.all_goes_well(which)
        self.now += seconds
        self.silent |= any(self.now - gateway.heard >= SILENCE_S for gateway in self.gateways)

    @rule(which=GATEWAYS)
    def tick(self, which: int) -> None:
        gateway = self.gateways[which]
        if gateway.out is None:
            taken = gateway.book.take(self.now)
            gateway.out = Tick(
                gateway.name,
                gateway.book.sequence,
                *taken,
                settlements=tuple(gateway.journal.values()),
            )
        self.to_ledger.append(gateway.out)

    @rule(which=GATEWAYS)
    def deliver_orphans(self, which: int) -> None:
        self.gateways[which].journal.update(self.orphans)

    @precondition(lambda self: self.to_ledger)
    @rule(data=st.data(), commits=st.sampled_from([True, True, True, False]))
    def ledger_works(self, data: st.DataObject, commits: bool) -> None:
        batch = data.draw(st.lists(st.sampled_from(self.to_ledger), min_size=1, max_size=4))
        self.work(batch, commits)

    @rule(which=GATEWAYS)
    def all_goes_well(self, which: int) -> None:
        gateway = self.gateways[which]
        self.tick(which)
        tick = gateway.out
        assert tick is not None
        self.work([tick], True)
        self.answer(*self.to_gateway.pop())
        assert gateway.out is None

    def work(self, batch: list[Tick], commits: bool) -> None:
        """As the shard does it: read, one transaction, then the answers."""
        for tick in batch:
            missing = self.core.missing(tick, self.now)
            self.core.load(
                self.now,
                missing,
                [self.store.buckets[name] for name in missing.buckets & self.store.buckets.keys()],
                [
                    self.store.spending[name]
                    for name in missing.spending & self.store.spending.keys()
                ],
                [self.store.ticks[name] for name in missing.gateways & self.store.ticks.keys()],
            )
        came = {each.id: each for tick in batch for each in tick.settlements}
        fresh = frozenset(came.keys() - self.store.usage.keys())
        tocks = [(tick.gateway, self.core.apply(self.now, tick, fresh)) for tick in batch]
        rows = self.core.dirty()
        if not commits:
            self.core.discard()
            return
        for bucket in rows.buckets:
            self.store.buckets[BucketName(bucket.rule, bucket.tenant, bucket.user)] = bucket
        for spent in rows.spending:
            name = SpendingName(spent.tenant, spent.key, spent.period, spent.start)
            self.store.spending[name] = spent
        for row in rows.ticks:
            assert row.sequence >= self.store.ticks.get(row.gateway, row).sequence
            self.store.ticks[row.gateway] = row
        self.store.usage.update({each: came[each] for each in fresh})
        self.to_gateway += tocks
        for gateway in self.gateways:
            if any(tick.gateway == gateway.name for tick in batch):
                gateway.heard = self.now

    @precondition(lambda self: self.to_gateway)
    @rule(data=st.data(), stays=st.booleans())
    def answer_arrives(self, data: st.DataObject, stays: bool) -> None:
        index = data.draw(st.integers(0, len(self.to_gateway) - 1))
        name, tock = self.to_gateway[index] if stays else self.to_gateway.pop(index)
        self.answer(name, tock)

    def answer(self, name: str, tock: Tock) -> None:
        for gateway in self.gateways:
            if gateway.name != name:
                continue
            if gateway.out is not None and gateway.out.sequence == tock.sequence:
                gateway.out = None
            for request, answer in gateway.book.answered(self.now, tock):
                wanted = gateway.asked.pop(request)
                if isinstance(answer, Admitted):
                    self.admit(gateway, request, wanted)
                else:
                    assert isinstance(answer, Denial)
            for each in tock.settled:
                assert each in self.store.usage
                gateway.journal.pop(each, None)
                self.orphans.pop(each, None)

    # What dies

    @rule(which=GATEWAYS, fault=st.sampled_from(["ledger", "ledger", "network", "stream", "crash"]))
    def fails(self, which: int, fault: str) -> None:
        if fault == "ledger":
            self.core = self.new_core()
        elif fault == "network":
            self.to_ledger.clear()
            self.to_gateway.clear()
        elif fault == "stream":
            self.ledger_is_lost(which)
        else:
            dead = self.gateways[which]
            self.orphans.update(dead.journal)
            self.silent |= bool(dead.open or dead.journal)
            self.gateways[which] = Gateway(f"g{next(self.numbers)}", self.now)

    def ledger_is_lost(self, which: int) -> None:
        gateway = self.gateways[which]
        assert set(gateway.book.lost(self.now)) == set(gateway.asked)
        gateway.asked.clear()

    # What must always be true

    @invariant()
    def no_window_is_past_its_limit(self) -> None:
        for key, events in self.let_in.items():
            limit, period, _ = window(key)
            assert self.net[key] <= 1.5 * limit + limit / period * (self.now - START) + 1e-3
            if not self.exact:
                continue
            sums = 0
            lowest = float("inf")  # of what had flowed in and not been used, at any time before
            for at, tokens in events:
                lowest = min(lowest, sums - limit / period * (at - START))
                sums += tokens
                assert sums - limit / period * (at - START) - lowest <= 1.5 * limit + 1e-3

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        if self.silent:
            return
        for key, limit in (("", BUDGET), ("k1", BUDGET // 2)):
            spent = sum(
                each.micros for each in self.settled.values() if key in {"", each.account.key}
            )
            reserved = sum(
                each.micros
                for gateway in self.gateways
                for each in gateway.open.values()
                if key in {"", each.account.key}
            )
            assert spent + reserved <= limit

    @invariant()
    def no_user_has_too_many_large_requests(self) -> None:
        if self.silent:
            return
        for user in USERS:
            running = sum(
                each.large
                for gateway in self.gateways
                for each in gateway.open.values()
                if each.account.user == user
            )
            assert running <= 2

    @invariant()
    def what_is_stored_was_counted_once(self) -> None:
        for key in ("", "k1", "k2"):
            spent = sum(
                each.micros for each in self.store.usage.values() if key in {"", each.account.key}
            )
            for period in ("day", "month"):
                rows = [
                    row.micros
                    for name, row in self.store.spending.items()
                    if name.key == key and name.period == period
                ]
                assert sum(rows) == spent

    def teardown(self) -> None:
        """All ends, and all is as in the beginning."""
        for which, gateway in enumerate(self.gateways):
            self.ledger_is_lost(which)
            for request in list(gateway.open):
                wanted = gateway.open.pop(request)
                settlement = settled(f"s-{request}", request, self.now, wanted.account, 0)
                self.settled[settlement.id] = gateway.journal[settlement.id] = settlement
                gateway.book.settle(self.now, request, wanted.tokens, 0, settlement.id)
        self.deliver_orphans(0)
        for _ in range(int(2 * SILENCE_S / LEASE_S) + 4):
            for which in range(2):
                self.all_goes_well(which)
            self.now += LEASE_S / 2
        assert self.store.usage == self.settled
        assert not self.orphans
        for gateway in self.gateways:
            assert not gateway.journal
            assert not gateway.book.open
            assert not gateway.book.gives(self.now)
        for account in ACCOUNTS:
            self.now += max(LONGEST_S + SILENCE_S, 2 * 3600)
            self.everything_is_free(account)

    def everything_is_free(self, account: Account) -> None:
        gateway = self.gateways[0]
        self.all_goes_well(0)
        core, now = self.core, self.now
        assert not core._holdings.leased or all(
            not each.total(now) for each in core._holdings.leased.values()
        )
        assert all(not each.used(now) for each in core._holdings.places.values())
        for bucket in core._holdings.windows.values():
            bucket.advance(now)
            assert bucket.full
        assert gateway.book.reserve(now, "last", account, 1, 0, True) == Asking("last")
        gateway.asked["last"] = Reserved(account, 1, 0, True, now)
        self.all_goes_well(0)
        assert gateway.open.pop("last")
        gateway.book.release(now, "last")
        self.all_goes_well(0)


class SurplusMachine(LedgerMachine):
    exact = False


def keys(account: Account) -> list[tuple[Rule, str]]:
    return [
        (Rule.USER_MINUTE, account.user),
        (Rule.USER_HOUR, account.user),
        (Rule.TENANT_MINUTE, ""),
    ]


def window(key: tuple[Rule, str]) -> tuple[int, float, float]:
    name, user = key
    limit = TABLE.limit(name, "t", user)
    period = 3600.0 if name is Rule.USER_HOUR else 60.0
    return limit, period, 1.5


def settled(id_: str, request: str, at: float, account: Account, micros: int) -> Settlement:
    return Settlement(
        id_,
        request,
        at,
        account,
        "demo",
        "pool",
        "public",
        "/v1/completions",
        "small",
        "standard",
        1,
        1,
        micros,
        "finished",
    )


_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLedger = LedgerMachine.TestCase
TestLedger.settings = _SETTINGS
TestLedgerWithSurplus = SurplusMachine.TestCase
TestLedgerWithSurplus.settings = _SETTINGS
