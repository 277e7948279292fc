from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimulationError
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.demand.windows import Stored, gap_windows, gathered, past, work
from autoscaling.simulator.terms import Requests

ONE = Capacity(prefill_tps=100.0, decode_tps=10.0, measured=True)


def requests(arrivals: Sequence[float], prompt: int = 10, output: int = 2) -> Requests:
    count = len(arrivals)
    return Requests(
        np.array(arrivals, float),
        np.full(count, prompt, np.int32) + np.arange(count, dtype=np.int32),
        np.full(count, output, np.int32),
    )


@given(st.lists(st.floats(0, 5000), max_size=60), st.floats(1, 2000))
@settings(max_examples=60, deadline=None)
def test_windows_hold_every_request_once(arrivals: list[float], window_s: float) -> None:
    stored = Stored(requests(sorted(arrivals)), window_s)
    again = gathered(stored)
    assert again.arrival_s.tolist() == sorted(arrivals)
    assert again.prompt.tolist() == list(range(10, 10 + len(arrivals)))


def test_a_request_on_an_edge_is_in_the_later_window() -> None:
    stored = Stored(requests([0.0, 599.9, 600.0]))
    assert [len(stored.window(index)) for index in range(stored.windows)] == [2, 1]


def test_files_are_read_window_by_window(tmp_path: Path) -> None:
    known = requests([1.0, 700.0, 701.0])
    for name in ("arrival_s", "prompt", "output"):
        np.save(tmp_path / f"{name}.npy", getattr(known, name))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r")
              for name in ("arrival_s", "prompt", "output")]  # fmt: skip
    stored = Stored(Requests(*mapped), windows=5)
    assert stored.window(1).arrival_s.tolist() == [700.0, 701.0]
    assert np.shares_memory(stored.window(1).arrival_s, mapped[0])
    assert len(stored.window(4)) == 0


def test_there_is_no_window_before_the_first_or_after_the_last() -> None:
    stored = Stored(requests([1.0]))
    for index in (-1, 1):
        with pytest.raises(IndexError):
            stored.window(index)


@pytest.mark.parametrize(
    ("arrivals", "window_s", "windows", "problem"),
    [
        ([-1.0], 600.0, None, "from -1 s"),
        ([1.0, 1300.0], 600.0, 2, "to 1300 s, but the windows reach from 0 s to 1200 s"),
        ([5.0, 1.0], 600.0, None, "from 5 s to 1 s"),
        ([float("nan")], 600.0, None, "windows"),
        ([1.0], 0.0, None, "a window of 0"),
        ([1e12], 600.0, None, "are possible"),
        ([1.0], 600.0, 0, "are possible"),
    ],
)
def test_arrays_that_make_no_workload_are_refused(
    arrivals: list[float], window_s: float, windows: int | None, problem: str
) -> None:
    with pytest.raises(SimulationError, match=problem):
        Stored(requests(arrivals), window_s, windows)


def test_columns_of_different_length_are_refused() -> None:
    known = requests([1.0, 2.0])
    with pytest.raises(SimulationError, match="equally many"):
        Stored(Requests(known.arrival_s, known.prompt[:1], known.output))


@pytest.mark.parametrize("middle", [9.0, float("nan")])
def test_a_window_that_is_not_in_order_is_refused(middle: float) -> None:
    stored = Stored(requests([1.0, middle, 4.0, 5.0]))
    with pytest.raises(SimulationError, match="ascending"):
        stored.window(0)


def test_a_request_without_tokens_is_refused() -> None:
    with pytest.raises(SimulationError, match="less than 1 token"):
        Stored(requests([1.0], output=0)).window(0)


def test_bins_add_up_the_requests_of_their_time() -> None:
    stored = Stored(requests([0.0, 9.9, 10.0, 610.0, 619.0, 1199.0], prompt=10, output=2))
    found = past(stored, 0, 1200, 10)
    assert (found.start_s, found.step_s, len(found.requests)) == (0, 10, 120)
    assert {int(i): int(found.requests[i]) for i in np.flatnonzero(found.requests)} == {
        0: 2, 1: 1, 61: 2, 119: 1
    }  # fmt: skip
    assert found.prompt[[0, 1, 61, 119]].tolist() == [10 + 11, 12, 13 + 14, 15]
    assert found.output.sum() == 12


def test_a_past_may_begin_and_end_within_windows() -> None:
    stored = Stored(requests([5.0, 590.0, 600.0, 640.0]))
    found = past(stored, 580, 640, 30)
    assert found.requests.tolist() == [2, 0]


@given(st.lists(st.floats(0, 1799), max_size=40), st.sampled_from([10.0, 60.0, 600.0, 1800.0]))
@settings(max_examples=40, deadline=None)
def test_bins_lose_no_request(arrivals: list[float], step_s: float) -> None:
    stored = Stored(requests(sorted(arrivals)), windows=3)
    found = past(stored, 0, 1800, step_s)
    assert found.requests.sum() == len(arrivals)
    assert found.prompt.sum() == sum(range(10, 10 + len(arrivals)))


def test_a_gap_is_no_zero() -> None:
    stored = Stored(requests([5.0, 1300.0]), windows=3, gap_windows=[1])
    found = past(stored, 0, 1800, 300)
    assert np.isnan(found.requests).tolist() == [False, False, True, True, False, False]
    assert np.isnan(found.output).tolist() == np.isnan(found.requests).tolist()
    assert gap_windows(stored) == {1}
    wide = past(stored, 0, 1800, 900)
    assert np.isnan(wide.prompt).all()
    assert past(stored, 1200, 1800, 300).requests.tolist() == [1, 0]


def test_work_is_counted_in_replicas() -> None:
    # 1,000 prompt tokens are 10 s of a replica, 50 output tokens are 5 s.
    stored = Stored(requests([15.0], prompt=1000, output=50))
    assert work(stored, 0, 30, 10, ONE).tolist() == [0, 1.5, 0]


def test_what_cannot_be_summed_up_is_refused() -> None:
    stored = Stored(requests([15.0]))
    for begin, end, step in [(-10, 600, 10), (0, 610, 10), (0, 600, 0), (0, 605, 10), (5, 5, 1)]:
        with pytest.raises(SimulationError, match="demand from"):
            past(stored, begin, end, step)
    with pytest.raises(SimulationError, match="take longer bins"):
        past(stored, 0, 600, 1e-6)
    with pytest.raises(SimulationError, match="above 0"):
        work(stored, 0, 600, 10, Capacity(prefill_tps=0.0, decode_tps=1.0, measured=True))


def test_nothing_gathered_is_empty() -> None:
    assert len(gathered(Stored(requests([15.0])), 1)) == 0
