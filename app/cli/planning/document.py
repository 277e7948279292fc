"""A plan as JSON."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoscaling.optimizer.advice import Advice
    from autoscaling.optimizer.fleet_plan import FleetPlan, PlannedPool
    from autoscaling.optimizer.hosted import HostedComparison, Volume


def document(advice: "Advice", notes: list[str]) -> dict[str, Any]:
    """All of it. Money is in dollars.

    Args:
        advice: What was worked out.
        notes: What is to be known of it.
    """
    around = advice.frontier
    on_demand = advice.on_demand
    return {
        "plan": _plan(advice.plan),
        "on_demand_only": (
            {"problem": on_demand} if isinstance(on_demand, str) else _plan(on_demand)
        ),
        "isolation": [
            {
                "step": cost.step.name,
                "meaning": cost.step.meaning,
                "dollars_month": cost.plan.dollars_month if cost.plan else None,
                "more_than_before": cost.more,
                "problem": cost.problem or None,
                "plan": _plan(cost.plan) if cost.plan else None,
            }
            for cost in advice.steps
        ],
        "frontier": [
            {
                "step": point.step.name,
                "latency": point.latency,
                "dollars_month": None if point.dollars_h is None else point.dollars_h * _month(),
                "on_frontier": point.best,
                "problem": point.problem or None,
            }
            for point in around.points
        ],
        "latencies_left_out": around.left_out,
        "hosted": [_hosted(each) for each in advice.hosted],
        "notes": notes,
    }


def _month() -> float:
    from autoscaling.optimizer.terms import HOURS_A_MONTH

    return HOURS_A_MONTH


def _plan(plan: "FleetPlan") -> dict[str, Any]:
    return {
        "dollars_month": plan.dollars_month,
        "dollars_per_million_tokens": plan.dollars_per_million,
        "utilisation": plan.utilisation,
        "point_of_utilisation_dollars_year": plan.point_worth_year,
        "gap": plan.gap,
        "pools": [_pool(pool) for pool in plan.pools],
    }


def _pool(pool: "PlannedPool") -> dict[str, Any]:
    return {
        "zone": pool.zone.name,
        "isolation": pool.zone.isolation,
        "tenant": pool.tenant or None,
        "model": pool.engine.model,
        "streams": list(pool.streams),
        "engine": pool.engine.name,
        "gpu": pool.engine.gpu,
        "gpus_per_replica": pool.engine.gpus,
        "ttft_s": pool.point.ttft_s,
        "itl_s": pool.point.itl_s,
        # Of the peak, and of the other hours if they are planned apart.
        "on_demand_replicas": list(pool.on_demand),
        "spot_replicas": list(pool.spot),
        "load_replicas": list(pool.load),
        "dollars_month": pool.dollars_h * _month(),
    }


def _hosted(found: "HostedComparison") -> dict[str, Any]:
    return {
        "model": found.model,
        "streams": list(found.streams),
        "must_stay": list(found.kept),
        "now": _volume(found.now),
        "break_even_tokens_month": found.break_even,
        "curve": [_volume(volume) for volume in found.curve],
    }


def _volume(volume: "Volume") -> dict[str, float]:
    return {"tokens_month": volume.tokens, "own": volume.own, "hosted": volume.hosted}
