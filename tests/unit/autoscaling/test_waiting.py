"""Requests that only a start can help are counted once."""

from autoscaling.waiting import Waiting


def test_those_that_come_while_others_wait_are_counted_too() -> None:
    waiting = Waiting(silence_s=5.0)
    for now, requests in enumerate((2, 2, 5, 4, 6)):
        waiting.judge(waiting.hear(100.0, requests, float(now)), cold=True)
    assert waiting.cold_starts == 1
    assert waiting.cold_start_requests == 2 + 3 + 2


def test_the_next_time_is_another_one() -> None:
    waiting = Waiting(silence_s=5.0)
    for now, requests in enumerate((2, 0, 3)):
        waiting.judge(waiting.hear(100.0, requests, float(now)), cold=True)
    assert (waiting.cold_starts, waiting.cold_start_requests) == (2, 5)


def test_those_that_standby_can_help_are_not_counted() -> None:
    waiting = Waiting(silence_s=5.0)
    waiting.judge(waiting.hear(100.0, 2, 0.0), cold=False)
    assert (waiting.cold_starts, waiting.cold_start_requests) == (0, 0)


def test_gateways_that_fall_silent_hold_nothing_back() -> None:
    waiting = Waiting(silence_s=5.0)
    waiting.hear(100.0, 2, 0.0)
    waiting.refresh(4.9)
    assert (waiting.tokens, waiting.requests) == (100.0, 2)
    waiting.refresh(5.0)
    assert (waiting.tokens, waiting.requests) == (0.0, 0)
