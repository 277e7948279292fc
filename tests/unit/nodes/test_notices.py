"""What is done about notices, and about a metadata service that hangs, lies or is not there."""

import math

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.notices import (
    ABSENT_S,
    NOTICE_S,
    REPEAT_S,
    RETRY_S,
    UNTIL_ABSENT,
    NoticeWatch,
    Seen,
    believed,
)

WALL = 1_790_000_000.0
GOES = Seen("terminate", WALL + 120)


def test_a_notice_drains_and_is_told() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    steps = watch.steps(100.0)
    assert (steps.drain_s, steps.tell_s, steps.warn) == (120.0, 120.0, False)
    assert "taken away (terminate) in 120 s" in steps.say


def test_nothing_is_done_twice_but_the_keeper_is_told_again() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    watch.steps(100.0)
    watch.drained()
    watch.told(100.0)
    steps = watch.steps(101.0)
    assert (steps.drain_s, steps.tell_s, steps.say) == (None, None, "")
    assert watch.steps(100.0 + REPEAT_S).tell_s == 120.0 - REPEAT_S


def test_what_has_failed_is_tried_again() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    assert watch.steps(100.0).drain_s == 120.0
    assert watch.steps(100.0 + RETRY_S / 2).drain_s is None
    again = watch.steps(100.0 + RETRY_S)
    assert (again.drain_s, again.tell_s) == (119.0, 119.0)
    assert watch.wait_s == RETRY_S


def test_a_notice_that_is_withdrawn_in_time_drains_nothing() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    watch.answered(Seen(), 100.5, WALL)
    steps = watch.steps(100.5)
    assert (steps.drain_s, steps.tell_s) == (None, None)
    assert watch.counts["withdrawn"] == 1


def test_a_notice_that_is_withdrawn_too_late_stands() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    watch.drained()
    watch.answered(Seen(), 102.0, WALL)
    assert watch.steps(102.0).tell_s == 118.0


def test_a_second_notice_may_only_come_sooner() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    watch.answered(Seen("terminate", WALL + 600), 101.0, WALL)
    assert watch.steps(101.0).tell_s == 119.0
    watch.answered(Seen("terminate", WALL + 30), 101.0, WALL)
    assert watch.steps(101.0).tell_s == 30.0
    watch.answered(Seen("terminate", None), 101.0, WALL)
    assert watch.steps(101.0).tell_s == 30.0


def test_a_recommendation_is_told_until_it_was_heard() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(Seen(rebalance=True), 100.0, WALL)
    assert watch.steps(100.0).warn
    assert watch.steps(100.0).warn
    watch.warned(100.0)
    steps = watch.steps(101.0)
    assert (steps.warn, steps.drain_s, steps.tell_s) == (False, None, None)
    assert watch.counts["rebalance"] == 1


def test_a_service_that_is_not_there_is_asked_rarely_and_that_is_said_once() -> None:
    watch = NoticeWatch(2.0)
    said = []
    for _ in range(50):
        watch.failed("ConnectTimeout")
        said.append(watch.steps(0.0).say)
    assert len([line for line in said if line]) == 1
    assert "ConnectTimeout; it is asked each 60 s" in said[UNTIL_ABSENT - 1]
    assert watch.wait_s == ABSENT_S


def test_a_service_that_has_answered_before_is_asked_on() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(Seen(), 0.0, WALL)
    for _ in range(50):
        watch.failed("it answers 500")
    assert watch.wait_s == 2.0


def test_a_notice_stands_while_the_service_fails() -> None:
    watch = NoticeWatch(2.0)
    watch.answered(GOES, 100.0, WALL)
    watch.failed("it answers 500")
    assert watch.steps(101.0).tell_s == 119.0


@given(st.none() | st.floats(), st.floats(0, 4e9))
def test_whatever_a_notice_says_there_is_a_time(at: float | None, wall: float) -> None:
    left_s = believed(at, wall)
    assert 0 <= left_s <= 3600
    if at is None or math.isnan(at) or abs(at - wall) > 3601:
        assert left_s == NOTICE_S


def test_a_time_that_has_passed_leaves_none() -> None:
    assert believed(WALL - 5, WALL) == 0.0
    assert believed(WALL + 365 * 86400, WALL) == NOTICE_S


@given(
    st.lists(
        st.one_of(
            st.builds(
                Seen,
                st.sampled_from([None, "terminate", "stop"]),
                st.none() | st.floats(WALL - 1e4, WALL + 1e4),
                st.booleans(),
            ),
            st.sampled_from(["fail", "drained", "told"]),
        ),
        max_size=30,
    )
)
def test_a_node_that_drains_never_gets_more_time(events: list[Seen | str]) -> None:
    watch, now, promised = NoticeWatch(2.0), 0.0, math.inf
    drained = False
    for event in events:
        now += 1.0
        if isinstance(event, Seen):
            watch.answered(event, now, WALL + now)
        elif event == "fail":
            watch.failed("hangs")
        steps = watch.steps(now)
        assert steps.drain_s is None or not drained
        if steps.tell_s is not None:
            assert 0 <= steps.tell_s <= 3600
        if event == "drained" and steps.drain_s is not None:
            watch.drained()
            drained, promised = True, now + steps.drain_s
        if drained and steps.tell_s is not None and steps.tell_s > 0:
            assert now + steps.tell_s <= promised + 1e-6
