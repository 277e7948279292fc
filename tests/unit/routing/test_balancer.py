"""The balancer: tokens outstanding, whose turn it is, and what a vanished replica leaves behind."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.routing.balancer import Balancer


def balancer(*ids: str) -> Balancer:
    made = Balancer()
    made.set_replicas("pool", "spot", ids)
    return made


def chosen(of: Balancer, now: float = 0.0, exclude: frozenset[str] = frozenset()) -> str | None:
    found = of.least_loaded("pool", "spot", now, exclude)
    return None if found is None else found.id


def test_least_tokens_not_fewest_requests() -> None:
    made = balancer("a", "b")
    made.reserve("long", "a", 5_000)
    for key in range(3):
        made.reserve(key, "b", 100)
    assert chosen(made) == "b"


def test_ties_go_around() -> None:
    made = balancer("a", "b", "c", "d")
    made.reserve("standing", "d", 1_000)
    turns = []
    for key in range(9):
        turns.append(chosen(made))
        made.reserve(key, turns[-1] or "", 10)
        made.release(key)
    assert turns == ["a", "b", "c"] * 3


def test_progress_makes_room_but_a_running_request_always_counts() -> None:
    made = balancer("a")
    made.reserve("r", "a", 100)
    made.progress("r", 60)
    assert made.replicas["a"].own == 40
    made.progress("r", 60)
    made.progress("r", 60)
    assert made.replicas["a"].own == 1
    made.release("r")
    assert made.replicas["a"].own == 0


def test_a_second_reservation_replaces_the_first() -> None:
    made = balancer("a", "b")
    made.reserve("r", "a", 100)
    made.reserve("r", "b", 50)
    assert (made.replicas["a"].own, made.replicas["b"].own, made.reserved) == (0, 50, 1)


def test_the_choice_can_be_narrowed() -> None:
    made = balancer("a", "b", "c")
    made.reserve("r", "b", 100)

    def narrowed(*among: str) -> str | None:
        found = made.least_loaded("pool", "spot", 0.0, frozenset("c"), frozenset(among))
        return None if found is None else found.id

    assert narrowed("b") == "b"
    assert narrowed("b", "c") == "b"
    assert narrowed("a", "b") == "a"
    assert narrowed("c", "gone") is None
    assert narrowed() is None


def test_what_others_have_outstanding_counts() -> None:
    made = balancer("a", "b")
    made.report("a", 500)
    made.report("b", -20)
    assert chosen(made) == "b"
    assert made.replicas["a"].outstanding == 500
    assert made.replicas["b"].outstanding == 0


def test_a_vanished_replica_takes_its_tokens_along() -> None:
    made = balancer("a", "b")
    made.reserve("r", "a", 100)
    assert made.set_replicas("pool", "spot", ["b"]) == ()
    assert chosen(made) == "b"
    assert made.set_replicas("pool", "spot", ["b", "a"]) == ("a",)
    assert made.replicas["a"].own == 0
    made.progress("r", 10)
    made.release("r")
    assert made.replicas["a"].own == 0
    assert made.reserved == 0


def test_those_that_stay_keep_what_they_have() -> None:
    made = balancer("a", "b")
    made.reserve("r", "a", 100)
    made.set_replicas("pool", "spot", ["c", "a"])
    assert made.replicas["a"].own == 100
    assert [replica.id for replica in made.in_group("pool", "spot")] == ["c", "a"]


def test_late_events_are_harmless() -> None:
    made = balancer("a")
    made.reserve("r", "gone", 100)
    made.progress("r", 1)
    made.release("r")
    made.release("never")
    made.report("gone", 5)
    assert (made.replicas["a"].outstanding, made.reserved) == (0, 0)
    assert made.least_loaded("other", "spot", 0.0) is None


def test_a_replica_is_of_one_pool_only() -> None:
    made = balancer("a")
    with pytest.raises(ValueError, match=r"replica a belongs to pool pool \(spot\)"):
        made.set_replicas("vault", "spot", ["v", "a"])
    assert set(made.replicas) == {"a"}


def test_a_failed_replica_rests_but_serves_where_it_is_the_only_one() -> None:
    made = balancer("a", "b")
    made.report("b", 10_000)
    failing = made.replicas["a"]
    made.failed(failing, 10.0)
    assert chosen(made, 10.4) == "b"
    assert chosen(made, 10.4, frozenset("b")) == "a"
    assert chosen(made, 10.5) == "a"
    made.failed(failing, 11.0)
    made.failed(failing, 11.1)  # it rests already: sent before the rest began
    assert chosen(made, 11.9) == "b"
    assert chosen(made, 12.0) == "a"
    made.failed(failing, 12.0)
    made.succeeded(failing)
    assert chosen(made, 12.0) == "a"


def test_a_rest_has_its_limit() -> None:
    made = balancer("a")
    now = 0.0
    for _ in range(2_000):
        made.failed(made.replicas["a"], now)
        now = made.replicas["a"].rests_until
    assert made.replicas["a"].rests_until <= 2_000 * 30.0


class BalancerMachine(RuleBasedStateMachine):
    """Any order of reservations, releases and membership, against the plain sums."""

    ids = st.sampled_from("abcdef")
    keys = st.integers(0, 9)

    def __init__(self) -> None:
        super().__init__()
        self.balancer = Balancer()
        self.there: set[str] = set()
        self.expected: dict[int, tuple[str | None, int]] = {}

    @rule(ids=st.sets(ids))
    def members(self, ids: set[str]) -> None:
        joined = self.balancer.set_replicas("pool", "spot", sorted(ids))
        assert set(joined) == ids - self.there
        for key, (replica, tokens) in self.expected.items():
            if replica not in ids:
                self.expected[key] = (None, tokens)
        self.there = ids

    @rule(key=keys, replica=ids, tokens=st.integers(-1, 1_000))
    def reserve(self, key: int, replica: str, tokens: int) -> None:
        self.balancer.reserve(key, replica, tokens)
        self.expected.pop(key, None)
        if replica in self.there:
            self.expected[key] = (replica, max(tokens, 1))

    @rule(key=keys, tokens=st.integers(-5, 2_000))
    def progress(self, key: int, tokens: int) -> None:
        self.balancer.progress(key, tokens)
        if key in self.expected:
            replica, left = self.expected[key]
            self.expected[key] = (replica, max(left - max(tokens, 0), 1))

    @rule(key=keys)
    def release(self, key: int) -> None:
        self.balancer.release(key)
        self.expected.pop(key, None)

    @invariant()
    def sums_agree(self) -> None:
        assert set(self.balancer.replicas) == self.there
        assert self.balancer.reserved == len(self.expected)
        for replica in self.balancer.replicas.values():
            assert replica.own == sum(
                left for name, left in self.expected.values() if name == replica.id
            )

    @invariant()
    def the_least_is_chosen(self) -> None:
        found = self.balancer.least_loaded("pool", "spot", 0.0)
        if not self.there:
            assert found is None
        else:
            assert found is not None
            assert found.own == min(replica.own for replica in self.balancer.replicas.values())

    def teardown(self) -> None:
        for key in range(10):
            self.balancer.release(key)
        assert all(replica.own == 0 for replica in self.balancer.replicas.values())
        assert self.balancer.reserved == 0


TestBalancerMachine = BalancerMachine.TestCase
TestBalancerMachine.settings = settings(deadline=None)
