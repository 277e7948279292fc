"""Forecasts and plans as people and programs read them: words beside numbers, plain data."""

from dataclasses import asdict
from typing import Any

from autoscaling.demand.history import DemandHistory
from autoscaling.demand.terms import Work
from autoscaling.forecast.terms import QUANTILES, Forecast
from autoscaling.group_planner import GroupPlanner, Planned
from autoscaling.plan_terms import Site

HORIZONS_S = (60.0, 300.0, 600.0, 1800.0, 3600.0)
"""Horizons that are shown beside the one that is planned by."""

_COUNTS = ("active", "standby", "starting", "doomed", "reactive", "planned")


def forecast_view(group: GroupPlanner, history: DemandHistory, wall: float) -> dict[str, Any]:
    """What is known and expected of a group's demand.

    Args:
        group: The group.
        history: The demand of all groups.
        wall: Unix time in seconds.
    """
    name = group.settings.name
    recent = history.recent(name, wall)
    view: dict[str, Any] = {
        "recent_tokens_per_s": None if recent is None else _work(recent),
        "backlog_tokens": _work(history.backlog(name, wall)),
        "sides": {},
    }
    if group.last is not None:
        view["lead_time_s"] = round(group.last.situation.lead_s, 1)
        view["lead_time_reason"] = group.last.situation.lead_reason
    for side in group.settings.sides:
        forecaster = group.forecasts.of(side)
        if forecaster is None:
            view["sides"][side] = {"reason": "there has been no demand yet"}
            continue
        latest = None if recent is None else getattr(recent, side)
        found = [forecaster.forecast(wall, horizon, latest) for horizon in HORIZONS_S]
        planned = group.last and getattr(group.last.situation, side)
        view["sides"][side] = {
            "planned_by": _forecast(planned) if planned else None,
            "horizons": [_forecast(each) for each in found if each is not None],
        }
    return view


def plan_view(group: GroupPlanner) -> dict[str, Any]:
    """What is asked for, of what there is, and why.

    Args:
        group: The group.
    """
    view: dict[str, Any] = {
        "running": {
            market.value: {name: getattr(running, name) for name in _COUNTS}
            | {"sites": _sites(running.sites)}
            for market, running in group.running.items()
        }
    }
    if group.last is None:
        return view | {"reason": "nothing has been planned yet"}
    return view | _planned(group.last)


def _planned(planned: Planned) -> dict[str, Any]:
    need, placed = planned.need, planned.placed
    capacity = planned.situation.capacity
    view: dict[str, Any] = {
        "replicas": need.replicas,
        "decided_by": need.binding,
        "reason": need.reason,
        "terms": [asdict(term) for term in need.terms],
        "lead_time_s": round(planned.situation.lead_s, 1),
        "capacity": {
            "prefill_tokens_per_s": round(capacity.prefill_tps, 1),
            "decode_tokens_per_s": round(capacity.decode_tps, 1),
            "measured": capacity.measured,
            "reason": capacity.reason,
        },
        "asks": {name: ask.active for name, ask in planned.asks.items()},
    }
    if placed is not None:
        view["placement"] = {
            "on_demand": placed.on_demand,
            "spot": _sites(placed.spot),
            "filling": placed.filling,
            "probability": round(placed.probability, 4),
            "dollars_an_hour": round(placed.cost, 4),
            "reason": placed.reason,
        }
    return view


def _forecast(forecast: Forecast) -> dict[str, Any]:
    return {
        "horizon_s": round(forecast.horizon_s, 1),
        "tokens_per_s": {
            f"p{quantile * 100:g}": round(value, 2)
            for quantile, value in zip(QUANTILES, forecast.quantiles, strict=True)
        },
        "members": [
            {"name": each.name, "value": round(each.value, 2), "weight": round(each.weight, 3)}
            for each in forecast.members
        ],
        "reason": forecast.reason,
    }


def _work(work: Work) -> dict[str, float]:
    return {"prefill": round(work.prefill, 2), "decode": round(work.decode, 2)}


def _sites(sites: dict[Site, int]) -> dict[str, int]:
    return {
        "/".join(filter(None, (site.market, site.region, site.availability_zone))): count
        for site, count in sites.items()
    }
