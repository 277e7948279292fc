"""Which cells are played when: tuning first, then what is tested with what it has chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.autoscaling.arms import ABLATIONS, ARMS, MAIN, OTHERS
from benchmarks.autoscaling.grid import LADDER, Cell, Plan, World
from benchmarks.autoscaling.tuning import Bisection, Frozen, choose

_UNTUNED = LADDER.index(1.0)
_TRIES = 3.5
"""Headrooms that a bisection tries, roughly."""
Frozens = Mapping[tuple[World, str], Frozen]


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is to be chosen for one arm in one world."""

    world: World
    arm: str
    alignments: int


def tunings(plan: Plan) -> tuple[Tuning, ...]:
    """All that is chosen on the days of tuning.

    Args:
        plan: How much is played.
    """
    found = []
    for world in plan.main_worlds():
        found += [Tuning(world, arm, plan.tuning_alignments) for arm in MAIN]
        count = plan.other_tuning_alignments
        found += [Tuning(world, arm, count) for arm in OTHERS if ARMS[arm].tuned]
        if plan.tune_ablations and world.lead_s == plan.leads_s[0]:
            found += [Tuning(world, arm, count) for arm in ABLATIONS]
    for world in plan.lead_worlds():
        found += [Tuning(world, arm, plan.other_tuning_alignments) for arm in MAIN]
    return tuple(found)


class Search:
    """The headroom and variant of one arm in one world.

    The variants share a beginning: each goes on from where the one before it has ended.

    Args:
        tuning: What is to be chosen.
        variants: How many variants there are.
    """

    __slots__ = ("_begin", "_found", "_now", "tuning", "variants")

    def __init__(self, tuning: Tuning, variants: int) -> None:
        self.tuning = tuning
        self.variants = variants
        self._begin = LADDER.index(ARMS[tuning.arm].begin)
        self._found: list[Bisection] = []
        self._now = Bisection(len(LADDER), self._begin)

    @property
    def asks(self) -> tuple[int, int] | None:
        """Variant and rung to try next; None when all is known."""
        while self._now.asks is None:
            if len(self._found) + 1 == self.variants:
                return None
            self._found.append(self._now)
            kept = [r for r, tried in self._now.tried.items() if tried.attainment >= 0.99]
            self._now = Bisection(len(LADDER), min(kept, default=len(LADDER) - 1))
        return len(self._found), self._now.asks

    @property
    def now(self) -> Bisection:
        """The bisection that asks."""
        return self._now

    def cells(self) -> list[Cell]:
        """The cells of what is asked for; none when all is known."""
        asks = self.asks
        if asks is None:
            return []
        variant, rung = asks
        tuning = self.tuning
        return [
            Cell(tuning.world, tuning.arm, variant, LADDER[rung], alignment, "tune")
            for alignment in range(tuning.alignments)
        ]

    def frozen(self) -> Frozen:
        """What is chosen."""
        return choose(enumerate([*self._found, self._now]))


def trials(plan: Plan, frozen: Frozens) -> list[Cell]:
    """All that is played on the test days, what matters most first; nothing twice.

    Args:
        plan: How much is played.
        frozen: What has been chosen.
    """
    cells: list[Cell] = []
    first = plan.leads_s[0]
    for world in plan.main_worlds():
        for arm in MAIN:
            cells += _cells(frozen, world, world, arm, range(plan.alignments))
            cells += _sweep(plan, frozen, world, arm)
        for arm in OTHERS:
            cells += _cells(frozen, world, world, arm, range(plan.other_alignments))
        if world.lead_s == first:
            for arm in ABLATIONS:
                count = range(plan.ablation_alignments)
                cells += _cells(frozen, world, world, arm, count)
    for world in (*plan.lead_worlds(), *plan.side_worlds()):
        # What operators have tuned stays when prices, notices and luck change.
        home = world if world in plan.lead_worlds() else World(world.series, first)
        for arm in MAIN:
            cells += _cells(frozen, home, world, arm, range(plan.side_alignments))
    return list(dict.fromkeys(sorted(cells, key=lambda cell: cell.alignment)))


def chosen_for(frozen: Frozens, home: World, arm: str) -> Frozen:
    """What an arm is tested with.

    Args:
        frozen: What has been chosen.
        home: World in which it was tuned.
        arm: Which.
    """
    if not ARMS[arm].tuned:
        return Frozen(0, _UNTUNED, met=False, tried=0)
    if ARMS[arm].shares and (home, arm) not in frozen:
        return frozen[home, ARMS[arm].shares]
    return frozen[home, arm]


def rungs(plan: Plan, frozen: Frozen) -> list[int]:
    """The headrooms of a frontier, the frozen one among them.

    Args:
        plan: How much is played.
        frozen: What has been chosen.
    """
    wanted = {frozen.rung, *(frozen.rung + step for step in plan.sweep)}
    return sorted(rung for rung in wanted if 0 <= rung < len(LADDER))


def _cells(
    frozen: Frozens, home: World, world: World, arm: str, alignments: Iterable[int]
) -> list[Cell]:
    chosen = chosen_for(frozen, home, arm)
    return [
        Cell(world, arm, chosen.variant, chosen.headroom, alignment, "test")
        for alignment in alignments
    ]


def _sweep(plan: Plan, frozen: Frozens, world: World, arm: str) -> list[Cell]:
    chosen = chosen_for(frozen, world, arm)
    return [
        Cell(world, arm, chosen.variant, LADDER[rung], alignment, "test")
        for rung in rungs(plan, chosen)
        for alignment in range(plan.sweep_alignments)
    ]


def estimate(plan: Plan, seconds: Mapping[str, float]) -> tuple[int, float]:
    """How many runs there will be, roughly, and the core-seconds that they take.

    Args:
        plan: How much is played.
        seconds: Of a run of seven days, by arm.
    """
    tune = (plan.tune_days[1] - plan.tune_days[0]) / 7
    test = (plan.test_days[1] - plan.test_days[0]) / 7
    runs, spent = 0.0, 0.0
    for tuning in tunings(plan):
        # Later variants begin where the first has ended.
        tries = _TRIES + 2.5 * (len(ARMS[tuning.arm].variants) - 1)
        runs += tries * tuning.alignments
        spent += tries * tuning.alignments * seconds[tuning.arm] * tune
    middle = Frozen(0, len(LADDER) // 2, met=True, tried=1)
    every = {(tuning.world, tuning.arm): middle for tuning in tunings(plan)}
    cells: Sequence[Cell] = trials(plan, every)
    runs += len(cells)
    spent += sum(seconds[cell.arm] for cell in cells) * test
    return round(runs), spent
