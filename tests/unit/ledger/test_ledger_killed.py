from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.admission.kill import kill
from benchmarks.admission.over import most_past, over


async def test_a_ledger_that_is_killed_loses_and_doubles_nothing(
    store_url: str, tmp_path: Path
) -> None:
    result = await kill(tmp_path / "kill", kills=10, pause_s=0.2, url=store_url)
    assert result.settled > 50
    assert (result.lost, result.twice, result.missing_micros) == (0, 0, 0)


async def test_four_gateways_stay_within_the_limit(store_url: str, tmp_path: Path) -> None:
    result = await over(tmp_path / "over", seconds=5.0, factor=40.0, url=store_url)
    assert result.refused_requests > 100
    assert result.past <= 0
    assert result.share > 0.75


def test_the_worst_window_is_found() -> None:
    assert most_past([(0.0, 100), (1.0, 50)], capacity=100, rate=10) == 40
    assert most_past([(0.0, 50), (100.0, 100)], capacity=100, rate=1) <= 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 50)), max_size=8), st.integers(0, 40))
def test_it_is_the_worst_of_all_windows(uses: list[tuple[int, int]], capacity: int) -> None:
    times = sorted({at for at, _ in uses})
    expected = max(
        (
            sum(tokens for at, tokens in uses if begin <= at <= end) - 3 * (end - begin) - capacity
            for begin in times
            for end in times
            if begin <= end
        ),
        default=-capacity,
    )
    found = most_past([(float(at), tokens) for at, tokens in uses], capacity, 3)
    assert found == max(expected, -capacity)
