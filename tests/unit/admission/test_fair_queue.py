"""The fair queue: whose turn it is, what it costs, and that nobody starves."""

import random
from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from app.admission.fair_queue import FairQueue, FairQueueSettings, Ticket
from app.admission.tier import Tier


def ticket(
    client: str, tier: Tier = Tier.STANDARD, prompt: int = 10, out: int = 10, weight: float = 1.0
) -> Ticket:
    return Ticket(client, tier, prompt, out, weight)


def queue(**changes: float | bool) -> FairQueue:
    return FairQueue(FairQueueSettings(**({"credit": 0.0} | changes)))  # type: ignore[arg-type]


def take(of: FairQueue, now: float = 0.0) -> str | None:
    key = of.head(now)
    if key is not None:
        of.start(key)
    return key


def order(of: FairQueue, now: float = 0.0) -> list[str]:
    taken = []
    while (key := take(of, now)) is not None:
        taken.append(key)
    return taken


def test_one_client_is_served_in_its_own_order() -> None:
    made = queue()
    for key in "abc":
        made.add(key, ticket("x"), 0.0)
    assert list(made) == ["a", "b", "c"]
    assert order(made) == ["a", "b", "c"]


def test_a_flood_does_not_hold_up_who_comes_after_it() -> None:
    made = queue()
    for number in range(10):
        made.add(f"a{number}", ticket("a"), 0.0)
    made.add("b0", ticket("b"), 0.0)
    made.add("b1", ticket("b"), 0.0)
    assert order(made)[:4] == ["a0", "b0", "a1", "b1"]


def test_fcfs_takes_them_as_they_came_whatever_the_band() -> None:
    made = queue(fair=False)
    made.add("late", ticket("a", Tier.BATCH), 0.0)
    made.add("a", ticket("a"), 0.0)
    made.add("b", ticket("b", Tier.CRITICAL), 0.0)
    assert order(made) == ["late", "a", "b"]


def test_twice_the_weight_is_twice_the_service() -> None:
    made = queue()
    for number in range(12):
        made.add(f"h{number}", ticket("heavy", weight=2.0), 0.0)
        made.add(f"l{number}", ticket("light"), 0.0)
    first = order(made)[:9]
    assert sum(key.startswith("h") for key in first) == 6


def test_what_was_charged_too_much_is_given_back() -> None:
    made = queue()
    made.add("a", ticket("a", prompt=10, out=100), 0.0)
    made.add("rest", ticket("a"), 0.0)
    take(made)
    assert made.counter("a", Tier.STANDARD) == 210
    made.leave("a", generated=5)
    assert made.counter("a", Tier.STANDARD) == 20


def test_more_than_expected_is_charged_as_it_comes() -> None:
    made = queue()
    made.add("a", ticket("a", prompt=10, out=10), 0.0)
    made.add("rest", ticket("a"), 0.0)
    take(made)
    made.generated("a", 10)
    assert made.counter("a", Tier.STANDARD) == 30
    made.generated("a", 11)
    made.generated("a", 25)
    assert made.counter("a", Tier.STANDARD) == 60
    made.leave("a", generated=25)
    assert made.counter("a", Tier.STANDARD) == 60


def test_time_spent_away_is_no_credit() -> None:
    made = queue()
    for number in range(20):
        made.add(f"a{number}", ticket("a"), 0.0)
    for _ in range(10):
        take(made)
    for number in range(20):
        made.add(f"b{number}", ticket("b"), 1.0)
    # One is level with the last that was started of the other.
    following = order(made, 1.0)[:7]
    assert sum(key.startswith("b") for key in following) == 4


def test_a_pause_is_worth_a_few_requests_and_no_more() -> None:
    made = queue(credit=2.0)
    for number in range(30):
        made.add(f"a{number}", ticket("a"), 0.0)
    for _ in range(10):
        take(made)
    for number in range(30):
        made.add(f"b{number}", ticket("b"), 1.0)
    following = order(made, 1.0)[:21]
    assert [key[0] for key in following[:3]] == ["b", "b", "b"]
    assert sum(key.startswith("b") for key in following) == 12


