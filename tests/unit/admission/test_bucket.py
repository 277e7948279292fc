"""The bucket: no window of use past its limit, whoever holds leases of it, whatever fails."""

from hypothesis import given
from hypothesis import strategies as st

from app.admission.bucket import Bucket

LEASE_S = 8.0
LIMIT = 60  # one token a second
BURST = 1.5
CAPACITY = 90


def bucket(now: float = 0.0) -> Bucket:
    return Bucket(LIMIT, 60.0, BURST, LEASE_S, now)


def test_fills_to_its_capacity() -> None:
    one = bucket()
    one.take(90, 8.0)
    assert one.level == 0
    one.advance(9.0)
    assert one.level == 0  # all of it may still be used
    one.advance(39.0)
    assert one.level == 30
    one.advance(1_000.0)
    assert one.level == CAPACITY
    assert one.full


def test_fills_only_as_far_as_nothing_is_held() -> None:
    one = bucket()
    one.take(50, 8.0)
    one.advance(8.0)
    assert one.level == 40  # 50 are held: with them it is full
    one.advance(19.0)
    assert one.level == 50  # they were held until 9


def test_what_comes_back_early_does_not_end_the_hold() -> None:
    one = bucket()
    one.take(50, 8.0)
    one.give(50)
    assert one.level == 40
    one.take(40, 8.0)
    one.give(30)
    assert one.level == 0
    one.advance(9.0)
    one.give(30)
    assert one.level == 30


def test_a_debt_is_paid_by_the_rate() -> None:
    one = bucket()
    one.take(90, 8.0)
    one.give(-30)
    assert one.level == -30
    assert one.wait(1, 0.0) == 31.0
    one.advance(31.0)
    assert one.level == 1


def test_more_than_the_capacity_never_comes() -> None:
    assert bucket().wait(91, 0.0) is None
    assert bucket().wait(90, 0.0) == 0.0
    empty = Bucket(0, 60.0, BURST, LEASE_S, 0.0)
    assert empty.wait(1, 0.0) is None
    assert empty.reset_s() == 0.0


def test_a_stored_bucket_holds_what_is_missing() -> None:
    one = bucket(100.0)
    one.restore(40.0, 99.0, 100.0)
    assert one.level == 40
    one.advance(107.0)
    assert one.level == 40  # the lease that is missing may be used until then
    one.advance(117.0)
    assert one.level == 50


def test_a_stored_time_that_is_to_come_gives_no_credit() -> None:
    one = bucket(100.0)
    one.restore(0.0, 5_000.0, 100.0)
    one.advance(108.0)
    assert one.level == 0
    one.advance(118.0)
    assert one.level == 10


def test_a_clock_that_goes_back_gives_no_credit() -> None:
    one = bucket(100.0)
    one.take(90, 108.0)
    one.advance(160.0)
    level = one.level
    one.advance(10.0)
    one.advance(160.0)
    assert one.level == level


def test_a_smaller_limit_cuts_what_is_there() -> None:
    one = bucket()
    one.take(10, 8.0)
    one.resize(30, 60.0, BURST)
    assert one.level == 35  # 45, and 10 are held
    one.resize(60, 60.0, BURST)
    assert one.level == 35


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "use", "back", "surplus", "restart", "later", "debt"]),
        st.one_of(st.integers(0, 20), st.integers(0, 90)),
        st.sampled_from([0.0, 0.5, 3.0, 7.9, 8.0, 30.0, 100.0]),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_window_is_past_the_limit(steps: list[tuple[str, int, float]]) -> None:
    """Whoever holds leases may use them at the worst of moments, until they end."""
    one, now = bucket(), 0.0
    stored = (one.level, one.at)
    leases: list[list[float]] = []  # [until, tokens]
    used = lowest = returned = 0.0
    for what, number, seconds in steps:
        now += seconds
        one.advance(now)
        leases = [each for each in leases if each[0] > now]
        if what == "take" and number <= one.level:
            one.take(number, now + LEASE_S)
            leases.append([now + LEASE_S, number])
        elif what == "use" and leases:
            lowest = min(lowest, used - returned - now)
            used += leases.pop(number % len(leases))[1]
        elif what == "back" and leases:
            one.give(int(leases.pop(0)[1]))
        elif what == "surplus":
            before = one.level
            one.give(number)
            returned += one.level - before
        elif what == "debt":
            one.give(-number)
        elif what == "restart":
            one = bucket(now)
            one.restore(*stored, now)
        stored = (one.level, one.at)
        assert one.level + sum(tokens for _, tokens in leases) <= CAPACITY + 1e-6
        # All that can be used at once now, and what was used in any window up to now.
        might = used + sum(tokens for _, tokens in leases) + max(one.level, 0.0)
        assert might - returned - now - lowest <= CAPACITY + 1e-6


@given(STEPS, st.integers(1, 90))
def test_waiting_is_never_too_short_or_in_vain(
    steps: list[tuple[str, int, float]], tokens: int
) -> None:
    one, now = bucket(), 0.0
    for what, number, seconds in steps:
        now += seconds
        one.advance(now)
        if what == "take" and number <= one.level:
            one.take(number, now + LEASE_S)
        elif what in {"surplus", "debt"}:
            one.give(number if what == "surplus" else -number)
    wait = one.wait(tokens, now)
    assert wait is not None
    if wait > 0.1:
        one.advance(now + wait - 0.05)
        assert one.level < tokens
    one.advance(now + wait + 1e-6)
    assert one.level >= tokens - 1e-3


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0, 0.2)), max_size=300))
def test_what_is_held_takes_bounded_memory(steps: list[tuple[int, float]]) -> None:
    one, now = Bucket(6_000, 60.0, BURST, LEASE_S, 0.0), 0.0
    for tokens, seconds in steps:
        now += seconds
        one.advance(now)
        one.take(tokens, now + LEASE_S)
        assert len(one._holds) <= 10
    one.advance(now + 2 * LEASE_S)
    assert one.held == 0
