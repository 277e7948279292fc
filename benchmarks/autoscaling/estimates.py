"""How long a plan takes, by stage, before it is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.autoscaling.arms import ARMS
from benchmarks.autoscaling.brackets import lines
from benchmarks.autoscaling.grid import LADDER, Plan
from benchmarks.autoscaling.stages import staged, tunings
from benchmarks.autoscaling.tuning import Frozen

_TRIES = 3.5
"""Headrooms that a bisection tries, roughly."""
_MORE_TRIES = 2.5
"""That it tries of each further setting, which begins where the one before has ended."""
_BRACKET = 2.5
"""Headrooms beside the frozen one that a frontier takes, roughly."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of one stage, or of all."""

    stage: str
    runs: float
    seconds: float
    """Of one core."""


def estimates(plan: Plan, seconds: Mapping[str, float]) -> list[Estimate]:
    """Each stage in the order in which it is played.

    Args:
        plan: How much is played.
        seconds: Of a run of seven days, by arm.
    """
    tune = (plan.tune_days[1] - plan.tune_days[0]) / 7
    test = (plan.test_days[1] - plan.test_days[0]) / 7
    runs, spent = 0.0, 0.0
    for tuning in tunings(plan):
        tries = _TRIES + _MORE_TRIES * (len(ARMS[tuning.arm].variants) - 1)
        runs += tries * tuning.alignments
        spent += tries * tuning.alignments * seconds[tuning.arm] * tune
    found = [Estimate("tuning", runs, spent)]
    middle = Frozen(0, len(LADDER) // 2, met=True, tried=1)
    frozen = {(tuning.world, tuning.arm): middle for tuning in tunings(plan)}
    for stage, cells in staged(plan, frozen).items():
        taken = sum(seconds[cell.arm] for cell in cells) * test
        found.append(Estimate(stage, len(cells), taken))
    runs, spent = 0.0, 0.0
    for line in lines(plan, frozen):
        count = max(_BRACKET, len(line.steps)) * line.alignments
        runs += count
        spent += count * seconds[line.arm] * test
    return [*found, Estimate("sweep", runs, spent)]


def whole(found: list[Estimate]) -> Estimate:
    """The sum of all stages.

    Args:
        found: Of `estimates`.
    """
    return Estimate("all", sum(one.runs for one in found), sum(one.seconds for one in found))
