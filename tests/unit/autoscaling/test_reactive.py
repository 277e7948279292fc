"""Replicas follow the work, and leave one at a time."""

from hypothesis import given
from hypothesis import strategies as st

from autoscaling.reactive import desired_replicas


@given(st.integers(0, 10**12), st.integers(1, 100_000), st.integers(0, 1000))
def test_enough_for_the_work_and_down_by_one(
    outstanding: int, per_replica: int, current: int
) -> None:
    wanted = desired_replicas(outstanding, per_replica, current)
    assert wanted >= 0
    assert wanted >= current - 1
    assert wanted * per_replica * 0.5 >= outstanding * 0.999


def test_idle_replicas_go_one_by_one() -> None:
    assert desired_replicas(0, 1000, 4) == 3
    assert desired_replicas(0, 1000, 0) == 0


def test_work_for_three() -> None:
    assert desired_replicas(1_400, 1_000, 1) == 3
