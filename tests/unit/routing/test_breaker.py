"""The breaker: what opens it, what closes it, and that nothing leaves it stuck."""

from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.routing.breaker import Breaker, BreakerSettings, BreakerState


def sent(breaker: Breaker, now: float) -> int:
    assert breaker.allow(now)
    return breaker.admit(now)


def opened(settings: BreakerSettings, now: float = 0.0) -> Breaker:
    """A breaker that has opened at `now`."""
    breaker = Breaker(settings)
    for _ in range(settings.failures):
        breaker.failed(sent(breaker, now), now)
    assert breaker.state(now) is BreakerState.OPEN
    return breaker


def test_opens_on_consecutive_failures() -> None:
    breaker = Breaker(BreakerSettings(failures=3))
    for _ in range(2):
        breaker.failed(sent(breaker, 0.0), 0.0)
    breaker.succeeded(sent(breaker, 0.0), 0.0)
    for _ in range(2):
        breaker.failed(sent(breaker, 0.0), 0.0)
    assert breaker.allow(0.0)
    breaker.failed(sent(breaker, 0.0), 0.0)
    assert not breaker.allow(0.0)
    assert breaker.state(0.0) is BreakerState.OPEN
    assert breaker.retry_after(0.0) == 2.0


def test_opens_on_the_share_of_failures_in_the_window() -> None:
    settings = BreakerSettings(failures=100, failure_ratio=0.5, least_outcomes=10, window_s=8.0)
    breaker = Breaker(settings)
    for second in range(4):
        breaker.succeeded(sent(breaker, second), second)
        breaker.failed(sent(breaker, second), second)
    assert breaker.allow(4.0)  # half of them failed, but eight outcomes are too few to judge by
    breaker.succeeded(sent(breaker, 4.0), 4.0)
    breaker.failed(sent(breaker, 4.0), 4.0)
    assert not breaker.allow(4.0)


def test_what_has_left_the_window_does_not_count() -> None:
    settings = BreakerSettings(failures=100, failure_ratio=0.5, least_outcomes=10, window_s=8.0)
    breaker = Breaker(settings)
    for _ in range(9):
        breaker.failed(sent(breaker, 0.0), 0.0)
    breaker.failed(sent(breaker, 8.5), 8.5)
    assert breaker.allow(8.5)


def test_one_success_of_one_probe_closes_it() -> None:
    breaker = opened(BreakerSettings(open_s=2.0))
    assert not breaker.allow(1.9)
    assert breaker.state(2.0) is BreakerState.HALF_OPEN
    probe = sent(breaker, 2.0)
    assert not breaker.allow(2.0)  # one probe at a time
    assert breaker.retry_after(2.0) > 0
    breaker.succeeded(probe, 3.0)
    assert breaker.state(3.0) is BreakerState.CLOSED
    assert breaker.allow(3.0)


def test_every_probe_must_succeed() -> None:
    breaker = opened(BreakerSettings(half_open_probes=3))
    probes = [sent(breaker, 2.0) for _ in range(3)]
    assert not breaker.allow(2.0)
    breaker.succeeded(probes[0], 2.5)
    breaker.succeeded(probes[1], 2.5)
    assert breaker.state(2.5) is BreakerState.HALF_OPEN
    assert not breaker.allow(2.5)  # the third is still out
    breaker.succeeded(probes[2], 2.6)
    assert breaker.state(2.6) is BreakerState.CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_limit() -> None:
    breaker = opened(BreakerSettings(open_s=2.0, most_open_s=7.0))
    now = 2.0
    for period in (4.0, 7.0, 7.0):
        breaker.failed(sent(breaker, now), now)
        assert breaker.retry_after(now) == period
        now += period
    # Once it has closed, the next opening is a first one again.
    breaker.succeeded(sent(breaker, now), now)
    for _ in range(5):
        breaker.failed(sent(breaker, now), now)
    assert breaker.retry_after(now) == 2.0


def test_an_abandoned_probe_gives_its_place_to_another() -> None:
    breaker = opened(BreakerSettings())
    breaker.abandoned(sent(breaker, 2.0))
    breaker.succeeded(sent(breaker, 2.0), 2.1)
    assert breaker.state(2.1) is BreakerState.CLOSED


def test_a_probe_nobody_hears_of_gives_its_place_away_in_time() -> None:
    breaker = opened(BreakerSettings(probe_timeout_s=10.0))
    sent(breaker, 2.0)
    assert not breaker.allow(11.9)
    assert breaker.retry_after(11.9) == pytest.approx(0.1)
    assert breaker.allow(12.0)


def test_outcomes_from_before_it_opened_are_old_news() -> None:
    breaker = Breaker(BreakerSettings(failures=3))
    early = [sent(breaker, 0.0) for _ in range(8)]
    for ticket in early[:3]:
        breaker.failed(ticket, 1.0)
    probe = sent(breaker, 3.0)
    for ticket in early[3:6]:
        breaker.failed(ticket, 3.0)
    breaker.succeeded(early[6], 3.0)
    assert breaker.state(3.0) is BreakerState.HALF_OPEN
    breaker.succeeded(probe, 3.1)
    breaker.failed(early[7], 3.2)
    assert breaker.state(3.2) is BreakerState.CLOSED


