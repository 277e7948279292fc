"""Who may decide in a replay, by name."""

from typing import Any

from app.cli.replaying.options import NotReplayable
from app.cli.replaying.scenarios import Case
from app.config.explain import did_you_mean
from autoscaling.simulator.demand.windows import work
from autoscaling.simulator.policy import Policy
from autoscaling.simulator.rivals.registry import NAMES as RIVALS
from autoscaling.simulator.rivals.registry import rivals
from autoscaling.simulator.tidegate import TidegatePolicy

OURS, STATIC = "ours", "static"
NAMES = (OURS, STATIC, *(name for name in RIVALS if name != "static-peak"))
"""What `policy_of` knows."""
_FORESEES = "oracle-"


def check_names(names: tuple[str, ...]) -> None:
    """Refuses policies that are not known.

    Args:
        names: From the command line.

    Raises:
        NotReplayable: There is no such policy; the message has those there are.
    """
    for name in names:
        if name not in NAMES:
            hint = did_you_mean(name, list(NAMES)) or f"there are {', '.join(NAMES)}"
            raise NotReplayable(f"--policy: there is no {name!r}: {hint}")


def policy_of(name: str, case: Case, start: float) -> Policy:
    """A fresh policy.

    Args:
        name: One of `NAMES`.
        case: What it decides on.
        start: Unix time of second 0 of the demand.
    """
    if name == OURS:
        pool = case.pool.name
        return TidegatePolicy(fleet=case.fleet, group=pool, begin_s=start)
    if name == STATIC:
        return rivals("static-peak")
    return rivals(name, **(_foresight(case) if name.startswith(_FORESEES) else {}))


def _foresight(case: Case) -> dict[str, Any]:
    """What oracles know: the work of every step, and where spot nodes will be."""
    scenario = case.scenario
    begin_s, end_s, step_s = scenario.begin_s, scenario.end_s, scenario.step_s
    return {
        "work": work(scenario.workload, begin_s, end_s, step_s, scenario.capacity),
        "step_s": step_s,
        "begin_s": begin_s,
        "supply": scenario.supply,
    }
