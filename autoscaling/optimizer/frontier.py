"""The frontier of cost, latency and isolation, by epsilon-constraints.

Cost is minimised while the other two are held: the step of isolation, and latency as a multiple of
what every stream is promised. The cost changes only at those multiples at which an operating point
becomes fast enough for a stream, so that only those are tried. It never rises as latency is
loosened; where it is the same at both ends of a stretch, it is the same in between, and nothing is
solved there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.errors import Infeasible
from autoscaling.optimizer.candidates import Aim, slowness, takes
from autoscaling.optimizer.fleet_plan import FleetPlan
from autoscaling.optimizer.isolation_steps import STEPS, IsolationStep
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import FleetProfile

MOST_LATENCIES = 9
_LOOSEST = 2.0
_SAME = 1e-5  # of a cost; the gap that the solver leaves is smaller


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """The cheapest fleet at one step of isolation and one latency."""

    step: IsolationStep
    latency: float
    """What every stream's latency limits are multiplied by."""
    dollars_h: float | None
    """Dollars an hour; None if there is no such fleet."""
    problem: str
    """Why there is none; empty if there is one."""
    best: bool
    """Whether no other point is as good in all three and better in one: it is on the frontier."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """All points, by step and latency, and the fleets at the promised latency."""

    points: tuple[FrontierPoint, ...]
    latencies: tuple[float, ...]
    """Those that were tried, tightest first."""
    left_out: int
    """Latencies at which the cost might change too, and that were not tried."""
    as_promised: dict[str, FleetPlan | str]
    """By step's name: the fleet at the latency 1, or why there is none."""


def frontier(
    profile: FleetProfile,
    most_latencies: int = MOST_LATENCIES,
    progress: Callable[[float], None] | None = None,
) -> Frontier:
    """Solves all of it.

    Args:
        profile: What the fleet is for.
        most_latencies: How many latencies to try at most, 3 or more.
        progress: Told the share that is done, from 0 to 1.

    Raises:
        SimulationError: A search came to nothing.
    """
    latencies, left_out = _latencies(profile, most_latencies)
    found: list[FrontierPoint] = []
    as_promised: dict[str, FleetPlan | str] = {}
    for index, step in enumerate(STEPS):
        tried = _Step(profile, step, latencies)
        tried.between(0, len(latencies) - 1)
        as_promised[step.name] = tried.at(latencies.index(1.0))
        for latency, outcome in zip(latencies, tried.outcomes(), strict=True):
            whole = not isinstance(outcome, str)
            found.append(
                FrontierPoint(
                    step,
                    latency,
                    outcome.dollars_h if isinstance(outcome, FleetPlan) else None,
                    "" if whole else str(outcome),
                    best=whole,
                )
            )
        if progress is not None:
            progress((index + 1) / len(STEPS))
    return Frontier(_marked(found), latencies, left_out, as_promised)


class _Step:
    """The latencies of one step of isolation."""

    __slots__ = ("_found", "_latencies", "_profile", "_step")

    def __init__(
        self, profile: FleetProfile, step: IsolationStep, latencies: Sequence[float]
    ) -> None:
        self._profile, self._step, self._latencies = profile, step, latencies
        self._found: dict[int, FleetPlan | str] = {}

    def at(self, index: int) -> FleetPlan | str:
        """The fleet at one latency, or why there is none."""
        if index not in self._found:
            aim = Aim(self._step, self._latencies[index])
            try:
                self._found[index] = cheapest(self._profile, aim)
            except Infeasible as error:
                self._found[index] = str(error)
        return self._found[index]

    def between(self, low: int, high: int) -> None:
        """Solves what lies between two latencies, where it is not the same at both."""
        tight, loose = self.at(low), self.at(high)
        if high - low < 2:
            return
        if isinstance(tight, FleetPlan) and isinstance(loose, FleetPlan):
            if tight.dollars_h - loose.dollars_h <= _SAME * loose.dollars_h:
                for index in range(low + 1, high):
                    self._found[index] = tight
                return
        elif isinstance(loose, str):
            for index in range(low + 1, high):
                self._found[index] = self._found.get(index, tight)
            return
        middle = (low + high) // 2
        self.between(low, middle)
        self.between(middle, high)

    def outcomes(self) -> list[FleetPlan | str]:
        """By latency."""
        return [self._found[index] for index in range(len(self._latencies))]


def _latencies(profile: FleetProfile, most: int) -> tuple[tuple[float, ...], int]:
    """Multiples at which the cost may change, and 1; tightest first, thinned evenly."""
    multiples: set[float] = set()
    fastest = 0.0
    for stream in profile.streams:
        own = [
            slowness(point, stream)
            for engine in profile.engines
            if takes(engine, stream)
            for point in engine.points
        ]
        multiples.update(own)
        fastest = max(fastest, min(own, default=0.0))
    # Below `fastest` some stream has no engine at all.
    usable = sorted({round(each, 9) for each in multiples if fastest <= each <= _LOOSEST} | {1.0})
    if len(usable) <= most:
        return tuple(usable), 0
    promised = usable.index(1.0)
    spread = {round(index * (len(usable) - 1) / (most - 1)) for index in range(most)}
    if promised not in spread:
        inner = spread - {0, len(usable) - 1}
        if inner:
            spread.remove(min(inner, key=lambda each: (abs(each - promised), each)))
        spread.add(promised)
    return tuple(usable[index] for index in sorted(spread)), len(usable) - len(spread)


def _marked(points: Sequence[FrontierPoint]) -> tuple[FrontierPoint, ...]:
    order = {step.name: index for index, step in enumerate(STEPS)}
    axes = {
        index: (point.dollars_h, point.latency, -order[point.step.name])
        for index, point in enumerate(points)
        if point.dollars_h is not None
    }

    def beaten(index: int) -> bool:
        cost, latency, strictness = axes[index]
        assert cost is not None
        for other, (their_cost, their_latency, theirs) in axes.items():
            assert their_cost is not None
            as_good = their_cost <= cost * (1 + _SAME) and their_latency <= latency
            further = (their_latency, theirs) != (latency, strictness) or (
                their_cost < cost * (1 - _SAME)
            )
            if other != index and as_good and theirs <= strictness and further:
                return True
        return False

    return tuple(
        FrontierPoint(
            point.step,
            point.latency,
            point.dollars_h,
            point.problem,
            best=index in axes and not beaten(index),
        )
        for index, point in enumerate(points)
    )
