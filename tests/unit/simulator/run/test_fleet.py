"""Nodes are paid from when they are got to when they end, whatever happens in between."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.plan_terms import Site
from autoscaling.simulator.fleet import Fleet
from autoscaling.simulator.terms import ON_DEMAND, Ints

A = Site("spot", "r", "ra")
B = Site("spot", "r", "rb")


class Idle:
    """What computes where there is nothing to do; it remembers what was opened and ended."""

    def __init__(self, requests: int = 0) -> None:
        self.open: dict[int, bool] = {}
        self.requests = requests
        self.ended = 0
        self.lost = 0

    def add(self, at_s: float) -> int:
        slot = len(self.open) + self.ended
        self.open[slot] = True
        return slot

    def close(self, slot: int) -> None:
        assert self.open[slot]
        self.open[slot] = False

    def remove(self, slot: int) -> int:
        del self.open[slot]
        self.ended += 1
        return self.requests

    def busy(self, slot: int) -> int:
        return self.requests


def fleet(slots: Idle, lead_s: float = 100.0, notice_s: float = 120.0) -> Fleet:
    return Fleet(slots, (ON_DEMAND, A, B), lead_s, 0.0, notice_s, 60.0, seed=1)


def most(*counts: int) -> Ints:
    return np.array(counts, np.int32)


class Clock:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.now = fleet, 0.0

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds // 10)):
            self.now += 10.0
            self.fleet.pass_time(self.now, 10.0)


def test_a_start_takes_its_time_and_is_paid_from_its_beginning() -> None:
    one = fleet(Idle())
    clock = Clock(one)
    one.target({ON_DEMAND: 2}, {}, 0.0)
    clock.run(90)
    assert one.views()[ON_DEMAND].starting == 2
    assert one.missing
    clock.run(10)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting) == (2, 0)
    assert view.started_s == (100.0, 100.0)
    assert one.views()[ON_DEMAND].started_s == ()
    clock.run(50)
    assert one.ledger.replica_s[ON_DEMAND] == pytest.approx(300.0)
    assert one.ledger.ready_s[ON_DEMAND] == pytest.approx(100.0)


def test_spot_replicas_wait_for_nodes_and_that_is_part_of_their_start() -> None:
    one = fleet(Idle())
    clock = Clock(one)
    one.target({A: 3}, {A: 1, B: 0}, 0.0)
    view = one.views()[A]
    assert (view.starting, view.pending) == (1, 2)
    clock.run(200)
    assert one.ledger.replica_s[A] == pytest.approx(200.0)
    one.target({A: 3}, {A: 3, B: 0}, clock.now)
    clock.run(100)
    view = one.views()[A]
    assert (view.ready, view.pending) == (3, 0)
    assert sorted(view.started_s) == [100.0, 300.0, 300.0]


def test_what_is_given_up_stops_when_it_is_idle_starting_ones_first() -> None:
    slots = Idle()
    one = fleet(slots)
    clock = Clock(one)
    one.begin(2, 0.0)
    one.target({ON_DEMAND: 3}, {}, 0.0)
    one.target({ON_DEMAND: 2}, {}, 0.0)
    clock.run(10)
    assert one.views()[ON_DEMAND].ready == 2
    one.target({ON_DEMAND: 1}, {}, clock.now)
    assert one.ready == 1
    clock.run(10)
    assert len(slots.open) == 1


def test_what_is_given_up_with_requests_has_a_while_to_end_them() -> None:
    slots = Idle(requests=4)
    one = fleet(slots)
    clock = Clock(one)
    one.begin(1, 0.0)
    one.target({}, {}, 0.0)
    clock.run(50)
    assert len(slots.open) == 1
    clock.run(10)
    assert not slots.open
    assert one.ledger.replica_s[ON_DEMAND] == pytest.approx(60.0)


@pytest.mark.parametrize("notice_s", [0.0, 30.0, 120.0])
def test_a_preempted_node_is_paid_to_its_end_and_its_requests_move(notice_s: float) -> None:
    slots = Idle(requests=5)
    one = fleet(slots, notice_s=notice_s)
    clock = Clock(one)
    one.target({A: 2}, {A: 2, B: 0}, 0.0)
    clock.run(200)
    one.views()
    one.supply((A, B), most(1, 0), clock.now)
    one.pass_time(clock.now, 0.0)
    assert one.ledger.preemptions == 1
    clock.run(300)
    view = one.views()[A]
    assert (view.ready, view.preempted) == (1, 1)
    assert view.lost_s == (200.0 + notice_s,)
    assert one.ledger.moved_by_preemption == 5
    assert one.ledger.replica_s[A] == pytest.approx(500.0 + 200.0 + notice_s)


class Weary(Idle):
    """As if two requests of each slot had moved too often."""

    def remove(self, slot: int) -> int:
        self.lost += 2
        return super().remove(slot)


def test_what_is_lost_to_a_preemption_is_counted_apart_from_what_is_stopped() -> None:
    one = fleet(Weary(requests=5), notice_s=0.0)
    clock = Clock(one)
    one.target({A: 2}, {A: 2, B: 0}, 0.0)
    clock.run(200)
    one.supply((A, B), most(1, 0), clock.now)
    clock.run(10)
    assert (one.ledger.moved_by_preemption, one.ledger.lost_by_preemption) == (5, 2)
    one.target({}, {A: 1, B: 0}, clock.now)
    clock.run(100)
    assert (one.ledger.moved_by_preemption, one.ledger.lost_by_preemption) == (5, 2)


def test_a_node_that_was_told_to_go_is_not_told_again() -> None:
    one = fleet(Idle())
    clock = Clock(one)
    one.target({A: 3}, {A: 3, B: 0}, 0.0)
    clock.run(200)
    for _ in range(3):
        one.supply((A, B), most(1, 0), clock.now)
    assert one.ledger.preemptions == 2
    assert one.views()[A].leaving == 2


_MOVES = st.lists(
    st.tuples(
        st.integers(0, 6), st.integers(0, 6), st.integers(0, 4), st.integers(0, 4),
        st.integers(1, 12),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


@given(moves=_MOVES, notice_s=st.sampled_from([0.0, 30.0, 120.0]))
@settings(max_examples=60, deadline=None)
def test_cost_is_the_integral_of_what_ran(
    moves: list[tuple[int, int, int, int, int]], notice_s: float
) -> None:
    """Nodes are counted apart, second by second, by those that have not ended."""
    one = fleet(Idle(), notice_s=notice_s)
    now, counted = 0.0, {ON_DEMAND: 0.0, A: 0.0, B: 0.0}
    for base, spot, room, more, steps in moves:
        one.supply((A, B), most(room, more), now)
        one.pass_time(now, 0.0)
        one.target({ON_DEMAND: base, A: spot, B: spot // 2}, {A: room, B: more}, now)
        for _ in range(steps):
            before = {site: list(nodes) for site, nodes in one._nodes.items()}
            now += 10.0
            ends = {id(n): n.leaves_s for nodes in before.values() for n in nodes}
            one.pass_time(now, 10.0)
            for site, nodes in before.items():
                counted[site] += sum(
                    min(10.0, max(0.0, ends[id(node)] - (now - 10.0))) for node in nodes
                )
        for site in (A, B):
            held = [n for n in one._nodes[site] if n.leaves_s == float("inf")]
            assert len(held) <= max(room, more, 6)
    for site, seconds in counted.items():
        assert one.ledger.replica_s[site] == pytest.approx(seconds)
        assert one.ledger.ready_s[site] <= one.ledger.replica_s[site] + 1e-6
