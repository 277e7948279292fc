"""SkyServe's number of replicas: by the rate of requests, slowly.

Source: SkyPilot, sky/serve/autoscalers.py at 4b81f5d0 (`RequestRateAutoscaler`) and
sky/serve/constants.py at 6c4a9281: requests of the last 60 s over `target_qps_per_replica`,
rounded up; looked at each 20 s; up after 300 s of looks in a row that ask for more, down after
1,200 s of looks in a row that ask for less. It is the last of them that counts, not the greatest.

The rate that a replica carries is for its user to find out. Here it is what the profile says at
the mean lengths.
"""

from __future__ import annotations

from collections import deque

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.parts import Rival, busy, checked_headroom, initial, whole
from autoscaling.simulator.rivals.spot_hedge import SpotHedgePlacer
from autoscaling.simulator.terms import Past, Terms

_WINDOW_S = 60.0
_LOOK_S = 20.0
_EPSILON_S = 1e-6


class SkyServeDemand:
    """Replicas by the rate of requests. Steps are to be 20 s long at most.

    Args:
        headroom: Factor on capacity; 1 for replicas that are as busy as the profile allows.
        upscale_delay_s: Seconds for which more must be asked for.
        downscale_delay_s: Seconds for which less must be asked for.
    """

    __slots__ = (
        "_down",
        "_downs",
        "_each_s",
        "_headroom",
        "_looked_s",
        "_requests",
        "_seen",
        "_target",
        "_terms",
        "_up",
        "_ups",
    )

    def __init__(
        self,
        headroom: float = 1.0,
        upscale_delay_s: float = 300.0,
        downscale_delay_s: float = 1200.0,
    ) -> None:
        self._headroom = checked_headroom(headroom)
        self._ups = int(upscale_delay_s / _LOOK_S)
        self._downs = int(downscale_delay_s / _LOOK_S)
        self._terms: Terms | None = None
        self._each_s = 0.0
        self._seen: deque[tuple[float, int]] = deque()
        self._requests = 0
        self._looked_s = float("-inf")
        self._target = 0
        self._up = 0
        self._down = 0

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes the rate that a replica carries.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._terms = terms
        self._each_s = self._headroom * busy(terms.capacity, terms.mean_prompt, terms.mean_output)
        self._target = initial(terms, past, self._headroom)

    def replicas(self, seen: Observation) -> int:
        """How many there should be.

        Args:
            seen: What is known.
        """
        now = seen.now_s
        self._seen.append((now, seen.requests))
        self._requests += seen.requests
        while self._seen[0][0] <= now - _WINDOW_S + _EPSILON_S:
            self._requests -= self._seen.popleft()[1]
        if now - self._looked_s >= _LOOK_S - _EPSILON_S:
            self._looked_s = now
            self._look()
        return self._target

    def _look(self) -> None:
        terms = self._terms
        assert terms is not None
        wanted = whole(self._requests / _WINDOW_S * self._each_s)
        wanted = min(max(wanted, terms.least), terms.most)
        if self._target == 0:
            self._target = wanted
        elif wanted > self._target:
            self._up += 1
            self._down = 0
            if self._up >= self._ups:
                self._up = 0
                self._target = wanted
        elif wanted < self._target:
            self._down += 1
            self._up = 0
            if self._down >= self._downs:
                self._down = 0
                self._target = wanted
        else:
            self._up = self._down = 0


def skyserve(
    headroom: float = 1.0,
    overprovision: int = 1,
    base_on_demand: int = 0,
    upscale_delay_s: float = 300.0,
    downscale_delay_s: float = 1200.0,
) -> Rival:
    """The policy: SkyServe's target under SpotHedge's placement.

    Args:
        headroom: Factor on capacity.
        overprovision: Spot replicas beyond the target.
        base_on_demand: Replicas that are on demand in any case.
        upscale_delay_s: Seconds for which more must be asked for.
        downscale_delay_s: Seconds for which less must be asked for.
    """
    demand = SkyServeDemand(headroom, upscale_delay_s, downscale_delay_s)
    return Rival("skyserve-like", demand, SpotHedgePlacer(overprovision, base_on_demand))
