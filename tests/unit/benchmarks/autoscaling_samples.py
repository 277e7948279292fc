"""Made-up runs for the tests of the autoscaling benchmark: no simulation is behind them."""

from __future__ import annotations

import numpy as np

from autoscaling.simulator.outcome import Day, Latency, Outcome
from benchmarks.autoscaling.arms import ABLATIONS, ARMS, MAIN, ORACLE, OTHERS, OURS, STATIC
from benchmarks.autoscaling.brackets import lines, missing
from benchmarks.autoscaling.grid import LADDER, Cell, Plan, World
from benchmarks.autoscaling.run_log import Run
from benchmarks.autoscaling.stages import Frozens, trials, tunings
from benchmarks.autoscaling.tuning import Frozen

PRICES = {OURS: 0.5, ORACLE: 0.45, STATIC: 1.4}
SMALL = Plan(
    series=("m-large", "m-small"),
    leads_s=(180.0, 300.0),
    alignments=3,
    other_alignments=1,
    ablation_alignments=1,
    minor_series=2,
    side_alignments=1,
    injection_alignments=1,
    sweep_alignments=2,
    sweep=(-2, -1, 1, 2),
    tuning_alignments=1,
)


def outcome(
    cost: float = 100.0,
    missed: float = 0.005,
    *,
    days: int = 7,
    requests: int = 10_000,
    wobble: tuple[float, ...] = (),
) -> Outcome:
    """An outcome whose days cost `cost` each (times 1 + wobble) and miss a share of requests."""
    parts = []
    for day in range(days):
        factor = 1 + (wobble[day % len(wobble)] if wobble else 0.0)
        met = round(requests * (1 - missed * factor))
        parts.append(
            Day(requests, requests, met, 1000 * requests, cost * factor, 60.0, requests // 200)
        )
    steps = np.arange(days * 144)
    needed = 10 + 6 * np.sin(2 * np.pi * steps / 144)
    return Outcome(
        policy="x",
        begin_s=7 * 86400.0,
        end_s=(7 + days) * 86400.0,
        requests=days * requests,
        finished=days * requests,
        refused=0,
        lost=0,
        retried=12,
        met=sum(day.met for day in parts),
        prompt_tokens=days * requests * 900,
        output_tokens=days * requests * 100,
        ttft=Latency(0.2, 0.9, 2.0),
        itl=Latency(0.05, 0.07, 0.1),
        cost={"on-demand": sum(day.cost for day in parts)},
        replica_s={"on-demand": 3600.0 * days, "us-east-1/us-east-1a": 7200.0 * days},
        ready_s={"on-demand": 3500.0 * days, "us-east-1/us-east-1a": 7000.0 * days},
        preemptions=6,
        lost_to_preemption=0,
        retried_by_preemption=12,
        shortfall_s=60.0 * days,
        scale_events=70,
        reversals=7,
        cold_waits=sum(day.cold_waits for day in parts),
        days=tuple(parts),
        series={
            "at_s": tuple(((7 * 144 + steps) * 600.0).tolist()),
            "needed": tuple(needed.tolist()),
            "on_demand": tuple((0.3 * needed + 1).tolist()),
            "spot": tuple((0.9 * needed).tolist()),
        },
    )


def run(cell: Cell, **changes: float) -> Run:
    """A run of a cell, with its own wobble by alignment."""
    wobble = (0.05, -0.05, 0.02 * cell.alignment)
    keyed = {"cost": 100.0, "missed": 0.005} | changes
    return Run(cell, outcome(keyed["cost"], keyed["missed"], wobble=wobble), 2.0)


def frozen_of(plan: Plan, rung: int = 6) -> dict[tuple[World, str], Frozen]:
    """As if tuning had chosen the same rung everywhere."""
    return {(one.world, one.arm): Frozen(0, rung, met=True, tried=4) for one in tunings(plan)}


def runs_of(plan: Plan, frozen: Frozens) -> list[Run]:
    """All runs of the test days: more headroom costs more and misses less; ours is cheap."""
    found = {cell: synthetic(cell) for cell in trials(plan, frozen)}
    for line in lines(plan, frozen):
        while cells := missing(line, found.get):
            found.update((cell, synthetic(cell)) for cell in cells)
    return list(found.values())


def synthetic(cell: Cell) -> Run:
    """What a cell comes to by its headroom, its arm and its world."""
    ratio = cell.headroom / LADDER[6]
    base = PRICES.get(cell.arm, 0.75 + 0.03 * (OTHERS + ABLATIONS + MAIN).index(cell.arm))
    skill = 2.0 if ARMS[cell.arm].role == "other" else 1.0
    price = base * (1 - 0.3 * (cell.world.discount - 0.6))
    miss = min(0.9, 0.008 * skill * ratio**-6 * (cell.world.lead_s / 180) ** 0.3)
    return run(cell, cost=1000 * price * ratio, missed=miss)
