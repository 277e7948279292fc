"""Which headrooms a frontier takes: as many as put the target between two of them.

Everything follows from what has been played, so that a stopped benchmark goes on the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.autoscaling.arms import ARMS, INSTANT, MAIN
from benchmarks.autoscaling.blocks import Draws, Floats, blocks
from benchmarks.autoscaling.grid import LADDER, TARGET, Cell, Plan, World
from benchmarks.autoscaling.run_log import Run
from benchmarks.autoscaling.stages import Frozens, chosen_for, frontier_alignments, others_of

Known = Callable[[Cell], Run | None]
_SURE = 0.99
"""Share of resamples in which the highest headroom keeps the target: with less there is no
interval of the cost."""
_SPARE = 2
"""Headrooms beyond the least that keeps the target that are played for an interval, at most."""


@dataclass(frozen=True, slots=True)
class Line:
    """The frontier of one arm in one main world."""

    world: World
    arm: str
    variant: int
    rung: int
    """The frozen headroom, where it begins."""
    alignments: int
    steps: tuple[int, ...] = ()
    """From the frozen headroom, played in any case."""
    most: int = 5
    """Steps from the frozen headroom at most, each way."""

    def cells(self, rung: int) -> list[Cell]:
        """What is played of one headroom.

        Args:
            rung: Its place on the ladder.
        """
        return [
            Cell(self.world, self.arm, self.variant, LADDER[rung], alignment, "test")
            for alignment in range(self.alignments)
        ]


def lines(plan: Plan, frozen: Frozens) -> list[Line]:
    """All frontiers of the main worlds, an oracle that cannot be had and defaults left out.

    Args:
        plan: How much is played.
        frozen: What has been chosen.
    """
    found = []
    for world in plan.main_worlds():
        for arm in (*MAIN, *others_of(plan, world)):
            if not ARMS[arm].tuned or arm == INSTANT or (world, arm) not in frozen:
                continue
            chosen = chosen_for(frozen, world, arm)
            count = frontier_alignments(plan, arm)
            found.append(
                Line(world, arm, chosen.variant, chosen.rung, count, plan.sweep, plan.sweep_most)
            )
    return found


def missing(line: Line, known: Known) -> list[Cell]:
    """What is to be played next of a frontier; nothing when it is complete.

    Args:
        line: Which.
        known: The run of a cell, if there is one.
    """
    wanted = {line.rung, *(line.rung + step for step in line.steps)}
    rungs = sorted(rung for rung in wanted if 0 <= rung < len(LADDER))
    while True:
        lacking = [cell for rung in rungs for cell in line.cells(rung) if known(cell) is None]
        if lacking or not line.alignments:
            return lacking
        another = _next(line, {rung: _misses(line, rung, known) for rung in rungs})
        if another is None:
            return []
        rungs = sorted((*rungs, another))


def _misses(line: Line, rung: int, known: Known) -> Floats:
    runs = [run for cell in line.cells(rung) if (run := known(cell)) is not None]
    of = blocks(runs)
    return Draws(line.alignments, of.days).misses(of)


def _next(line: Line, misses: dict[int, Floats]) -> int | None:
    """The rung above the highest or below the lowest; None when the target is between them."""
    limit = 1.0 - TARGET
    low, high = min(misses), max(misses)
    keeping = [rung for rung, drawn in misses.items() if drawn[0] <= limit]
    sure = float((misses[high] <= limit).mean()) >= _SURE
    spare = bool(keeping) and high - min(keeping) >= _SPARE
    if not sure and not spare and high + 1 < len(LADDER) and high < line.rung + line.most:
        return high + 1
    if misses[low][0] <= limit and low > max(0, line.rung - line.most):
        return low - 1
    return None
