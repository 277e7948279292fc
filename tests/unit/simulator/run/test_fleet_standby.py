"""Replicas that stand by are paid as others, take no requests, and are woken soon."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.simulator.fleet import Fleet
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.run.test_fleet import A, B, Clock, Idle, fleet, most

ROOM = {A: 9, B: 9}


def standing(slots: Idle, active: int = 2, standby: int = 1) -> tuple[Fleet, Clock]:
    """A fleet whose replicas on demand are there already."""
    one = fleet(slots)
    clock = Clock(one)
    one.begin(active, 0.0)
    one.target({ON_DEMAND: active}, ROOM, 0.0, {ON_DEMAND: standby})
    clock.run(200)
    one.views()
    return one, clock


def test_those_that_stand_by_are_started_and_paid_and_take_nothing() -> None:
    slots = Idle()
    one = fleet(slots)
    clock = Clock(one)
    one.begin(1, 0.0)
    one.target({ON_DEMAND: 1}, ROOM, 0.0, {ON_DEMAND: 2})
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (1, 2, 0)
    assert not one.missing
    clock.run(200)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (1, 0, 2)
    assert view.standby_born_s == (0.0, 0.0)
    assert view.started_s == (100.0, 100.0)
    assert sum(slots.open.values()) == 1
    assert one.ledger.replica_s[ON_DEMAND] == pytest.approx(600.0)
    assert one.ledger.ready_s[ON_DEMAND] == pytest.approx(200.0)


def test_a_missing_one_is_woken_and_another_started_in_its_place() -> None:
    one, clock = standing(Idle())
    one.target({ON_DEMAND: 3}, ROOM, clock.now, {ON_DEMAND: 1})
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (2, 1, 1)
    assert one.missing
    clock.run(10)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (3, 1, 0)
    assert (view.woken_s, view.started_s) == ((10.0,), ())
    assert not one.missing
    clock.run(100)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (3, 0, 1)


def test_more_than_stand_by_are_started_to_be_ready() -> None:
    one, clock = standing(Idle())
    one.target({ON_DEMAND: 5}, ROOM, clock.now, {ON_DEMAND: 1})
    clock.run(10)
    assert one.views()[ON_DEMAND].ready == 3
    clock.run(100)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.standby) == (5, 1)


def test_a_surplus_one_is_parked_once_it_has_ended_its_requests() -> None:
    slots = Idle(requests=3)
    one, clock = standing(slots)
    one.target({ON_DEMAND: 1}, ROOM, clock.now, {ON_DEMAND: 2})
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.standby) == (1, 2)
    assert len(slots.open) == 2
    # The one that was idle is woken; the other has requests still.
    one.target({ON_DEMAND: 3}, ROOM, clock.now, {})
    clock.run(10)
    assert one.ready == 2
    clock.run(50)
    assert len(slots.open) == 2
    one.target({ON_DEMAND: 3}, ROOM, clock.now, {})
    clock.run(10)
    assert one.ready == 3
    assert one.ledger.replica_s[ON_DEMAND] == pytest.approx(3 * 270.0)


def test_one_that_is_being_woken_goes_back_when_it_is_not_wanted_any_more() -> None:
    one, clock = standing(Idle())
    one.target({ON_DEMAND: 3}, ROOM, clock.now, {ON_DEMAND: 1})
    one.target({ON_DEMAND: 2}, ROOM, clock.now, {ON_DEMAND: 1})
    clock.run(200)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.starting, view.standby) == (2, 0, 1)


def test_nobody_stands_by_any_more_where_none_is_asked_for() -> None:
    one, clock = standing(Idle())
    one.target({ON_DEMAND: 2}, ROOM, clock.now)
    clock.run(10)
    view = one.views()[ON_DEMAND]
    assert (view.ready, view.standby, view.leaving) == (2, 0, 0)
    before = one.ledger.replica_s[ON_DEMAND]
    clock.run(100)
    assert one.ledger.replica_s[ON_DEMAND] - before == pytest.approx(200.0)


def test_one_that_stands_by_may_lose_its_node() -> None:
    one = fleet(Idle(requests=4))
    clock = Clock(one)
    one.target({}, ROOM, 0.0, {A: 1})
    clock.run(200)
    one.views()
    one.supply((A, B), most(0, 9), clock.now)
    clock.run(200)
    view = one.views()[A]
    assert (view.standby, view.preempted, view.lost_s) == (0, 1, (320.0,))
    assert one.ledger.moved_by_preemption == 0
    assert one.ledger.replica_s[A] == pytest.approx(320.0)


_MOVES = st.lists(
    st.tuples(
        st.integers(0, 5), st.integers(0, 3), st.integers(0, 4), st.integers(0, 2),
        st.integers(0, 5), st.integers(1, 15),
    ),
    min_size=1,
    max_size=25,
)  # fmt: skip


@given(moves=_MOVES, notice_s=st.sampled_from([0.0, 30.0, 120.0]), requests=st.sampled_from([0, 2]))
@settings(max_examples=80, deadline=None)
def test_cost_is_the_integral_of_what_ran_those_that_stood_by_too(
    moves: list[tuple[int, int, int, int, int, int]], notice_s: float, requests: int
) -> None:
    slots = Idle(requests)
    one = fleet(slots, notice_s=notice_s)
    now, counted, taking = 0.0, dict.fromkeys((ON_DEMAND, A, B), 0.0), 0.0
    for base, spare, spot, other, room, steps in moves:
        one.supply((A, B), np.array((room, 9), np.int32), now)
        one.pass_time(now, 0.0)
        wanted, standby = {ON_DEMAND: base, A: spot}, {ON_DEMAND: spare, A: other}
        for step in range(steps):
            one.target(wanted, {A: room, B: 9}, now, standby)
            before = [node for nodes in one._nodes.values() for node in nodes]
            ends = {id(node): node.leaves_s for node in before}
            taking += sum(min(10.0, max(0.0, ends[id(n)] - now)) for n in before if n.open)
            now += 10.0
            one.pass_time(now, 10.0)
            for node in before:
                counted[node.site] += min(10.0, max(0.0, ends[id(node)] - (now - 10.0)))
            assert one.ready == sum(slots.open.values())
            view = one.views()[ON_DEMAND]
            assert view.ready <= base
            assert view.ready + view.starting + view.standby == base + spare
            if step >= 19:
                assert (view.ready, view.standby) == (base, spare)
    for site, seconds in counted.items():
        assert one.ledger.replica_s[site] == pytest.approx(seconds)
    assert sum(one.ledger.ready_s.values()) == pytest.approx(taking)
