"""Which cells are played when: tuning first, then what is tested with what it has chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.autoscaling.arms import ABLATIONS, ARMS, MAIN, OTHERS, SIDE
from benchmarks.autoscaling.grid import LADDER, Cell, Plan, World
from benchmarks.autoscaling.tuning import Bisection, Frozen, choose

_UNTUNED = LADDER.index(1.0)
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
    count = plan.other_tuning_alignments
    for world in plan.main_worlds():
        found += [Tuning(world, arm, plan.tuning_alignments) for arm in MAIN]
        found += [Tuning(world, arm, count) for arm in others_of(plan, world) if ARMS[arm].tuned]
        if plan.tune_ablations:
            found += [Tuning(world, arm, count) for arm in ablations_of(plan, world)]
    for world in plan.lead_worlds():
        found += [Tuning(world, arm, count) for arm in SIDE]
    return tuple(found)


def others_of(plan: Plan, world: World) -> list[str]:
    """The other arms of a main world: all at the first lead time, at later ones the close ones.

    Args:
        plan: How much is played.
        world: Of the plan's main worlds.
    """
    every = [arm for arm in OTHERS if arm in plan.others or not plan.others]
    return [arm for arm in every if world.lead_s == plan.leads_s[0] or arm in SIDE]


def frontier_alignments(plan: Plan, arm: str) -> int:
    """How many alignments a frontier has.

    Args:
        plan: How much is played.
        arm: Whose it is.
    """
    close = arm in MAIN or arm in SIDE
    return plan.sweep_alignments if close else plan.other_alignments


def ablations_of(plan: Plan, world: World) -> list[str]:
    """What of ours is left out in a main world.

    Args:
        plan: How much is played.
        world: Of the plan's main worlds.
    """
    there = world.series in plan.series[: plan.minor_series]
    every = [arm for arm in ABLATIONS if arm in plan.ablations or not plan.ablations]
    return every if there and world.lead_s == plan.leads_s[0] else []


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


STAGES = ("main", "others", "ablations", "leads", "sides")
"""Of the test days; frontiers are played beside them, when these are known."""


def staged(plan: Plan, frozen: Frozens) -> dict[str, list[Cell]]:
    """All that is played on the test days as frozen, by stage.

    Args:
        plan: How much is played.
        frozen: What has been chosen.
    """
    stages: dict[str, list[Cell]] = {name: [] for name in STAGES}

    def add(stage: str, home: World, world: World, arms: Iterable[str], count: int) -> None:
        for arm in arms:
            if (home, arm) in frozen or not ARMS[arm].tuned or ARMS[arm].shares:
                stages[stage] += _cells(frozen, home, world, arm, range(count))

    for world in plan.main_worlds():
        first = world.lead_s == plan.leads_s[0]
        count = plan.alignments if first else min(plan.later_alignments, plan.alignments)
        add("main", world, world, MAIN, count)
        for arm in others_of(plan, world):
            add("others", world, world, [arm], frontier_alignments(plan, arm))
        add("ablations", world, world, ablations_of(plan, world), plan.ablation_alignments)
    for world in plan.lead_worlds():
        add("leads", world, world, SIDE, plan.side_alignments)
    for world in plan.side_worlds():
        # What operators have tuned stays when prices, notices and luck change.
        count = plan.injection_alignments if world.injection else plan.side_alignments
        add("sides", World(world.series, plan.leads_s[0]), world, SIDE, count)
    return stages


def trials(plan: Plan, frozen: Frozens) -> list[Cell]:
    """The cells of all stages, what matters most first; nothing twice.

    Args:
        plan: How much is played.
        frozen: What has been chosen.
    """
    cells = [cell for stage in staged(plan, frozen).values() for cell in stage]
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


def _cells(
    frozen: Frozens, home: World, world: World, arm: str, alignments: Iterable[int]
) -> list[Cell]:
    chosen = chosen_for(frozen, home, arm)
    return [
        Cell(world, arm, chosen.variant, chosen.headroom, alignment, "test")
        for alignment in alignments
    ]
