"""All finished runs as one document: what the report, the goals and the pictures are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.autoscaling.arms import ARMS, ORACLE, OURS
from benchmarks.autoscaling.blocks import Blocks, Draws, Interval, blocks, interval
from benchmarks.autoscaling.brackets import Line, lines
from benchmarks.autoscaling.frontier import Point, bounded, matched
from benchmarks.autoscaling.grid import LADDER, Plan, World
from benchmarks.autoscaling.rows import row
from benchmarks.autoscaling.run_log import Run
from benchmarks.autoscaling.stages import Frozens, chosen_for

Document = dict[str, Any]
_KEPT = ("needed", "on_demand", "spot", "at_s")


class Runs:
    """Finished runs of the test days, by what they differ in.

    Args:
        runs: All of them; those of tuning are left out.
    """

    def __init__(self, runs: Iterable[Run]) -> None:
        self._by: dict[tuple[World, str, int, float], list[Run]] = {}
        for run in runs:
            cell = run.cell
            if cell.span == "test":
                key = (cell.world, cell.arm, cell.variant, cell.headroom)
                self._by.setdefault(key, []).append(run)

    def of(self, world: World, arm: str, variant: int, headroom: float) -> list[Run]:
        """Runs by alignment, in order; none if there are none.

        Args:
            world: Where.
            arm: Which policy.
            variant: Its settings.
            headroom: Its headroom.
        """
        found = self._by.get((world, arm, variant, headroom), [])
        return sorted(found, key=lambda run: run.cell.alignment)


def summarise(plan: Plan, frozen: Frozens, every: Iterable[Run], gpus: int) -> Document:
    """The document.

    Args:
        plan: How much was played.
        frozen: What was chosen on the days of tuning.
        every: Finished runs.
        gpus: GPUs of a replica.
    """
    runs = Runs(every)
    mains = [
        _world(plan, frozen, runs, world, world, gpus, sweep=True) for world in plan.main_worlds()
    ]
    leads = [
        _world(plan, frozen, runs, world, world, gpus, sweep=False) for world in plan.lead_worlds()
    ]
    sides = [
        _world(plan, frozen, runs, World(world.series, plan.leads_s[0]), world, gpus, sweep=False)
        for world in plan.side_worlds()
    ]
    return {
        "plan": asdict(plan),
        "frozen": [
            {
                "world": asdict(world),
                "arm": arm,
                "headroom": one.headroom,
                "variant": ARMS[arm].variants[one.variant],
                "met": one.met,
                "tried": one.tried,
            }
            for (world, arm), one in frozen.items()
        ],
        "main": mains,
        "leads": leads,
        "sides": sides,
    }


def _world(
    plan: Plan, frozen: Frozens, runs: Runs, home: World, world: World, gpus: int, *, sweep: bool
) -> Document:
    rows: dict[str, Document] = {}
    held: dict[str, Blocks] = {}
    week: dict[str, Any] = {}
    for arm in ARMS:
        if (home, arm) not in frozen and ARMS[arm].tuned and not ARMS[arm].shares:
            continue
        chosen = chosen_for(frozen, home, arm)
        found = runs.of(world, arm, chosen.variant, chosen.headroom)
        if not found:
            continue
        rows[arm] = row(found, gpus)
        rows[arm]["setting"] = ARMS[arm].variants[chosen.variant]
        held[arm] = blocks(found)
        if sweep and found[0].outcome.series:
            series = found[0].outcome.series
            week[arm] = {name: list(series[name]) for name in _KEPT if name in series}
    _compare(rows, held)
    document: Document = {"world": asdict(world), "title": world.title, "rows": rows}
    if sweep:
        document["matched"] = _matched(plan, frozen, runs, world)
        document["week"] = week
    return document


def _compare(rows: Mapping[str, Document], held: Mapping[str, Blocks]) -> None:
    """Adds to each row what ours is to it, by paired days and alignments, and the oracle's gap."""
    oracle = rows.get(ORACLE, {}).get("cost_per_million")
    for arm, one in rows.items():
        cost = one["cost_per_million"]
        one["gap_to_oracle"] = cost / oracle - 1 if cost and oracle else None
        own = Draws(len(held[arm].alignments), held[arm].days)
        one["intervals"] = {
            "attainment": _plain(interval(1 - own.misses(held[arm]))),
            "cost_per_million": _plain(interval(own.cost(held[arm]))),
            "cold_wait_share": _plain(interval(own.cold_waits(held[arm]))),
        }
        if OURS not in held or arm == OURS:
            continue
        both = sorted(set(held[OURS].alignments) & set(held[arm].alignments))
        ours, theirs = held[OURS].only(both), held[arm].only(both)
        draws = Draws(len(both), ours.days)
        one["ours_less_this"] = {
            "alignments": len(both),
            "cost": _plain(interval(draws.cost(ours) / draws.cost(theirs) - 1)),
            "attainment": _plain(interval(draws.misses(theirs) - draws.misses(ours))),
        }


def _matched(plan: Plan, frozen: Frozens, runs: Runs, world: World) -> Document:
    """Frontiers, what each policy costs where it keeps the target, and ours against it.

    Both sides of a difference are of the same alignments.
    """
    there = {line.arm: line for line in lines(plan, frozen) if line.world == world}
    document: Document = {}
    for arm, line in there.items():
        own = _points(runs, line, line.alignments)
        if not own:
            continue
        document[arm] = {
            "points": [_point(point) for point in own],
            "cost": _plain(interval(matched(own))),
            "at_most": bounded(own),
        }
        if OURS not in there or arm == OURS:
            continue
        both = min(line.alignments, there[OURS].alignments)
        ours, theirs = _points(runs, there[OURS], both), _points(runs, line, both)
        if ours and theirs:
            less = matched(ours) / matched(theirs) - 1
            document[arm]["ours_less_this"] = _plain(interval(less))
            document[arm]["alignments"] = both
    return document


def _points(runs: Runs, line: Line, alignments: int) -> list[Point]:
    """The headrooms of a frontier that were played for all of its first alignments."""
    found = []
    for headroom in LADDER:
        every = runs.of(line.world, line.arm, line.variant, headroom)
        first = [run for run in every if run.cell.alignment < alignments]
        if first and len(first) == alignments:
            of = blocks(first)
            draws = Draws(alignments, of.days)
            found.append(Point(headroom, draws.misses(of), draws.cost(of)))
    return found


def _point(point: Point) -> Document:
    return {
        "headroom": point.headroom,
        "misses": float(point.misses[0]),
        "cost": float(point.cost[0]),
    }


def _plain(one: Interval) -> Sequence[float | None]:
    """Value, low and high; None where it is not to be told."""
    return [each if each == each else None for each in (one.value, one.low, one.high)]  # noqa: PLR0124
