"""A fleet that carries a profile, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaling.demand.terms import Work
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.terms import HOURS_A_MONTH, HOURS_A_YEAR, Engine, Point, Zone


@dataclass(frozen=True, slots=True)
class PlannedPool:
    """One pool of a fleet. Counts by period: of the peak, and of the rest if there is any."""

    zone: Zone
    """With its level under the aim."""
    tenant: str
    """Whose it is; empty if tenants share it."""
    engine: Engine
    point: Point
    streams: tuple[str, ...]
    """Names of those in it."""
    size_classes: tuple[str, ...]
    """Theirs, each once."""
    on_demand: tuple[int, ...]
    """Replicas."""
    spot: tuple[int, ...]
    """Replicas."""
    load: tuple[float, ...]
    """Replicas that the work asks for, with the headroom of the isolation level."""
    work: Work
    """Tokens a second over all hours."""
    dollars_h: float
    """Dollars an hour, on average over all hours."""
    useful_dollars_h: float
    """Of those, what pays for replicas while they compute; the rest is headroom and idle time."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """The cheapest fleet that was found."""

    aim: Aim
    pools: tuple[PlannedPool, ...]
    dollars_h: float
    """Dollars an hour, on average over all hours."""
    gap: float
    """By which share of its cost a cheaper one might exist that was not found; as good as 0."""

    @property
    def dollars_month(self) -> float:
        """Dollars a month of 730 hours."""
        return self.dollars_h * HOURS_A_MONTH

    @property
    def utilisation(self) -> float:
        """Share of the money that pays for replicas while they compute."""
        useful = sum(pool.useful_dollars_h for pool in self.pools)
        return useful / self.dollars_h if self.dollars_h else 0.0

    @property
    def point_worth_year(self) -> float:
        """Dollars a year that one more point (0.01) of utilisation saves, for the same work.

        The money that pays for computing stays as it is, so that the cost is that divided by the
        utilisation.
        """
        used = self.utilisation
        return self.dollars_h * HOURS_A_YEAR * (1 - used / (used + 0.01))

    @property
    def work(self) -> Work:
        """Tokens a second over all hours."""
        return Work(
            sum(pool.work.prefill for pool in self.pools),
            sum(pool.work.decode for pool in self.pools),
        )

    @property
    def dollars_per_million(self) -> float:
        """Dollars a million tokens, prompts and outputs together; 0 if there are none."""
        tokens = (self.work.prefill + self.work.decode) * 3600
        return self.dollars_h / tokens * 1e6 if tokens else 0.0

    def gpus(self, name: str, market: str) -> int:
        """GPUs of one type at the peak.

        Args:
            name: Of the type.
            market: `on-demand` or `spot`.
        """
        return sum(
            pool.engine.gpus * max(pool.spot if market == "spot" else pool.on_demand)
            for pool in self.pools
            if pool.engine.gpu == name
        )