def test_credit_is_not_renewed_by_sending_one_at_a_time() -> None:
    made = queue(credit=3.0)
    for number in range(100):
        made.add(f"a{number}", ticket("a"), 0.0)
    made.add("b0", ticket("b"), 0.0)
    served = {"a": 0, "b": 0}
    for _ in range(60):
        key = take(made)
        assert key is not None
        served[key[0]] += 1
        made.leave(key, generated=10)
        if key.startswith("b"):
            made.add(f"b{served['b']}", ticket("b"), 0.0)
    assert 30 <= served["b"] <= 34


def test_a_debt_outlives_a_short_pause() -> None:
    made = queue()
    made.add("b0", ticket("b"), 0.0)
    made.add("b1", ticket("b"), 0.0)
    made.add("a", ticket("a", prompt=1000), 0.0)
    take(made)
    made.start("a")
    made.leave("a", generated=10)
    made.add("again", ticket("a"), 0.0)
    assert order(made) == ["b1", "again"]


def test_bands_are_strict() -> None:
    made = queue()
    for key, tier in (("b", Tier.BATCH), ("s", Tier.STANDARD), ("c", Tier.CRITICAL)):
        made.add(key, ticket("x", tier), 0.0)
    assert order(made) == ["c", "s", "b"]


def test_waiting_moves_up_one_band_at_a_time() -> None:
    made = queue(ageing_s=10.0)
    made.add("batch", ticket("a", Tier.BATCH), 0.0)
    made.add("s", ticket("b"), 9.0)
    assert made.head(9.9) == "s"
    made.add("s2", ticket("b"), 9.9)
    made.start("s")
    assert made.head(10.0) == "batch"
    made.add("c", ticket("c", Tier.CRITICAL), 10.0)
    assert made.head(10.0) == "c"
    assert made.head(20.0) == "batch"


def test_nobody_starves_under_an_endless_stream_of_more_urgent_ones() -> None:
    made = queue(ageing_s=5.0)
    made.add("patient", ticket("a", Tier.BATCH), 0.0)
    for number in range(200):
        now = number * 0.1
        for client in "bc":
            made.add(f"{client}{number}", ticket(client, Tier.CRITICAL), now)
        key = take(made, now)
        if key == "patient":
            break
        assert key is not None
        made.leave(key, generated=10)
    assert 9.9 < now < 10.5


def test_preempted_requests_go_first_and_are_not_charged_again() -> None:
    made = queue()
    for key in ("a", "b"):
        made.add(key, ticket(key, Tier.BATCH), 0.0)
        take(made)
    before = made.counter("a", Tier.BATCH)
    made.preempt("b")
    made.preempt("a")
    made.add("c", ticket("c", Tier.CRITICAL), 0.0)
    assert len(made) == 3
    assert made.resumes("a")
    assert order(made) == ["a", "b", "c"]
    assert made.counter("a", Tier.BATCH) == before


def test_a_start_that_came_to_nothing_leaves_no_trace() -> None:
    made = queue()
    for key in ("a1", "a2", "b1"):
        made.add(key, ticket(key[0]), 0.0)
    take(made)
    take(made)
    made.take_back("b1")
    made.take_back("a1")
    assert made.counter("a", Tier.STANDARD) == made.counter("b", Tier.STANDARD) == 0
    assert order(made) == ["a1", "b1", "a2"]
    made.preempt("a1")
    take(made)
    made.take_back("a1")
    assert made.head(0.0, resumed_only=True) == "a1"


