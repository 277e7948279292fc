"""The goals, as data, and how a run is judged against them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from benchmarks.gateway.cells import CELLS

__all__ = ["GOALS", "REFERENCE", "RIVAL", "Goal", "Outcome", "Verdict", "judge"]

REFERENCE = "vllm"
RIVAL = "ray-llm"

Verdict = Literal["aim", "bar", "missed", "not measured"]


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure of Tidegate as a ratio to another arm's.

    Attributes:
        cell, metric: which figure.
        at_least: True for a ratio that should be high, False for one that should be low.
        bar: what it must reach.
        aim: what we want it to reach.
        against: the other arm.
    """

    cell: str
    metric: str
    at_least: bool
    bar: float
    aim: float
    against: str = REFERENCE

    @property
    def title(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.metric} {self.cell} {sign} {self.bar:g} (aim {self.aim:g}) x {self.against}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal with the ratio that was measured (NaN: it was not) and what that means."""

    goal: Goal
    ratio: float
    verdict: Verdict


def _rate(stream: bool) -> str:
    return "tokens_per_s" if stream else "requests_per_s"


GOALS: tuple[Goal, ...] = (
    Goal("overhead@32", "requests_per_s", True, 0.65, 0.80),
    Goal("short@32", "requests_per_s", True, 0.75, 0.87),
    Goal("chatty@16", "tokens_per_s", True, 0.85, 0.95),
    Goal("short-stream@1", "ttft_p50", False, 1.4, 1.2),
    *(Goal(c.name, "gap_p95", False, 1.5, 1.2) for c in CELLS if c.kind == "chatty"),
    *(Goal(c.name, _rate(c.stream), True, 1.0, 1.0, RIVAL) for c in CELLS),
)


def judge(goal: Goal, ratio: float, errors: int) -> Outcome:
    """Judges one ratio; a cell with errors on either side misses its goal whatever the ratio.

    Args:
        goal: the goal.
        ratio: measured, NaN if it was not.
        errors: failed requests of both arms in the goal's cell.
    """
    if math.isnan(ratio):
        return Outcome(goal, ratio, "not measured")
    if errors:
        return Outcome(goal, ratio, "missed")

    def reaches(limit: float) -> bool:
        return ratio >= limit if goal.at_least else ratio <= limit

    verdict: Verdict = "aim" if reaches(goal.aim) else "bar" if reaches(goal.bar) else "missed"
    return Outcome(goal, ratio, verdict)
