"""The number of active replicas follows the work: up soon, down late, within its bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.pool_terms import PoolSettings
from autoscaling.scaling import ASK_S, Following

SETTINGS = PoolSettings(1, 6, 0, 1000, up_delay_s=5, down_delay_s=60)


def test_more_is_wanted_when_it_was_for_long_enough() -> None:
    following = Following(SETTINGS)
    assert following.update(1900, 0.0) == 1
    assert following.update(1900, 4.9) == 1
    assert following.update(1900, 5.0) == 4


def test_a_moment_of_less_begins_the_delay_again() -> None:
    following = Following(SETTINGS)
    following.update(1900, 0.0)
    following.update(0, 3.0)
    assert following.update(1900, 5.0) == 1
    assert following.update(1900, 10.0) == 4


def test_fewer_are_wanted_one_by_one() -> None:
    following = Following(SETTINGS)
    following.adopt(4)
    wanted = [following.update(0, float(now)) for now in range(250)]
    steps = [place for place in range(1, 250) if wanted[place] < wanted[place - 1]]
    assert [wanted[place] for place in steps] == [3, 2, 1]
    assert steps[0] == 60
    assert all(b - a >= 60 for a, b in pairwise(steps))


def test_stranded_requests_do_not_wait_for_the_delay() -> None:
    following = Following(PoolSettings(0, 6, 0, 1000))
    assert following.update(10, 0.0, stranded=True) == 1
    assert Following(PoolSettings(0, 6, 0, 1000)).update(0, 0.0, stranded=True) == 1
    assert Following(PoolSettings(0, 6, 0, 1000)).update(1900, 0.0, stranded=True) == 4


@given(
    st.integers(0, 4),
    st.integers(0, 4),
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 100), st.booleans()), max_size=40),
)
def test_always_within_bounds(
    least: int, more: int, events: list[tuple[float, float, bool]]
) -> None:
    most = max(1, least + more)
    following, now = Following(PoolSettings(least, most, 0, 1000)), 0.0
    for work, passed, stranded in events:
        now += passed
        before = following.wanted
        wanted = following.update(work, now, stranded=stranded)
        assert least <= wanted <= most
        assert wanted >= before - 1
        assert wanted >= 1 or not stranded


def test_an_ask_counts_at_once_upwards_and_downwards() -> None:
    following = Following(SETTINGS)
    following.ask(5, 0.0)
    assert following.update(0, 0.0) == 5
    following.ask(2, 1.0)
    assert following.update(0, 1.0) == 2


def test_the_work_keeps_what_it_needs_beyond_the_ask() -> None:
    following = Following(SETTINGS)
    following.ask(5, 0.0)
    following.update(1900, 0.0)
    following.ask(1, 1.0)
    assert following.update(1900, 1.0) == 4
    following.ask(1, 2.0, covered=True)
    assert following.update(1900, 2.0) == 1


def test_the_work_comes_beyond_the_ask_after_its_delay() -> None:
    following = Following(SETTINGS)
    wanted = []
    for now in range(8):
        following.ask(2, float(now))
        wanted.append(following.update(1900, float(now)))
    assert wanted == [2, 2, 2, 2, 2, 4, 4, 4]


def test_nothing_drops_when_nobody_asks_any_more() -> None:
    following = Following(SETTINGS)
    for now in range(100):
        following.ask(5, float(now))
        following.update(0, float(now))
    wanted = [following.update(0, float(now)) for now in range(100, 330)]
    assert wanted[: int(ASK_S) + 59] == [5] * (int(ASK_S) + 59)
    assert wanted[-1] == 2
    assert following.asked(330.0) is None


def test_what_is_held_is_wanted_until_it_is_not() -> None:
    following = Following(SETTINGS)
    following.hold(3)
    assert following.update(0, 0.0) == 3
    following.hold(99)
    assert following.update(0, 1.0) == 6
    following.hold(0)
    assert following.update(0, 2.0) == 6
    following.ask(1, 3.0)
    assert following.update(0, 3.0) == 1


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e5), st.floats(0, 50), st.none() | st.integers(-5, 50), st.booleans()
        ),
        max_size=40,
    )
)
def test_asks_keep_within_bounds(
    events: list[tuple[float, float, int | None, bool]],
) -> None:
    following, now = Following(SETTINGS), 0.0
    for work, passed, ask, covered in events:
        now += passed
        if ask is not None:
            following.ask(ask, now, covered=covered)
        wanted = following.update(work, now)
        assert SETTINGS.least <= wanted <= SETTINGS.most
        if ask is not None:
            assert wanted >= min(ask, SETTINGS.most)
            if covered:
                assert wanted == max(SETTINGS.least, min(ask, SETTINGS.most))
