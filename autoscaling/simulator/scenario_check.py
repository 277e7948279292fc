"""What makes no sense about a scenario."""

from __future__ import annotations

from app.errors import SimulationError
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.terms import ON_DEMAND


def check(s: Scenario) -> None:
    """Refuses a scenario that makes no sense.

    Args:
        s: It.

    Raises:
        SimulationError: The message names the field, its limits and the way out.
    """
    window_s = s.workload.window_s
    for name in ("lead_s", "lead_spread", "wake_s", "notice_s", "stop_s"):
        if not 0 <= getattr(s, name) < float("inf"):
            raise SimulationError(f"{name} must be 0 or more seconds, not {getattr(s, name)}")
    for name in ("step_s", "patience_s"):
        if not 0 < getattr(s, name) < float("inf"):
            raise SimulationError(f"{name} must be above 0 seconds, not {getattr(s, name)}")
    if window_s % s.step_s:
        raise SimulationError(f"step_s is {s.step_s:g}: {window_s:g} s must be a multiple of it")
    if s.begin_s % window_s or s.begin_s < 0:
        raise SimulationError(
            f"begin_s is {s.begin_s:g}: it must be a multiple of {window_s:g} s, 0 or more"
        )
    last_s = window_s * s.workload.windows
    if not s.begin_s < s.end_s <= last_s:
        raise SimulationError(
            f"end_s is {s.end_s:g}: it must be after begin_s ({s.begin_s:g}) and at most "
            f"{last_s:g}, where the demand ends"
        )
    if not 0 <= s.least <= s.most or s.most < 1 or not 0 <= s.first <= s.most:
        raise SimulationError(
            f"least, first and most are {s.least}, {s.first} and {s.most}: least and first must "
            "be from 0 to most, and most at least 1"
        )
    missing = [site for site in (ON_DEMAND, *s.supply.sites) if site not in s.prices]
    if missing:
        raise SimulationError(f"prices has none for {', '.join(map(str, missing))}")
    for site, price in s.prices.items():
        if not 0 <= price < float("inf"):
            raise SimulationError(f"the price of {site} is {price}: it must be 0 or more dollars")
