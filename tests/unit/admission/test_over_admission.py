"""Four gateways that offer ten times what a tenant may use: not one token past the limit."""

import heapq
from collections.abc import Callable
from itertools import count
from random import Random

import pytest

from app.admission.exchange import Account, Rule, Tick, Tock
from app.admission.leases import Admitted, Asking, LeaseBook
from app.admission.ledger import LedgerCore
from app.admission.limits import LimitDefaults, LimitTable
from app.admission.rows import BucketName, BucketRow

LIMIT = 50_000
CAPACITY = LIMIT * 1.5
RATE = LIMIT / 60
SECONDS = 120.0
START = 1_800_014_400.0


class Simulation:
    """Gateways, a ledger and delays between them, in simulated time."""

    def __init__(self, seed: int, *, restarts: bool, users: int) -> None:
        self.random = Random(seed)
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = count()
        self.now = START
        self.restarts = restarts
        self.core = self.new_core()
        self.rows: dict[BucketName, BucketRow] = {}
        self.accounts = [Account("acme", f"user{number}", "key") for number in range(users)]
        self.books = [LeaseBook(lease_s=2.0) for _ in range(4)]
        self.wanted: dict[str, int] = {}
        self.let_in: list[tuple[float, int]] = []
        self.refused = 0

    def new_core(self) -> LedgerCore:
        return LedgerCore(LimitTable(LimitDefaults(10**7, 10**8, LIMIT)), lease_s=2.0)

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (self.now + seconds, next(self.order), what))

    def run(self) -> None:
        for which in range(4):
            self.arrive(which)
            self.beat(which)
        if self.restarts:
            self.restart()
        while self.events[0][0] < START + SECONDS:
            self.now, _, what = heapq.heappop(self.events)
            what()

    def arrive(self, which: int) -> None:
        tokens = self.random.randint(1, 600)
        account = self.random.choice(self.accounts)
        request = str(next(self.order))
        answer = self.books[which].reserve(self.now, request, account, tokens, 0, False)
        if isinstance(answer, Admitted):
            self.let_in.append((self.now, tokens))
            self.end_later(which, request, tokens)
        elif isinstance(answer, Asking):
            self.wanted[request] = tokens
            self.tick(which)
        else:
            self.refused += 1
        self.at(self.random.expovariate(10 * RATE / 4 / 300), lambda: self.arrive(which))

    def end_later(self, which: int, request: str, tokens: int) -> None:
        self.at(
            self.random.uniform(0.1, 8.0),
            lambda: self.books[which].settle(self.now, request, tokens, 0),
        )

    def beat(self, which: int) -> None:
        self.tick(which)
        self.at(0.5, lambda: self.beat(which))

    def tick(self, which: int) -> None:
        book = self.books[which]
        if not book.out:
            tick = Tick(f"g{which}", book.sequence + 1, *book.take(self.now))
            self.send(which, tick)

    def send(self, which: int, tick: Tick) -> None:
        self.at(self.random.uniform(0, 0.02), lambda: self.work(which, tick))
        self.at(1.0, lambda: self.again(which, tick))

    def again(self, which: int, tick: Tick) -> None:
        if self.books[which].out and self.books[which].sequence == tick.sequence:
            self.send(which, tick)

    def work(self, which: int, tick: Tick) -> None:
        missing = self.core.missing(tick, self.now)
        found = [self.rows[name] for name in missing.buckets & self.rows.keys()]
        self.core.load(self.now, missing, found, [], [])
        tock = self.core.apply(self.now, tick, frozenset())
        for row in self.core.dirty().buckets:
            self.rows[BucketName(row.rule, row.tenant, row.user)] = row
        if self.random.random() > 0.02:
            self.at(self.random.uniform(0, 0.02), lambda: self.answer(which, tock))

    def answer(self, which: int, tock: Tock) -> None:
        for request, answer in self.books[which].answered(self.now, tock):
            tokens = self.wanted.pop(request)
            if isinstance(answer, Admitted):
                self.let_in.append((self.now, tokens))
                self.end_later(which, request, tokens)
            else:
                self.refused += 1
        if self.books[which].asks:
            self.tick(which)

    def restart(self) -> None:
        self.core = self.new_core()
        self.at(self.random.uniform(1, 10), self.restart)


@pytest.mark.parametrize(
    ("restarts", "users", "least"), [(False, 40, 0.97), (False, 1, 0.97), (True, 40, 0.6)]
)
def test_not_one_token_past_the_limit(restarts: bool, users: int, least: float) -> None:
    simulation = Simulation(1, restarts=restarts, users=users)
    simulation.run()
    used, lowest, most = 0, 0.0, 0.0
    for at, tokens in simulation.let_in:
        lowest = min(lowest, used - RATE * (at - START))
        used += tokens
        most = max(most, used - RATE * (at - START) - lowest)
    assert most <= CAPACITY
    assert used >= least * (CAPACITY + RATE * SECONDS)
    assert simulation.refused > 2 * len(simulation.let_in)
    assert (
        simulation.core._holdings.windows[BucketName(Rule.TENANT_MINUTE, "acme", "")].level < 2_000
    )
