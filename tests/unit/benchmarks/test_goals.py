"""Judging ratios."""

import math

import pytest

from benchmarks.gateway.cells import CELLS
from benchmarks.gateway.goals import GOALS, RIVAL, Goal, Verdict, judge

HIGH = Goal("short@32", "requests_per_s", True, 0.75, 0.87)
LOW = Goal("chatty@16", "gap_p95", False, 1.5, 1.2)


@pytest.mark.parametrize(
    ("goal", "ratio", "verdict"),
    [
        (HIGH, 0.74, "missed"),
        (HIGH, 0.75, "bar"),
        (HIGH, 0.87, "aim"),
        (LOW, 1.51, "missed"),
        (LOW, 1.5, "bar"),
        (LOW, 1.2, "aim"),
        (LOW, math.nan, "not measured"),
    ],
)
def test_verdicts(goal: Goal, ratio: float, verdict: Verdict) -> None:
    assert judge(goal, ratio, errors=0).verdict == verdict


def test_errors_miss_a_goal_whatever_the_ratio() -> None:
    assert judge(HIGH, 2.0, errors=1).verdict == "missed"


def test_every_goal_is_of_a_cell_there_is() -> None:
    assert {goal.cell for goal in GOALS} <= {cell.name for cell in CELLS}


def test_in_every_cell_there_is_a_rival_to_be_ahead_of() -> None:
    assert {g.cell for g in GOALS if g.against == RIVAL} == {cell.name for cell in CELLS}


def test_aims_are_no_easier_than_bars() -> None:
    assert all(g.aim >= g.bar if g.at_least else g.aim <= g.bar for g in GOALS)
