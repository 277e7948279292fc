import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimulationError
from autoscaling.simulator.demand.surge import Surge
from autoscaling.simulator.demand.windows import Stored, gap_windows, gathered
from autoscaling.simulator.terms import Requests


def steady(per_s: int = 2, windows: int = 3) -> Stored:
    count = int(600 * windows * per_s)
    return Stored(
        Requests(
            np.arange(count) / per_s,
            np.arange(1, count + 1, dtype=np.int32),
            np.arange(2, count + 2, dtype=np.int32),
        ),
        windows=windows,
        gap_windows=[2],
    )


def test_a_crowd_multiplies_what_comes_while_it_lasts() -> None:
    arrival = gathered(Surge(steady(), 500, 900, 3.0)).arrival_s
    counts = np.histogram(arrival, [0, 500, 900, 1800])[0]
    assert counts.tolist() == [1000, 3 * 800, 1800]


def test_a_fraction_comes_by_chance() -> None:
    added = len(gathered(Surge(steady(), 0, 1800, 1.25))) - 3600
    assert added == pytest.approx(900, rel=0.1)


def test_the_crowd_asks_what_the_others_ask() -> None:
    there = gathered(Surge(steady(), 0, 600, 2.0))
    assert np.array_equal(there.output, there.prompt + 1)
    early = there.prompt[there.arrival_s < 590]
    assert np.bincount(early)[50:1000].tolist() == [2] * 950
    at: dict[int, list[float]] = {}
    for arrival, prompt in zip(there.arrival_s, there.prompt, strict=True):
        at.setdefault(int(prompt), []).append(arrival)
    assert max(times[-1] - times[0] for times in at.values()) <= 5


@given(st.floats(0, 1700), st.floats(1, 1800), st.floats(1, 8), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_what_came_anyway_still_comes_and_the_crowd_stays_in_its_span(
    begin: float, length: float, factor: float, seed: int
) -> None:
    plain = steady()
    end = min(1800.0, begin + length)
    surge = Surge(plain, begin, end, factor, seed)
    for index in range(3):
        there, before = surge.window(index), plain.window(index)
        assert (np.diff(there.arrival_s) >= 0).all()
        assert np.isin(before.arrival_s, there.arrival_s).all()
        more = there.arrival_s[~np.isin(there.arrival_s, before.arrival_s)]
        assert ((more >= max(begin, 600 * index)) & (more < min(end, 600 * (index + 1)))).all()


def test_a_crowd_is_repeated_to_the_digit() -> None:
    one, other = (gathered(Surge(steady(), 100, 900, 2.5, seed=7)) for _ in range(2))
    assert np.array_equal(one.arrival_s, other.arrival_s)
    assert np.array_equal(one.prompt, other.prompt)


def test_gaps_stay_known() -> None:
    assert gap_windows(Surge(steady(), 0, 10, 2)) == {2}
    assert (Surge(steady(), 0, 10, 2).windows, Surge(steady(), 0, 10, 2).window_s) == (3, 600)


@pytest.mark.parametrize(
    ("begin", "end", "factor"),
    [(-1, 5, 2), (5, 5, 2), (0, 1801, 2), (0, 5, 0.5), (0, 5, 101), (0, 5, float("nan"))],
)
def test_a_crowd_that_cannot_be_is_refused(begin: float, end: float, factor: float) -> None:
    with pytest.raises(SimulationError, match="surge"):
        Surge(steady(), begin, end, factor)