def test_only_one_client_or_all_but_some() -> None:
    made = queue()
    for key in ("a", "b", "c"):
        made.add(key, ticket(key), 0.0)
    assert made.head(0.0, only="b") == "b"
    assert made.head(0.0, only="nobody") is None
    assert made.head(0.0, without={"a", "b"}) == "c"
    assert made.others_wait("a")
    assert made.waits("a")
    for key in ("b", "c"):
        made.leave(key)
    assert not made.others_wait("a")
    assert made.others_wait(None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_weight": 0}, "prompt_weight must be above 0, not 0"),
        ({"ageing_s": -1.0}, "ageing_s must be above 0, not -1.0"),
        ({"max_idle": -1}, "max_idle must be at least 0, not -1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        queue(**changes)


def test_a_key_is_taken_once_and_a_weight_is_above_zero() -> None:
    made = queue()
    made.add("a", ticket("a"), 0.0)
    with pytest.raises(ValueError, match="already"):
        made.add("a", ticket("a"), 0.0)
    with pytest.raises(ValueError, match="weight"):
        made.add("b", ticket("a", weight=0.0), 0.0)
    made.start("a")
    with pytest.raises(KeyError):
        made.start("a")


def test_counters_of_the_idle_are_bounded() -> None:
    made = queue(max_idle=50)
    made.add("stays", ticket("stays"), 0.0)
    for number in range(5_000):
        key = f"r{number}"
        made.add(key, ticket(f"client{number}"), 0.0)
        made.start(key)
        made.leave(key, generated=10)
    assert made.counters <= 52


def test_lines_do_not_grow_with_what_has_left() -> None:
    made = queue()
    made.add("first", ticket("a", Tier.BATCH), 0.0)
    for number in range(5_000):
        made.add(f"r{number}", ticket("a", Tier.BATCH), 0.0)
        made.leave(f"r{number}")
    client = made._bands[Tier.BATCH.band].clients["a"]
    assert len(client.line) < 50
    assert len(made._bands[Tier.BATCH.band].ageing) < 50


def test_who_is_set_aside_waits_where_it_waited_and_is_charged_once() -> None:
    made = queue()
    for key in ("a0", "a1", "a2"):
        made.add(key, ticket("a"), 0.0)
    made.start("a0")
    made.start("a1")
    made.add("b", ticket("b", prompt=5), 0.0)
    assert made.behind("b", "a0") == 30
    made.set_aside("a0")
    # It would be due at once, had its charge been given back.
    assert made.counter("a", Tier.STANDARD) == 60
    assert order(made) == ["b", "a0", "a2"]
    assert made.counter("a", Tier.STANDARD) == 90
    made.take_back("a0")
    assert made.counter("a", Tier.STANDARD) == 90
    assert take(made) == "a0"
    made.leave("a0", generated=3)
    assert made.counter("a", Tier.STANDARD) == 76


def test_behind_goes_by_band_then_by_counter() -> None:
    made = queue()
    for key, tier in (("batch", Tier.BATCH), ("s", Tier.STANDARD), ("c", Tier.CRITICAL)):
        made.add(key, ticket(key, tier), 0.0)
        made.start(key)
    made.add("new", ticket("new"), 0.0)
    assert made.behind("new", "batch") == inf
    assert made.behind("new", "c") == -inf
    assert made.behind("new", "s") == 30
    made.add("more", ticket("s", prompt=500), 0.0)
    assert made.behind("more", "s") == 0
    assert (made.cost("s"), made.cost("more")) == (30, 520)


def test_wanting_names_the_weights_of_those_who_wait() -> None:
    made = queue()
    made.add("a", ticket("a", weight=3.0), 0.0)
    made.add("b", ticket("b", Tier.BATCH), 0.0)
    assert made.wanting() == {"a": 3.0, "b": 1.0}
    made.start("a")
    assert made.wanting() == {"b": 1.0}


@dataclass
class Engine:
    """Slots that generate a token a step for whom the queue chooses."""

    made: FairQueue
    slots: int
    expected: random.Random
    served: dict[str, float] = field(default_factory=dict)
    running: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    number: int = 0

    def arrive(self, client: str, prompt: int, out: int, weight: float) -> None:
        key = f"{client}-{self.number}"
        self.number += 1
        guess = self.expected.randint(1, 40)
        self.made.add(key, Ticket(client, Tier.STANDARD, prompt, guess, weight), 0.0)
        self.lengths[key] = (client, prompt, out)

    lengths: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def step(self) -> None:
        while len(self.running) < self.slots and (key := self.made.head(0.0)) is not None:
            self.made.start(key)
            client, prompt, out = self.lengths.pop(key)
            self.running[key] = (client, 0, out)
            self.served[client] = self.served.get(client, 0.0) + prompt
        # Work-conserving: no slot is free while somebody waits.
        assert len(self.running) == self.slots or not len(self.made)
        for key, (client, done, out) in list(self.running.items()):
            self.served[client] += 2
            self.made.generated(key, done + 1)
            if done + 1 == out:
                del self.running[key]
                self.made.leave(key, done + 1)
            else:
                self.running[key] = (client, done + 1, out)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    slots=st.integers(1, 6),
    clients=st.integers(2, 5),
    steps=st.integers(20, 300),
    credit=st.sampled_from([0.0, 1.0, 4.0]),
)
def test_backlogged_clients_never_differ_by_more_than_twice_a_full_batch_and_the_credit(
    seed: int, slots: int, clients: int, steps: int, credit: float
) -> None:
    random_ = random.Random(seed)
    names = [f"c{index}" for index in range(clients)]
    weights = {name: random_.choice([1.0, 1.0, 2.0, 0.5]) for name in names}
    longest = {name: (random_.randint(1, 60), random_.randint(1, 40)) for name in names}
    engine = Engine(queue(credit=credit), slots, random_)
    # What a full batch of the largest requests costs, to the client with the least weight.
    bound = (2 * slots + credit) * (60 + 2 * 40) / min(weights.values())

    def fill() -> None:
        for name in names:
            while sum(client == name for client, _, _ in engine.lengths.values()) < 2 * slots:
                most = longest[name]
                prompt, out = random_.randint(1, most[0]), random_.randint(1, most[1])
                engine.arrive(name, prompt, out, weights[name])

    for _ in range(steps):
        fill()
        engine.step()
        fair = [engine.served.get(name, 0.0) / weights[name] for name in names]
        assert max(fair) - min(fair) <= bound


class Machine(RuleBasedStateMachine):
    """Anything that may happen to requests, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.made = queue(ageing_s=3.0, max_idle=2)
        self.now = 0.0
        self.number = 0
        self.waiting: set[str] = set()
        self.started: set[str] = set()
        self.stepped: set[str] = set()

    @rule(client=st.sampled_from("abcd"), tier=st.sampled_from(Tier), out=st.integers(0, 50))
    def add(self, client: str, tier: Tier, out: int) -> None:
        key = f"{client}{self.number}"
        self.number += 1
        self.made.add(key, ticket(client, tier, self.number % 7, out), self.now)
        self.waiting.add(key)

    @rule(seconds=st.floats(0, 2))
    def later(self, seconds: float) -> None:
        self.now += seconds
        self.stepped.clear()

    @rule()
    def start(self) -> None:
        key = take(self.made, self.now)
        assert (key is None) == (not self.waiting)
        if key is not None:
            self.waiting.remove(key)
            self.started.add(key)
            self.stepped.add(key)

    @precondition(lambda self: self.stepped & self.started)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.stepped & self.started)))
        self.made.take_back(key)
        self.started.remove(key)
        self.waiting.add(key)

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def preempt(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.started)))
        self.made.preempt(key)
        self.started.remove(key)
        self.waiting.add(key)
        assert self.made.head(self.now) == key

    @precondition(lambda self: self.started)
    @rule(data=st.data())
    def set_aside(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.started)))
        counters = [self.made.counter(key[0], tier) for tier in Tier]
        self.made.set_aside(key)
        assert [self.made.counter(key[0], tier) for tier in Tier] == counters
        self.started.remove(key)
        self.waiting.add(key)

    @precondition(lambda self: self.waiting | self.started)
    @rule(data=st.data(), generated=st.integers(0, 80))
    def leave(self, data: st.DataObject, generated: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.waiting | self.started)))
        self.made.generated(key, generated)
        self.made.leave(key, generated)
        self.made.leave(key, generated)
        self.waiting.discard(key)
        self.started.discard(key)

    @invariant()
    def it_knows_exactly_these(self) -> None:
        assert len(self.made) == len(self.waiting)
        assert set(self.made) == self.waiting
        assert self.made.tracked == len(self.waiting) + len(self.started)
        for client in "abcd":
            assert self.made.waits(client) == any(key[0] == client for key in self.waiting)
            others = any(key[0] != client for key in self.waiting)
            assert self.made.others_wait(client) == others

    def teardown(self) -> None:
        for key in self.waiting | self.started:
            self.made.leave(key, 1)
        assert not len(self.made)
        assert self.made.tracked == 0
        assert self.made.counters <= 3 * 3


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
