"""How many of the spot replicas that run can be relied on, by their real ages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoscaling.placement.aiming import RECHECK_S
from autoscaling.placement.distribution import held, survivors
from autoscaling.placement.fates import fates, rounded
from autoscaling.placement.survival import SPOT, SurvivalModel
from autoscaling.plan_terms import Site


@dataclass(frozen=True, slots=True)
class Counted:
    """What can be relied on of the spot replicas that run."""

    inputs: tuple[object, ...]
    """What was counted."""
    until: float
    """Monotonic time up to which it stands without another look."""
    ready: int
    """Spot replicas that run."""
    relied: int
    """How many of them are left over the lead time with the chance that was promised."""


class Counting:
    """Remembers the last count of one group.

    Args:
        chance: With which as many must be left; below 1.
    """

    __slots__ = ("_chance", "_last")

    def __init__(self, chance: float) -> None:
        self._chance = chance
        self._last: Counted | None = None

    def count(
        self,
        planned: int,
        running: Mapping[Site, int],
        ages: Mapping[Site, Sequence[float]],
        survival: SurvivalModel,
        lead_s: float,
        now: float,
        wall: float,
    ) -> Counted:
        """Looks at the spot replicas that run, as many as are to stay: Serve stops the newest.

        Args:
            planned: Spot replicas that are to stay.
            running: Replicas that are ready, by where they run.
            ages: Seconds since the node of each of them came up.
            survival: What is known of the risks of spot nodes.
            lead_s: Seconds that a replica takes to be ready.
            now: Monotonic time in seconds.
            wall: Unix time in seconds.
        """
        known = [
            (rounded(age), site)
            for site, count in running.items()
            if site.market == SPOT
            for age in _of_each(ages.get(site, ()), count)
        ]
        known = sorted(known, reverse=True)[:planned]
        inputs = (tuple(known), lead_s)
        last = self._last
        if last is not None and last.inputs == inputs and now < last.until:
            return last
        by_site: dict[Site, list[float]] = {}
        for age, site in known:
            by_site.setdefault(site, []).append(age)
        there = survivors(fates(by_site, survival, lead_s, wall))
        relied = held(there, self._chance)
        self._last = Counted(inputs, now + RECHECK_S, len(known), relied)
        return self._last


def _of_each(ages: Sequence[float], count: int) -> list[float]:
    """An age for each replica, the oldest first."""
    known = sorted((age for age in ages if age >= 0), reverse=True)[:count]
    return known + [0.0] * (count - len(known))
