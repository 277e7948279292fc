from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.demand.lengths import Lengths
from autoscaling.simulator.demand.renewal import GAMMA, WEIBULL
from autoscaling.simulator.demand.servegen import ClientRates, ServeGenWorkload, client_rates

TABLE = [
    "0,14.015,1.0152,Gamma,0.970265,0.0735044\n",
    "600,0,0,,0,0\n",
    "1200,2.965,31.72,Weibull,0.2712,0.1041\n",
    "1800,0.5,0,,0,0\n",
]
LENGTHS = Lengths(np.array([100, 200], np.int32), np.array([10, 20], np.int32))


def client(*windows: tuple[float, float, float], name: str = "a") -> ClientRates:
    """Windows of (requests, Gamma shape, mean gap times the rate)."""
    rows = []
    for place, (requests, shape, share) in enumerate(windows):
        rate = requests / 600
        scale = share / rate / shape if rate else 0.0
        law = "Gamma" if rate else ""
        rows.append(f"{600 * place},{rate},1,{law},{shape},{scale}")
    return client_rates(rows, name)


def workload(*clients: ClientRates, seed: int = 1, scale: float = 1.0) -> ServeGenWorkload:
    return ServeGenWorkload(clients, LENGTHS, seed, scale)


def test_a_table_is_read() -> None:
    found = client_rates(TABLE, "chunk-0")
    assert found.rate.tolist() == [14.015, 0.0, 2.965, 0.5]
    assert found.law.tolist() == [GAMMA, GAMMA, WEIBULL, GAMMA]
    assert found.shape.tolist() == [0.970265, 1.0, 0.2712, 1.0]
    assert found.active.tolist() == pytest.approx([0.99952, 1.0, 1.0, 1.0], rel=1e-3)


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ([], 0, "no window"),
        (["0,1,1,Gamma,1\n"], 1, "6 columns, and has 5"),
        ([TABLE[0], TABLE[2]], 2, "600 s is next: windows are missing"),
        ([TABLE[0], TABLE[0]], 2, "repeated or out of order"),
        ([*TABLE[:3], TABLE[1]], 4, "repeated or out of order"),
        ([TABLE[0], "600000,0,0,,0,0\n"], 2, "milliseconds"),
        (["-600,0,0,,0,0\n"], 1, "out of order"),
        (["0,-1,1,Gamma,1,1\n"], 1, "rate -1: must be 0"),
        (["0,nan,1,Gamma,1,1\n"], 1, "'nan' is no number"),
        (["0,1e9,1,Gamma,1,1\n"], 1, "rate 1e.09: must be 0"),
        (["0,1,-1,Gamma,1,1\n"], 1, "variation -1"),
        (["0,1,1,Pareto,1,1\n"], 1, "law 'Pareto': must be Gamma, Weibull or nothing"),
        (["0,1,1,Gamma,0,1\n"], 1, "shape 0"),
        (["0,1,1,Weibull,1,-3\n"], 1, "scale -3"),
        (["start,rate,cv,law,shape,scale\n"], 1, "'start' is no number"),
    ],
)
def test_a_line_that_is_wrong_is_named(lines: list[str], line: int, problem: str) -> None:
    with pytest.raises(TraceInvalid, match=problem) as caught:
        client_rates(lines, "chunk-0")
    assert caught.value.line == line
    assert str(caught.value).startswith("chunk-0")


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 40), st.floats(0.02, 50.0), st.floats(0.01, 1.5)),
                 min_size=3, max_size=3),
        min_size=1, max_size=5,
    ),
    st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_each_window_has_exactly_the_requests_that_were_recorded(
    tables: list[list[tuple[float, float, float]]], seed: int
) -> None:
    found = workload(*(client(*table) for table in tables), seed=seed)
    assert (found.windows, found.window_s) == (3, 600.0)
    for index in range(3):
        there = found.window(index)
        assert len(there) == sum(table[index][0] for table in tables)
        assert len(there.prompt) == len(there.output) == len(there)
        assert (np.diff(there.arrival_s) >= 0).all()
        assert ((there.arrival_s >= 600 * index) & (there.arrival_s < 600 * (index + 1))).all()


