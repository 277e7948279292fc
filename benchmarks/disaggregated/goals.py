"""What is wanted of each measurement, as data written before anything was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["GOALS", "Goal", "Outcome", "Verdict", "judge"]

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True, slots=True)
class Goal:
    """The most that one figure may be.

    Attributes:
        title: the figure in words.
        path: where it stands in the report.
        at_most: its bound.
        against: where the figure stands that it is divided by; empty where it is not.
        unit: of the figure and its bound.
    """

    title: str
    path: tuple[str, ...]
    at_most: float
    against: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal, what was measured (NaN: it was not) and whether it was met."""

    goal: Goal
    value: float
    verdict: Verdict


def _ms(title: str, *path: str, at_most: float) -> Goal:
    return Goal(title, path, at_most, unit=" ms")


def _none(title: str, *path: str) -> Goal:
    return Goal(title, path, 0)


GOALS: Mapping[str, tuple[Goal, ...]] = {
    "handoff": (
        _none("answers unequal to the undivided engine's", "equality", "unequal"),
        _none("answers that failed", "equality", "failed"),
        _none(
            "prompt tokens computed again by decode",
            *("equality", "decode", "prompt_tokens_computed"),
        ),
        _none("hand-offs that failed, many at a time", "equality", "handoffs_failed"),
        _none("hand-offs that failed, one at a time", "timed", "handoffs_failed"),
        _ms("hand-off of 100 tokens, p99", "times", "100", "handoff_ms", "p99", at_most=250),
        _ms("hand-off of 1,000 tokens, p99", "times", "1000", "handoff_ms", "p99", at_most=500),
        _ms("hand-off of 8,000 tokens, p99", "times", "8000", "handoff_ms", "p99", at_most=1000),
    ),
    "interference": (
        Goal(
            "ITL p99 with long prompts, disaggregated to colocated",
            ("blocks", "disaggregated, long prompts", "itl_ms", "p99"),
            0.8,
            ("blocks", "colocated, long prompts", "itl_ms", "p99"),
        ),
        Goal(
            "TTFT p99 with long prompts, disaggregated to colocated",
            ("blocks", "disaggregated, long prompts", "ttft_ms", "p99"),
            1.0,
            ("blocks", "colocated, long prompts", "ttft_ms", "p99"),
        ),
        Goal(
            "ITL p50 without long prompts, disaggregated to colocated",
            ("blocks", "disaggregated, alone", "itl_ms", "p50"),
            1.2,
            ("blocks", "colocated, alone", "itl_ms", "p50"),
        ),
    ),
    "migration": tuple(
        goal
        for arm in ("killed", "drained")
        for goal in (
            _none(f"streams broken, {arm}", arm, "broken"),
            _none(f"answers unequal, {arm}", arm, "unequal"),
            _none(f"answers with tokens doubled, {arm}", arm, "doubled"),
            _none(f"answers whose usage is not what came, {arm}", arm, "miscounted"),
            _ms(f"pause p50, {arm}", arm, "pause_ms", "p50", at_most=500),
            _ms(f"pause p99, {arm}", arm, "pause_ms", "p99", at_most=2000),
        )
    ),
    "drill": (
        _none("requests lost", "lost"),
        _none("zone violations", "zone_violations"),
        _none("answers from another zone than asked for", "misplaced"),
        Goal(
            "TTFT p99 of small requests in the surge, to before",
            ("phases", "surge", "small_ttft_ms", "p99"),
            3.0,
            ("phases", "before", "small_ttft_ms", "p99"),
        ),
        Goal(
            "TTFT p99 of small requests after the surge, to before",
            ("phases", "after", "small_ttft_ms", "p99"),
            1.5,
            ("phases", "before", "small_ttft_ms", "p99"),
        ),
    ),
}


def judge(report: Mapping[str, Any], goals: Sequence[Goal]) -> list[Outcome]:
    """Each goal with what the report says of it."""
    return [_judge(report, goal) for goal in goals]


def _judge(report: Mapping[str, Any], goal: Goal) -> Outcome:
    value = _figure(report, goal.path)
    if goal.against:
        base = _figure(report, goal.against)
        value = value / base if base else math.nan
    if math.isnan(value):
        return Outcome(goal, value, "not measured")
    return Outcome(goal, value, "met" if value <= goal.at_most else "missed")


def _figure(report: Mapping[str, Any], path: Sequence[str]) -> float:
    """The number at a path; NaN where there is none."""
    found: Any = report
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) else math.nan
