"""How an engine would fare under random arrivals for hours, from what a minute has shown.

A promise to 99 of 100 requests is tested by thousands of them; a measurement of seconds has dozens,
and never sees the queue that builds up once in a while. What does not need thousands is the pace of
the engine alone and in a full batch. The time between two tokens with n requests on a replica is
taken as base + growth * n, requests beyond a full batch wait in order, and the wait of a long
random sequence follows. Its answer is an upper bound: the service itself has the last word.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.config.scaling import SloConfig

_REQUESTS = 4000
_STEPS = 9
_SEED = 20


@dataclass(frozen=True, slots=True)
class EngineModel:
    """What was measured of the replicas of a pool, together."""

    replicas: int
    """How many share the load."""
    slots: int
    """Requests that each works on at a time; more wait."""
    length: int
    """Steps of work of a request: the tokens of its answer, or 1 for reading its prompt."""
    base_s: float
    """Seconds that a step takes, whatever the batch; this or `growth_s` is above 0."""
    growth_s: float
    """Seconds that each request in a replica's batch adds to its steps."""
    first_s: float
    """Seconds to the first token when there is nobody else."""

    def in_time(self, rate: float, slo: "SloConfig") -> float:
        """Share of requests that keep the promise.

        Args:
            rate: requests a second in all, above 0.
            slo: what is promised.
        """
        rng = random.Random(_SEED)
        room = self.slots * self.replicas
        waiting: deque[float] = deque()
        # Steps are counted by a clock that runs faster the fewer there are; whoever is first is
        # through first, since all are of one length.
        running: deque[tuple[float, float, float]] = deque()
        now = steps = 0.0
        late = came = 0
        arrives = rng.expovariate(rate)
        while came < _REQUESTS:
            pace = self.base_s + self.growth_s * len(running) / self.replicas
            ends = now + (running[0][0] - steps) * pace if running else float("inf")
            if arrives <= ends:
                steps += (arrives - now) / pace if running else 0.0
                now = arrives
                waiting.append(now)
                arrives += rng.expovariate(rate)
            else:
                steps, now = running[0][0], ends
                _, due, begun = running.popleft()
                gap = (now - begun) / self.length if self.length > 1 else 0.0
                late += begun - due + self.first_s > slo.ttft_s or gap > slo.itl_s
                came += 1
            while waiting and len(running) < room:
                running.append((steps + self.length, waiting.popleft(), now))
        return 1 - late / came

    def most(self, slo: "SloConfig", ceiling: float) -> float:
        """The greatest rate, in requests a second in all, at which the promise is kept.

        Args:
            slo: what is promised.
            ceiling: what a full batch gets through; the rate is below that.
        """
        low, high = 0.0, ceiling
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self.in_time(middle, slo) >= slo.attainment:
                low = middle
            else:
                high = middle
        return low
