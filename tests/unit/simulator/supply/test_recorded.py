from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimulationError, TraceInvalid
from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.changes import joined
from autoscaling.simulator.supply.disruptions import always
from autoscaling.simulator.supply.named_span import named_span
from autoscaling.simulator.supply.recorded import bamboo, spotserve

SITE = Site("spot", "us-east-1", "us-east-1c")
DAY = "p2-2020-11-20-1200-to-2020-11-21-1200.csv"


def test_seconds_and_hours_of_one_trace_are_told_apart_by_the_name() -> None:
    seconds = bamboo(DAY, ["0,10", "41093,10", "41093,9", "68252,9", "68252,10"], SITE)
    hours = bamboo(DAY, ["0.000,10", "11.415,10", "11.415,9", "18.959,9", "18.959,10"], SITE)
    assert len(seconds.replicas) == len(hours.replicas) == 24 * 60
    assert seconds.at(41092).tolist() == [9]
    assert seconds.at(41039).tolist() == [10]
    assert np.array_equal(seconds.replicas, hours.replicas)


def test_times_that_fit_no_unit_of_the_name_are_refused() -> None:
    with pytest.raises(TraceInvalid, match=r"24 to 24 hours that its name tells"):
        bamboo(DAY, ["0,10", "100,10", "100,9"], SITE)
    with pytest.raises(TraceInvalid, match="in milliseconds of the"):
        bamboo(DAY, ["0,10", "41093,10", "41093,9"], SITE, unit="milliseconds")


def test_a_name_without_times_needs_a_unit() -> None:
    lines = ["0,10", "2,10", "2,9"]
    with pytest.raises(TraceInvalid, match="give `unit`"):
        bamboo("trace.csv", lines, SITE)
    supply = bamboo("trace.csv", lines, SITE, unit="hours")
    assert len(supply.replicas) == 120
    with pytest.raises(SimulationError, match="no unit 'days'"):
        bamboo("trace.csv", lines, SITE, unit="days")


def test_one_row_is_what_was_held_all_the_time() -> None:
    supply = bamboo("x-2020-11-20-1730-to-2020-11-21-1104.csv", ["0,8"], SITE)
    assert supply.replicas.shape == (1054, 1)
    assert supply.replicas.min() == supply.replicas.max() == 8


def test_a_row_is_the_fewest_that_were_held_in_its_time() -> None:
    lines = ["0,9", "90,9", "90,2", "100,2", "100,7", "100,7", "100,8", "300,8", "300,9"]
    supply = bamboo("trace.csv", lines, SITE, unit="seconds")
    # From 90 to 100 s there were 2; the 7 at 100 s lasted no time.
    assert supply.replicas[:, 0].tolist() == [9, 2, 8, 8, 8]
    assert bamboo("trace.csv", lines, SITE, unit="seconds", step_s=10).at(100).tolist() == [8]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "it is empty"),
        (["", " "], "it is empty"),
        (["0,5", "9,5", "8,5"], "line 3: goes back from 9 to 8"),
        (["0,5", "9,4"], "line 2: begins at 4 instances .* rows are missing"),
        (["5,5", "9,5"], "line 1: begins at 5"),
        (["0,5", "-1,5"], "line 2: .* from 0 on"),
        (["0,5", "nan,5"], "line 2"),
        (["0,-5"], "whole number"),
        (["0,5.5"], "whole number"),
        (["0,inf"], "whole number"),
        (["0,100001"], "whole number"),
        (["time,instances"], "line 1: .* is not `time,instances`"),
        (["0"], "line 1"),
        (["0,1,2"], "line 1"),
    ],
)
def test_what_is_no_trace_of_instances_is_refused_with_its_line(
    lines: list[str], words: str
) -> None:
    with pytest.raises(TraceInvalid, match=words):
        bamboo("trace.csv", lines, SITE, unit="hours")


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(TraceInvalid, match="at most 1,000,000"):
        bamboo("trace.csv", ["0,5", "99999999,5"], SITE, unit="hours")


EVENTS = [
    '[0, "add", {"nodes": ["node-0", "node-1", "node-2"]}]',
    '[120000, "remove", {"nodes": ["node-1", "node-2"]}]',
    '[180000, "other", {"nodes": [], "required_tpt": 0.8}]',
    '[240000, "add", {"nodes": ["node-9"]}]',
    '[300000, "DONE", {"nodes": []}]',
]


