"""What a plan, its frontier and its alternatives say together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.errors import Infeasible
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.fleet_plan import FleetPlan
from autoscaling.optimizer.frontier import MOST_LATENCIES, Frontier, frontier
from autoscaling.optimizer.hosted import HostedComparison, compare_hosted
from autoscaling.optimizer.isolation_steps import STEPS, IsolationStep
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import FleetProfile


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step of isolation costs at the promised latency."""

    step: IsolationStep
    plan: FleetPlan | None
    """None if no fleet can have it."""
    more: float | None
    """Dollars a month beyond the step before; None where one of the two is not to be had."""
    problem: str = ""
    """Why there is no plan."""


@dataclass(frozen=True, slots=True)
class Advice:
    """All that is said to who plans a fleet."""

    plan: FleetPlan
    """The cheapest fleet as asked."""
    on_demand: FleetPlan | str
    """The same without spot nodes, or why there is none."""
    frontier: Frontier
    steps: tuple[StepCost, ...]
    """Weakest first."""
    hosted: tuple[HostedComparison, ...]


def advise(
    profile: FleetProfile,
    most_latencies: int = MOST_LATENCIES,
    progress: Callable[[str, float], None] | None = None,
) -> Advice:
    """Plans a fleet and what lies around it.

    Args:
        profile: What the fleet is for.
        most_latencies: How many latencies the frontier tries at most.
        progress: Told what is being done, and which share of it is done.

    Raises:
        Infeasible: There is no fleet as asked; the message says why.
        SimulationError: A search came to nothing.
    """

    def telling(what: str) -> Callable[[float], None]:
        def tell(share: float) -> None:
            if progress is not None:
                progress(what, share)

        tell(0.0)
        return tell

    telling("the cheapest fleet")
    plan = cheapest(profile)
    try:
        on_demand: FleetPlan | str = cheapest(profile, Aim(spot=False))
    except Infeasible as error:
        on_demand = str(error)
    around = frontier(profile, most_latencies, telling("cost, latency and isolation"))
    hosted = compare_hosted(profile, telling("hosted APIs"))
    return Advice(plan, on_demand, around, step_costs(around), hosted)


def step_costs(around: Frontier) -> tuple[StepCost, ...]:
    """What each step of isolation costs beyond the one before.

    Args:
        around: A frontier.
    """
    costs: list[StepCost] = []
    for step in STEPS:
        found = around.as_promised[step.name]
        if isinstance(found, str):
            costs.append(StepCost(step, None, None, found))
            continue
        before = costs[-1].plan if costs else None
        more = None if before is None else found.dollars_month - before.dollars_month
        costs.append(StepCost(step, found, more))
    return tuple(costs)
