from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.changes import rows

SITE = Site("spot", "r", "r1")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), max_size=12),
    st.integers(1, 9),
)
def test_a_row_is_the_fewest_of_its_seconds(
    changes: list[tuple[int, int]], begins_with: int
) -> None:
    times, held = [0.0], [begins_with]
    for after, count in changes:
        times.append(times[-1] + after)
        held.append(count)
    end_s = times[-1] + 1

    level = begins_with
    seconds = []
    for second in range(int(end_s)):
        for at_s, count in zip(times, held, strict=True):
            level = count if at_s == second else level
        seconds.append(level)
    expected = [min(seconds[begin : begin + 5]) for begin in range(0, len(seconds), 5)]

    supply = rows("trace", times, held, end_s, SITE, 5.0)
    assert supply.replicas[:, 0].tolist() == expected


def test_changes_between_two_whole_seconds_are_seen() -> None:
    supply = rows("trace", [0.0, 1.25, 1.5], [4, 0, 4], 10.0, SITE, 5.0)
    assert supply.replicas[:, 0].tolist() == [0, 4]
