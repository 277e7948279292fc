"""The integer program: which streams share a pool, on which engine, with how many replicas where.

Variables, for each candidate pool c (a zone, a tenant or none, an engine, an operating point, and
whether it may have spot replicas, which streams that must not be on spot stay away from):
x[s, c], whether stream s is in it; n[c, market, period], its replicas.

    minimise    the sum of share[period] * price[market] * gpus * n[c, market, period]
    so that     each stream is in one pool
                on-demand + survival * spot >= load of its streams, times the level's headroom
                on-demand >= the part of that load which may not rest on spot
                on-demand + spot >= the fewest replicas of a pool, and what each stream alone takes
                the GPUs of each type and market are enough, and the budget is kept

Choosing GPU types by such a program is Melange's idea (Griggs et al. 2024); pools, operating
points, markets and isolation are added here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from autoscaling.optimizer.candidates import Aim, Candidate, candidates
from autoscaling.optimizer.fleet_plan import FleetPlan
from autoscaling.optimizer.rates import Rates
from autoscaling.optimizer.rows import IntegerProgram
from autoscaling.optimizer.terms import FleetProfile

_ROUNDING = 1e-9  # sums such as 0.1 + 0.2 are no reason for another replica


@dataclass(frozen=True, slots=True)
class Limit:
    """A constraint that could be given up: GPUs of a type in a market, or the budget."""

    gpu: str
    """Name of the type; empty for the budget."""
    market: str
    """`on-demand` or `spot`; empty for the budget."""
    allowed: float
    """GPUs, or dollars an hour."""


class FleetProgram:
    """The program of one profile and aim.

    Args:
        profile: What the fleet is for.
        aim: What is asked of it.
    """

    __slots__ = (
        "_aim",
        "_candidates",
        "_count",
        "_member",
        "_profile",
        "_program",
        "_rates",
        "_there",
    )

    def __init__(self, profile: FleetProfile, aim: Aim) -> None:
        self._profile, self._aim = profile, aim
        self._candidates = candidates(profile, aim)
        self._rates = Rates(profile, aim)
        self._program = IntegerProgram()
        self._member: dict[tuple[int, int], int] = {}
        self._count: dict[tuple[int, str, int], int] = {}
        for index, candidate in enumerate(self._candidates):
            self._variables(index, candidate)
            self._carries(index, candidate)
        for stream in range(len(profile.streams)):
            own = {where: 1.0 for (each, _), where in self._member.items() if each == stream}
            self._program.constrain(own, 1, 1)

    def limits(self) -> tuple[Limit, ...]:
        """What might be given up, in the order of the profile."""
        found = [
            Limit(gpu.name, market, offer.most)
            for gpu in self._profile.gpus
            for market, offer in (("on-demand", gpu.on_demand), ("spot", gpu.spot))
            if offer is not None and offer.most is not None and (self._aim.spot or market != "spot")
        ]
        if self._profile.budget is not None:
            found.append(Limit("", "", self._profile.budget))
        return tuple(found)

    def solve(self) -> FleetPlan | None:
        """The cheapest fleet; None if there is none.

        Raises:
            SimulationError: The search came to nothing.
        """
        for limit in self.limits():
            self._bound(limit, None)
        answer = self._program.solve()
        return None if answer is None else self._plan(answer.values, answer.gap)

    def least_excess(self, loosened: Sequence[Limit]) -> dict[Limit, float] | None:
        """By how much some limits must be passed: as few of them as can be, and those by little.

        Args:
            loosened: Those that may be passed; the others hold.

        Returns:
            GPUs, or dollars an hour, by limit; None if it takes other limits.

        Raises:
            SimulationError: The search came to nothing.
        """
        # Only the excess counts, so that replicas cost nothing here.
        program = self._program
        program.free()
        excess: dict[Limit, int] = {}
        for limit in self.limits():
            if limit not in loosened:
                self._bound(limit, None)
                continue
            most = self._greatest(limit)
            passed = program.variable(1.0, 1)
            over = program.variable(0.5 / max(most, 1), most, integer=bool(limit.gpu))
            program.constrain({over: 1.0, passed: -float(most)}, high=0)
            self._bound(limit, over)
            excess[limit] = over
        answer = program.solve()
        if answer is None:
            return None
        found = {limit: float(answer.values[over]) for limit, over in excess.items()}
        return {limit: value for limit, value in found.items() if value > _ROUNDING}

    def _variables(self, index: int, candidate: Candidate) -> None:
        program, profile = self._program, self._profile
        for stream in candidate.streams:
            self._member[stream, index] = program.variable(0.0, 1)
        for market, price in self._rates.prices(candidate).items():
            for period, share in enumerate(profile.periods):
                cost = share * price * candidate.engine.gpus
                self._count[index, market, period] = program.variable(cost)

    def _carries(self, index: int, candidate: Candidate) -> None:
        gpu = self._rates.gpu(candidate)
        for period in range(len(self._profile.periods)):
            counts = {
                market: self._count[index, market, period]
                for market in self._rates.prices(candidate)
            }
            carried = {counts["on-demand"]: 1.0}
            steady = dict(carried)
            together = dict.fromkeys(counts.values(), 1.0)
            if "spot" in counts:
                carried[counts["spot"]] = gpu.survival
            for stream in candidate.streams:
                load = self._rates.load(stream, candidate, period) * (1 - _ROUNDING)
                member = self._member[stream, index]
                carried[member] = -load
                steady[member] = -load * (1 - self._profile.streams[stream].most_spot)
            self._program.constrain(carried, low=0)
            if "spot" in counts:
                self._program.constrain(steady, low=0)
            for stream in candidate.streams:
                # A stream alone asks for whole replicas: the search ends sooner if that is said.
                load = self._rates.load(stream, candidate, period) * (1 - _ROUNDING)
                least = max(self._profile.least_replicas, ceil(load), 1)
                own = {self._member[stream, index]: -float(least)}
                self._program.constrain(together | own, low=0)

    def _bound(self, limit: Limit, over: int | None) -> None:
        """Holds a limit; with `over`, up to that much more."""
        more = {} if over is None else {over: -1.0}
        if not limit.gpu:
            self._program.constrain(self._costs() | more, high=limit.allowed)
            return
        for period in range(len(self._profile.periods)):
            terms = {
                where: float(self._candidates[index].engine.gpus)
                for (index, market, each), where in self._count.items()
                if (market, each) == (limit.market, period)
                and self._candidates[index].engine.gpu == limit.gpu
            }
            if terms:
                self._program.constrain(terms | more, high=limit.allowed)

    def _greatest(self, limit: Limit) -> int:
        """More than a limit could ever be passed by: all candidates with all of their streams."""
        gpus = dollars = 0.0
        for candidate in self._candidates:
            count = self._rates.most_replicas(candidate) * candidate.engine.gpus
            gpus += count
            dollars += count * sum(self._rates.prices(candidate).values())
        return ceil(gpus if limit.gpu else dollars) + 1

    def _plan(self, values: NDArray[np.float64], gap: float) -> FleetPlan:
        pools = []
        for index, candidate in enumerate(self._candidates):
            inside = [each for each in candidate.streams if values[self._member[each, index]] > 0.5]
            counts = {
                market: tuple(
                    round(values[self._count[index, market, period]])
                    for period in range(len(self._profile.periods))
                )
                for market in self._rates.prices(candidate)
            }
            if inside:
                pools.append(self._rates.pool(candidate, inside, counts))
        return FleetPlan(self._aim, tuple(pools), sum(pool.dollars_h for pool in pools), gap)

    def _costs(self) -> dict[int, float]:
        periods = self._profile.periods
        return {
            where: periods[period]
            * self._rates.prices(self._candidates[index])[market]
            * self._candidates[index].engine.gpus
            for (index, market, period), where in self._count.items()
        }