def test_nodes_that_come_and_go_are_counted() -> None:
    supply = spotserve("trace.txt", EVENTS, SITE)
    assert supply.replicas[:, 0].tolist() == [3, 3, 1, 1, 2]
    assert supply.sites == (SITE,)


def test_one_node_a_line_is_the_same() -> None:
    lines = ["60000,add,a", "60000,add,b", "150000,remove,a", "240000,add,a"]
    supply = spotserve("g4dn.csv", lines, SITE)
    assert supply.replicas[:, 0].tolist() == [0, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "it is empty"),
        (EVENTS[:1], "other units"),
        (['[0, "add", {"nodes": ["a"]}]', '[1440, "DONE", {"nodes": []}]'], "other units"),
        ([*EVENTS[:4], '[999999999999, "DONE", {"nodes": []}]'], "other units"),
        ([*EVENTS, EVENTS[-1]], "line 6: comes after the line DONE"),
        ([EVENTS[0], EVENTS[0]], "line 2: the node 'node-0' is there already"),
        (EVENTS[1:], "line 1: the node 'node-1' is not there"),
        ([EVENTS[0], EVENTS[3], EVENTS[1]], "line 3: goes back from 240 to 120 s"),
        (['[-1, "add", {"nodes": ["a"]}]'], "0 ms or more"),
        (['[NaN, "add", {"nodes": ["a"]}]'], "0 ms or more"),
        (['[0, "add", {"nodes": [1]}]'], "is neither"),
        (['[0, "add", {"nodes": "ab"}]'], "is neither"),
        (['[0, "swap", {"nodes": []}]'], "is neither"),
        (['[0, {}, {"nodes": []}]'], "is neither"),
        (['[0, "add"]'], "is neither"),
        (["[" * 100_000], "is neither"),
        (["0,add"], "is neither"),
        (["x,add,a"], "is neither"),
        (["0,add,"], "is neither"),
    ],
)
def test_what_is_no_trace_of_nodes_is_refused_with_its_line(lines: list[str], words: str) -> None:
    with pytest.raises(TraceInvalid, match=words):
        spotserve("trace.txt", lines, SITE)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=6))
def test_any_text_is_read_or_refused(lines: list[str]) -> None:
    for read in (bamboo, spotserve):
        try:
            supply = read("2020-11-20-to-2020-11-23", lines, SITE)
        except TraceInvalid:
            continue
        assert supply.replicas.min() >= 0


def test_supplies_side_by_side_begin_anew_when_they_end() -> None:
    other = Site("spot", "us-east-1", "us-east-1d")
    supply = joined([spotserve("trace.txt", EVENTS, SITE), always([other], 4)])
    assert supply.sites == (SITE, other)
    assert supply.replicas.tolist() == [[3, 4], [3, 4], [1, 4], [1, 4], [2, 4]]


@pytest.mark.parametrize(
    "supplies",
    [[], [always([SITE], 1), always([SITE], 2)], [always([SITE], 1), always([], 1, step_s=9)]],
)
def test_supplies_that_do_not_fit_together_are_refused(supplies: list[object]) -> None:
    with pytest.raises(SimulationError, match="join one or more"):
        joined(supplies)  # type: ignore[arg-type]


def test_names_tell_spans_as_exactly_as_they_can() -> None:
    span = named_span("p2-xlarge-2020-11-20-to-2020-11-23.csv")
    assert span is not None
    assert (span.shortest_s, span.longest_s, span.until_s) == (2 * 86400, 4 * 86400, 0.0)
    span = named_span("us-east-1c-2020-11-22-15:30-to-2020-11-23-0935.csv")
    assert span is not None
    assert span.until_s == 18 * 3600 + 5 * 60


@pytest.mark.parametrize(
    "name",
    [
        "trace.csv",
        "2020-11-20-to-now",
        "2020-13-20-to-2020-13-23",
        "2020-11-20-2500-to-2020-11-23-0700",
        "2020-11-23-0700-to-2020-11-20-0700",
    ],
)
def test_names_without_a_span_tell_none(name: str) -> None:
    assert named_span(name) is None
