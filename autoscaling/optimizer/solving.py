"""The cheapest fleet, or the reason why there is none."""

from __future__ import annotations

from app.errors import Infeasible
from autoscaling.optimizer.candidates import Aim, why_none
from autoscaling.optimizer.fleet_plan import FleetPlan
from autoscaling.optimizer.program import FleetProgram, Limit
from autoscaling.optimizer.terms import HOURS_A_MONTH, FleetProfile


def cheapest(profile: FleetProfile, aim: Aim | None = None) -> FleetPlan:
    """The cheapest fleet that carries a profile.

    Args:
        profile: What the fleet is for.
        aim: What is asked of it beyond that; by default nothing.

    Raises:
        Infeasible: There is none; the message says which constraint cannot be met, by how much,
            and the ways out.
        SimulationError: The search came to nothing.
    """
    aim = aim or Aim()
    reasons = [why_none(profile, stream, aim.latency) for stream in profile.streams]
    if any(reasons):
        raise Infeasible("; ".join(reason for reason in reasons if reason))
    plan = FleetProgram(profile, aim).solve()
    if plan is None:
        raise Infeasible(_why(profile, aim))
    return plan


def _why(profile: FleetProfile, aim: Aim) -> str:
    """Every limit alone that could be raised, or else the fewest that must be raised together."""
    limits = FleetProgram(profile, aim).limits()
    alone = []
    for limit in limits:
        excess = FleetProgram(profile, aim).least_excess((limit,))
        if excess:
            alone.append(_words(limit, excess[limit]))
    if alone:
        many = "Any one of these would be enough: " if len(alone) > 1 else ""
        return f"no fleet keeps to all limits. {many}{'; or '.join(alone)}"
    excess = FleetProgram(profile, aim).least_excess(limits) or {}
    together = "; and ".join(_words(limit, value) for limit, value in excess.items())
    return f"no fleet keeps to all limits, and raising one is not enough: {together}"


def _words(limit: Limit, excess: float) -> str:
    if not limit.gpu:
        allowed, more = limit.allowed * HOURS_A_MONTH, excess * HOURS_A_MONTH
        return (
            f"the cheapest fleet costs ${allowed + more:,.0f} a month, and `budget_per_month` "
            f"allows ${allowed:,.0f}: raise it by ${more:,.0f}"
        )
    where = f"gpus.{limit.gpu}.{limit.market.replace('-', '_')}.most"
    return (
        f"{where} is {limit.allowed:,.0f} and {limit.allowed + excess:,.0f} GPUs are needed: "
        f"raise it by {excess:,.0f}"
    )
