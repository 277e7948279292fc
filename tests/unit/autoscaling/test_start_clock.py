"""How long starts take, by what replicas say and when they are wanted."""

from dataclasses import replace
from typing import Any

from autoscaling.pool_terms import Order, Phase, Report
from autoscaling.start_clock import RESTS_S, StartClock


def said(name: str, phase: Phase, age_s: float = 0.0, **more: Any) -> Report:
    return replace(Report(name, phase, age_s), **more)


def test_a_start_is_timed_from_the_moment_it_was_wanted() -> None:
    clock = StartClock()
    clock.wanted(1, 100.0)
    clock.wanted(1, 150.0)
    clock.heard(said("r1", Phase.STANDBY, 1.0, start_s=20.0), Order.KEEP, 191.0)
    assert clock.taken(192.0) == []
    assert clock.taken(191.0 + RESTS_S) == [("cold", 90.0)]
    assert clock.taken(300.0) == []


def test_one_that_is_woken_at_once_is_ready_when_it_is_active() -> None:
    clock = StartClock()
    clock.wanted(1, 100.0)
    clock.heard(said("r1", Phase.STANDBY, cached=True), Order.WAKE, 190.0)
    clock.heard(said("r1", Phase.WAKING, 1.0), Order.KEEP, 191.0)
    clock.heard(said("r1", Phase.ACTIVE, 4.0), Order.KEEP, 194.0)
    assert clock.taken(195.0) == [("standby", 4.0), ("cached", 94.0)]


def test_the_oldest_want_is_answered_first() -> None:
    clock = StartClock()
    clock.wanted(1, 100.0)
    clock.wanted(2, 150.0)
    clock.heard(said("r1", Phase.STANDBY), Order.KEEP, 200.0)
    clock.wanted(1, 200.0)
    clock.heard(said("r2", Phase.STANDBY), Order.KEEP, 210.0)
    assert clock.taken(250.0) == [("cold", 100.0), ("cold", 60.0)]


def test_what_is_not_wanted_any_more_is_not_timed() -> None:
    clock = StartClock()
    clock.wanted(2, 100.0)
    clock.wanted(1, 150.0)
    clock.wanted(2, 160.0)
    clock.heard(said("r1", Phase.STANDBY), Order.KEEP, 200.0)
    clock.heard(said("r2", Phase.STANDBY), Order.KEEP, 200.0)
    assert [seconds for _, seconds in clock.taken(250.0)] == [100.0, 40.0]


def test_a_replica_that_was_there_before_is_no_start() -> None:
    clock = StartClock()
    clock.wanted(1, 100.0)
    clock.heard(said("old", Phase.ACTIVE, 500.0), Order.KEEP, 110.0)
    clock.heard(said("new", Phase.STANDBY), Order.KEEP, 150.0)
    assert clock.taken(200.0) == [("cold", 50.0)]


def test_a_start_that_had_begun_before_anybody_counted_took_what_it_says() -> None:
    clock = StartClock()
    clock.wanted(1, 100.0)
    clock.heard(said("r1", Phase.STANDBY, start_s=80.0), Order.KEEP, 110.0)
    assert clock.taken(200.0) == [("cold", 80.0)]


def test_a_wake_that_fails_is_no_start() -> None:
    clock = StartClock()
    clock.heard(said("r1", Phase.STANDBY), Order.WAKE, 10.0)
    clock.heard(said("r1", Phase.FAILED), Order.EXIT, 12.0)
    clock.heard(said("r1", Phase.ACTIVE), Order.KEEP, 20.0)
    assert clock.taken(20.0) == []


def test_it_stays_small() -> None:
    clock = StartClock()
    clock.wanted(10**9, 0.0)
    for number in range(5000):
        clock.heard(said(f"r{number}", Phase.STANDBY), Order.WAKE, float(number))
        clock.heard(said(f"r{number}", Phase.ACTIVE), Order.KEEP, float(number))
    assert len(clock.taken(5000.0)) <= 2000
    assert len(clock._known) < 20