def test_a_window_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    table = client((50, 0.5, 1), (70, 2, 0.4), (9, 1, 1))
    one, other = workload(table, scale=0.37), workload(table, scale=0.37)
    later = [one.window(index) for index in (2, 0, 1)]
    first = [other.window(index) for index in (0, 1, 2)]
    for a, b in zip([later[1], later[2], later[0]], first, strict=True):
        assert np.array_equal(a.arrival_s, b.arrival_s)
        assert np.array_equal(a.prompt, b.prompt)
        assert np.array_equal(a.output, b.output)


def test_another_seed_is_another_demand() -> None:
    table = client((50, 0.5, 1))
    one, other = workload(table, seed=1).window(0), workload(table, seed=2).window(0)
    assert not np.array_equal(one.arrival_s, other.arrival_s)


def test_a_smaller_scale_keeps_the_curve_and_has_no_bias() -> None:
    curve = [300 + 200 * (place % 24) for place in range(240)]
    clients = [client(*((requests / 50, 0.8, 1.0) for requests in curve)) for _ in range(50)]
    small = workload(*clients, scale=0.05)
    counts = np.array([len(small.window(index)) for index in range(240)])
    assert counts.sum() == pytest.approx(0.05 * sum(curve), rel=0.02)
    assert np.corrcoef(counts, curve)[0, 1] > 0.99
    assert small.expected() * 600 == pytest.approx(0.05 * np.array(curve))


def test_lengths_are_drawn_in_pairs() -> None:
    there = workload(client((5000, 1, 1))).window(0)
    assert set(zip(there.prompt.tolist(), there.output.tolist(), strict=True)) == {
        (100, 10), (200, 20)
    }  # fmt: skip


def span(of: ServeGenWorkload, index: int) -> tuple[float, float]:
    arrival = of.window(index).arrival_s - 600 * index
    return float(arrival[0]), float(arrival[-1])


def test_a_client_that_comes_in_the_middle_of_a_window_is_there_at_its_end() -> None:
    coming = workload(client((0, 1, 1), (2000, 1, 0.25), (2000, 1, 1)))
    assert span(coming, 1) == pytest.approx((450, 600), abs=3)


def test_a_client_that_leaves_in_the_middle_of_a_window_was_there_at_its_begin() -> None:
    going = workload(client((2000, 1, 1), (2000, 1, 0.25), (0, 1, 1)))
    assert span(going, 1) == pytest.approx((0, 150), abs=3)


def test_a_burst_between_idle_windows_is_anywhere_in_its_own() -> None:
    begins = []
    for seed in range(20):
        begin, end = span(workload(client((0, 1, 1), (500, 1, 0.25), (0, 1, 1)), seed=seed), 1)
        assert end - begin == pytest.approx(150, abs=8)
        begins.append(begin)
    assert max(begins) - min(begins) > 200


def test_windows_without_any_client_are_gaps_and_few_requests_are_none() -> None:
    clients = [client((1, 1, 1), (0, 1, 1), (5, 1, 1)), client((0, 1, 1), (0, 1, 1), (5, 1, 1))]
    small = workload(*clients, scale=1e-9)
    assert [len(small.window(index)) for index in range(3)] == [0, 0, 0]
    assert small.gap_windows == {1}


def test_there_is_no_window_before_the_first_or_after_the_last() -> None:
    found = workload(client((1, 1, 1)))
    for index in (-1, 1):
        with pytest.raises(IndexError):
            found.window(index)


@pytest.mark.parametrize(
    ("clients", "scale", "problem"),
    [
        ([], 1.0, "0 clients"),
        ([client((1, 1, 1)), client((1, 1, 1), (1, 1, 1), name="b")], 1.0, "b has 2 windows"),
        ([client((1, 1, 1))], 0.0, "scale 0"),
        ([client((1, 1, 1))], float("nan"), "scale nan"),
        ([client((1000, 1, 1))], 1e6, "smaller scale"),
    ],
)
def test_what_makes_no_workload_is_refused(
    clients: Sequence[ClientRates], scale: float, problem: str
) -> None:
    with pytest.raises(SimulationError, match=problem):
        ServeGenWorkload(clients, LENGTHS, 1, scale)
