"""What a candidate pool carries and costs under one profile and aim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

from autoscaling.demand.terms import Work
from autoscaling.optimizer.candidates import Aim, Candidate
from autoscaling.optimizer.fleet_plan import PlannedPool
from autoscaling.optimizer.terms import FleetProfile, Gpu


class Rates:
    """Loads and prices.

    Args:
        profile: What the fleet is for.
        aim: What is asked of it.
    """

    __slots__ = ("_aim", "_profile")

    def __init__(self, profile: FleetProfile, aim: Aim) -> None:
        self._profile, self._aim = profile, aim

    def gpu(self, candidate: Candidate) -> Gpu:
        """The type that a candidate runs on."""
        return self._profile.gpu(candidate.engine.gpu)

    def prices(self, candidate: Candidate) -> dict[str, float]:
        """Dollars an hour of one GPU, by market that may be used."""
        gpu = self.gpu(candidate)
        prices = {"on-demand": gpu.on_demand.price}
        if gpu.spot is not None and self._aim.spot and candidate.spot:
            prices["spot"] = gpu.spot.price
        return prices

    def load(self, stream: int, candidate: Candidate, period: int) -> float:
        """Replicas that a stream asks for in one period, with the headroom of the level.

        Args:
            stream: Its place in the profile.
            candidate: Where it would be.
            period: 0 for the peak, 1 for the rest.
        """
        work = self._profile.work(self._profile.streams[stream], period)
        return candidate.point.replicas(work) * self._profile.headroom[candidate.zone.isolation]

    def most_replicas(self, candidate: Candidate) -> float:
        """More than a pool with all its streams would ever have in one market."""
        loads = (
            sum(self.load(stream, candidate, period) for stream in candidate.streams)
            for period in range(len(self._profile.periods))
        )
        survival = self.gpu(candidate).survival
        return float(ceil(max(loads) / survival) + self._profile.least_replicas + 1)

    def pool(
        self,
        candidate: Candidate,
        streams: Sequence[int],
        counts: Mapping[str, tuple[int, ...]],
    ) -> PlannedPool:
        """A candidate as part of a fleet.

        Args:
            candidate: Which.
            streams: Those in it.
            counts: Replicas by market and period.
        """
        profile = self._profile
        spent = paid = 0.0
        for market, price in self.prices(candidate).items():
            for share, count in zip(profile.periods, counts[market], strict=True):
                spent += share * count * candidate.engine.gpus * price
                paid += share * count
        means = [profile.streams[each].mean for each in streams]
        work = Work(sum(each.prefill for each in means), sum(each.decode for each in means))
        busy = candidate.point.replicas(work)
        return PlannedPool(
            zone=candidate.zone,
            tenant=candidate.tenant,
            engine=candidate.engine,
            point=candidate.point,
            streams=tuple(profile.streams[each].name for each in streams),
            size_classes=tuple(dict.fromkeys(profile.streams[each].size_class for each in streams)),
            on_demand=counts["on-demand"],
            spot=counts.get("spot", (0,) * len(profile.periods)),
            load=tuple(
                sum(self.load(each, candidate, period) for each in streams)
                for period in range(len(profile.periods))
            ),
            work=work,
            dollars_h=spent,
            useful_dollars_h=busy * spent / paid if paid else 0.0,
        )
