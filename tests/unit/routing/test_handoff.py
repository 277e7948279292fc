"""The threshold of the hand-off: what it is learned from, and what does not disturb it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.handoff import HandoffThreshold

SECONDS = st.floats(1e-6, 1e3)


def measured(rate: float, handoff_s: float, count: int = 20) -> HandoffThreshold:
    """A threshold that has seen undisturbed requests of 100 tokens."""
    made = HandoffThreshold()
    for _ in range(count):
        made.prefilled(100, 100 / rate)
        made.handed_over(handoff_s)
    return made


class Pool:
    """A disaggregated pool in which queues delay some of the requests."""

    def __init__(self, rate: float, handoff_s: float, delayed: float = 0.6) -> None:
        self.rate = rate
        self.handoff_s = handoff_s
        self.delayed = delayed
        self.random = random.Random(7)
        self.threshold = HandoffThreshold()

    def queue(self) -> float:
        return self.random.expovariate(4.0) if self.random.random() < self.delayed else 0.0

    def serve(self, count: int, shortest: int = 16, longest: int = 4_096) -> int:
        """Serves prompts of lengths even in their logarithm; how many were handed over."""
        over = 0
        for _ in range(count):
            tokens = int(shortest * (longest / shortest) ** self.random.random())
            if self.threshold.wants(tokens):
                over += 1
                self.threshold.handed_over(self.handoff_s + self.queue())
            else:
                self.threshold.prefilled(tokens, tokens / self.rate + self.queue())
        return over


def test_the_formula() -> None:
    made = measured(rate=10_000.0, handoff_s=0.05)
    assert made.prefill_rate == pytest.approx(10_000.0)
    assert made.handoff_s == 0.05
    assert made.threshold == pytest.approx(500, abs=1)
    assert not made.wants(499)
    assert made.wants(501)


def test_the_prior_until_both_are_measured() -> None:
    made = HandoffThreshold(prior=300)
    assert (made.threshold, made.prefill_rate, made.handoff_s) == (300, None, None)
    for _ in range(20):
        made.prefilled(100, 0.01)
    for _ in range(7):
        made.handed_over(0.1)
    assert (made.threshold, made.handoff_s) == (300, None)
    assert HandoffThreshold(least=512, prior=300).threshold == 512
    made.handed_over(0.1)
    assert made.threshold == pytest.approx(1_000, abs=1)


def test_what_is_configured_wins() -> None:
    always, never = HandoffThreshold(0), HandoffThreshold(1_000_000)
    for made in (always, never):
        for _ in range(300):
            made.prefilled(100, 0.01)
            made.handed_over(0.05)
    assert always.wants(0)
    assert always.threshold == 0
    assert not never.wants(100_000)


def test_tiny_prompts_and_no_time_say_nothing() -> None:
    made = measured(rate=10_000.0, handoff_s=0.05)
    for _ in range(300):
        made.prefilled(63, 10.0)
        made.prefilled(100, 0.0)
        made.prefilled(100, float("inf"))
        made.handed_over(float("nan"))
        made.handed_over(-1.0)
    assert made.threshold == pytest.approx(500, abs=1)


@pytest.mark.parametrize(
    "wrong",
    [{"fixed": -1}, {"least": 0}, {"least": 9_000}],
)
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HandoffThreshold(**wrong)


events = st.lists(st.tuples(st.booleans(), st.integers(0, 10_000), SECONDS), max_size=200)


@settings(deadline=None)
@given(events, st.integers(1, 200), st.integers(256, 9_000))
def test_bounded(happened: list[tuple[bool, int, float]], least: int, most: int) -> None:
    made = HandoffThreshold(least=least, most=most)
    for over, tokens, seconds in happened:
        if over:
            made.handed_over(seconds)
        else:
            made.prefilled(tokens, seconds)
        assert least <= made.threshold <= most
        assert made.wants(most)
        assert not made.wants(least - 1)


@settings(deadline=None)
@given(events, st.floats(1, 1e3))
def test_monotone(happened: list[tuple[bool, int, float]], factor: float) -> None:
    """Slower decode engines hand over more, and slower hand-offs less."""
    plain, slow_engine, slow_handoff = (HandoffThreshold() for _ in range(3))
    for over, tokens, seconds in happened:
        for made in (plain, slow_engine, slow_handoff):
            slower = seconds * factor if (made is slow_handoff) == over else seconds
            if made is plain:
                slower = seconds
            if over:
                made.handed_over(slower)
            else:
                made.prefilled(tokens, slower)
    assert slow_engine.threshold <= plain.threshold <= slow_handoff.threshold


@pytest.mark.parametrize("delayed", [0.0, 0.6])
@pytest.mark.parametrize(("rate", "handoff_s"), [(10_000, 0.05), (2_000, 0.05), (40_000, 0.04)])
def test_converges_through_the_noise_of_queues(
    rate: float, handoff_s: float, delayed: float
) -> None:
    pool = Pool(rate, handoff_s, delayed)
    pool.serve(500)
    assert pool.threshold.threshold == pytest.approx(rate * handoff_s, rel=0.2)


@pytest.mark.parametrize(("rate", "handoff_s"), [(2_000, 0.05), (50_000, 0.05), (10_000, 0.2)])
def test_follows_a_change(rate: float, handoff_s: float) -> None:
    pool = Pool(10_000, 0.05)
    pool.serve(500)
    pool.rate, pool.handoff_s = rate, handoff_s
    pool.serve(1_000)
    assert pool.threshold.threshold == pytest.approx(rate * handoff_s, rel=0.2)


def test_what_is_not_measured_is_tried_now_and_then() -> None:
    pool = Pool(10_000, 0.05, delayed=0.0)
    pool.serve(500)
    pool.serve(100, 200, 450)
    # All are computed in place, and the hand-off has become faster: nothing would tell.
    pool.handoff_s = 0.01
    assert pool.serve(1_000, 200, 450) > 0
    pool.serve(1_000, 200, 450)
    assert pool.threshold.threshold == pytest.approx(100, rel=0.2)
    # And the other way round: all are handed over, and the engine has become faster.
    pool.rate = 40_000.0
    pool.serve(4_000, 150, 450)
    assert pool.threshold.threshold == pytest.approx(400, rel=0.2)


def test_finding_out_has_its_limit() -> None:
    made = measured(rate=10_000.0, handoff_s=0.05)
    for _ in range(63):
        made.handed_over(0.05)
    assert made.threshold == pytest.approx(500, abs=1)
    for _ in range(10_000):
        made.handed_over(0.05)
    assert made.threshold == pytest.approx(2_000, abs=2)
    made.prefilled(1_500, 0.15)
    assert made.threshold == pytest.approx(500, abs=1)
    for _ in range(10_000):
        made.prefilled(100, 0.01)
    assert made.threshold == pytest.approx(125, abs=1)
    made.handed_over(0.05)
    assert made.threshold == pytest.approx(500, abs=1)