def test_a_request_sent_without_leave_proves_nothing() -> None:
    breaker = opened(BreakerSettings())
    ticket = breaker.admit(1.0)
    breaker.succeeded(ticket, 1.0)
    breaker.failed(ticket, 2.0)
    assert breaker.state(1.0) is BreakerState.OPEN
    assert breaker.allow(2.0)


def test_trying_again_ends_the_open_period_only() -> None:
    breaker = opened(BreakerSettings())
    breaker.try_again(0.5)
    assert breaker.state(0.5) is BreakerState.HALF_OPEN
    probe = sent(breaker, 0.5)
    breaker.try_again(0.6)
    assert not breaker.allow(0.6)
    breaker.failed(probe, 0.7)
    assert breaker.retry_after(0.7) == 4.0
    closed = Breaker(BreakerSettings())
    closed.try_again(0.0)
    assert closed.state(0.0) is BreakerState.CLOSED


@pytest.mark.parametrize(
    "settings",
    [
        {"failures": 0},
        {"least_outcomes": 0},
        {"half_open_probes": 0},
        {"window_s": 0.0},
        {"open_s": float("inf")},
        {"probe_timeout_s": float("nan")},
        {"failure_ratio": 0.0},
        {"failure_ratio": 1.1},
        {"open_s": 5.0, "most_open_s": 4.0},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=list(settings)[-1]):
        BreakerSettings(**settings)


class BreakerMachine(RuleBasedStateMachine):
    """Any order of requests and outcomes, under a clock that moves as it likes."""

    @initialize(
        failures=st.integers(1, 4),
        probes=st.integers(1, 3),
        ratio=st.floats(0.1, 1.0),
        outcomes=st.integers(1, 8),
    )
    def start(self, failures: int, probes: int, ratio: float, outcomes: int) -> None:
        self.settings = BreakerSettings(
            failures=failures,
            half_open_probes=probes,
            failure_ratio=ratio,
            least_outcomes=outcomes,
            window_s=10.0,
            open_s=2.0,
            most_open_s=16.0,
            probe_timeout_s=5.0,
        )
        self.breaker = Breaker(self.settings)
        self.now = 0.0
        self.out: list[int] = []
        self.let_through: list[float] = []  # when, since it last opened

    @rule(seconds=st.one_of(st.floats(0, 20), st.floats(0, 1e7)))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.floats(0, 1))
    def clock_steps_back(self, seconds: float) -> None:
        self.now = max(0.0, self.now - seconds)

    @rule()
    def request(self) -> None:
        if self.breaker.allow(self.now):
            self.out.append(self.breaker.admit(self.now))

    @rule()
    def request_without_leave(self) -> None:
        self.out.append(self.breaker.admit(self.now))

    @precondition(lambda self: self.out)
    @rule(
        data=st.data(), outcome=st.sampled_from(["succeeded", "failed", "abandoned", "forgotten"])
    )
    def ends(self, data: st.DataObject, outcome: str) -> None:
        ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before = self.breaker.state(self.now)
        if outcome == "succeeded":
            self.breaker.succeeded(ticket, self.now)
            assert before is not BreakerState.CLOSED or self.breaker.allow(self.now)
        elif outcome == "failed":
            self.breaker.failed(ticket, self.now)
            assert before is BreakerState.CLOSED or not self.closed()
        elif outcome == "abandoned":
            self.breaker.abandoned(ticket)
            assert self.breaker.state(self.now) is before

    def closed(self) -> bool:
        return self.breaker.state(self.now) is BreakerState.CLOSED

    @invariant()
    def says_one_thing(self) -> None:
        state, wait = self.breaker.state(self.now), self.breaker.retry_after(self.now)
        assert self.breaker.allow(self.now) == (wait == 0)
        if state is BreakerState.CLOSED:
            assert wait == 0
        if state is BreakerState.OPEN:
            assert wait > 0
        # A clock that steps back makes the wait longer by as much.
        assert 0 <= wait <= self.settings.most_open_s + 10.0

    @invariant()
    def never_stuck(self) -> None:
        settings = self.settings
        later = self.now + settings.most_open_s + settings.probe_timeout_s + 100.0
        assert self.breaker.state(later) is not BreakerState.OPEN

    @invariant()
    def probes_are_few(self) -> None:
        if self.breaker.state(self.now) is BreakerState.HALF_OPEN:
            assert len(self.breaker._probes) <= self.settings.half_open_probes

    def teardown(self) -> None:
        if not hasattr(self, "breaker"):
            return
        # Whatever has happened, a healthy pool is back after a wait and a few good requests.
        later = self.now + self.settings.most_open_s + self.settings.probe_timeout_s + 100.0
        for _ in range(self.settings.half_open_probes):
            self.breaker.succeeded(sent(self.breaker, later), later)
        assert self.breaker.state(later) is BreakerState.CLOSED


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = hypothesis_settings(deadline=None)
