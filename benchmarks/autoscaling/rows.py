"""One policy in one world: every figure that is published, over its alignments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from autoscaling.simulator.outcome import Outcome
from benchmarks.autoscaling.run_log import Run

_DAY_S = 86_400.0


def row(runs: Sequence[Run], gpus: int) -> dict[str, Any]:
    """The figures of runs that differ in their alignment alone.

    Sums are taken over all runs before they are divided; latencies are the median over runs.

    Args:
        runs: At least one.
        gpus: GPUs of a replica.
    """
    outcomes = [run.outcome for run in runs]
    cell = runs[0].cell

    def total(of: Callable[[Outcome], float]) -> float:
        return float(sum(map(of, outcomes)))

    requests = total(lambda one: one.requests)
    seconds = total(lambda one: one.end_s - one.begin_s)
    preemptions = total(lambda one: one.preemptions)
    paid = total(lambda one: sum(one.replica_s.values()))
    spot = total(lambda one: one.spot_share * sum(one.replica_s.values()))
    tokens = total(lambda one: one.tokens)
    return {
        "runs": len(runs),
        "headroom": cell.headroom,
        "variant": cell.variant,
        "attainment": total(lambda one: one.met) / requests if requests else 1.0,
        "cost_per_million": 1e6 * total(lambda one: one.dollars) / tokens if tokens else None,
        "gpu_hours": gpus * fmean(one.replica_hours for one in outcomes),
        "ttft_s": _latencies(outcomes, "ttft"),
        "itl_s": _latencies(outcomes, "itl"),
        "requests": requests / len(runs),
        "lost_share": total(lambda one: one.lost + one.refused) / requests if requests else 0.0,
        "preemptions_a_day": preemptions / seconds * _DAY_S,
        "lost_a_preemption": _per(total(lambda one: one.lost_to_preemption), preemptions),
        "retried_a_preemption": _per(total(lambda one: one.retried_by_preemption), preemptions),
        "shortfall_min_a_day": total(lambda one: one.shortfall_s) / 60 / seconds * _DAY_S,
        "spot_share": spot / paid if paid else 0.0,
        "scale_events_an_hour": total(lambda one: one.scale_events) / seconds * 3600,
        "reversals_an_hour": total(lambda one: one.reversals) / seconds * 3600,
        "cold_wait_share": total(lambda one: one.cold_waits) / requests if requests else 0.0,
    }


def _latencies(outcomes: Sequence[Outcome], name: str) -> dict[str, float]:
    every = [getattr(one, name) for one in outcomes]
    return {part: median(getattr(one, part) for one in every) for part in ("p50", "p95", "p99")}


def _per(count: float, preemptions: float) -> float | None:
    return count / preemptions if preemptions else None
