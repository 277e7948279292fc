"""The number of active replicas follows the work: up soon, down late, within its bounds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.pool_terms import PoolSettings
from autoscaling.scaling import Following

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
