"""What came of a simulated span."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Latency:
    """Quantiles of a latency over requests, in seconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Day:
    """One day of the span, from its beginning on: requests count where they end."""

    requests: int
    """That arrived."""
    finished: int
    met: int
    """Those that kept to the SLO."""
    tokens: int
    """Prompt and output tokens of the finished ones."""
    cost: float
    """Dollars."""
    shortfall_s: float
    cold_waits: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """All of it. Times are seconds of the workload."""

    policy: str
    begin_s: float
    end_s: float
    requests: int
    """That arrived. Each of them is finished, refused or lost."""
    finished: int
    refused: int
    """That were not taken: too long, or too many waited."""
    lost: int
    """That waited too long for a replica, or lost theirs too often."""
    retried: int
    """Times that a request was sent to another replica, since its own had gone."""
    met: int
    """That kept to the SLO."""
    prompt_tokens: int
    """Of finished requests."""
    output_tokens: int
    """Of finished requests."""
    ttft: Latency
    itl: Latency
    """Of requests' averages."""
    cost: Mapping[str, float]
    """Dollars, by site."""
    replica_s: Mapping[str, float]
    """Seconds for which nodes were paid, by site: the integral of what ran."""
    ready_s: Mapping[str, float]
    """Of those, seconds in which a replica could take requests."""
    preemptions: int
    """Nodes that were taken away with a replica on them."""
    lost_to_preemption: int
    """Requests that were lost because their replica had been taken away once too often."""
    retried_by_preemption: int
    """Of `retried`, those whose node was taken away."""
    shortfall_s: float
    """Seconds with fewer replicas ready than the work of the last minute keeps busy."""
    scale_events: int
    """Changes of the number of replicas that the policy asked for."""
    reversals: int
    """Those of them that undid a change of the other direction within 15 minutes."""
    cold_waits: int
    """Requests that found no room while a replica was missing or starting."""
    days: tuple[Day, ...]
    series: Mapping[str, tuple[float, ...]]
    """Each ten minutes: `at_s`, `needed` (replicas that the work keeps busy), `on_demand` and
    `spot` (ready), `starting`, `queued` (requests)."""

    @property
    def attainment(self) -> float:
        """Share of requests that kept to the SLO; 1 if there were none."""
        return self.met / self.requests if self.requests else 1.0

    @property
    def dollars(self) -> float:
        """What all of it cost."""
        return sum(self.cost.values())

    @property
    def tokens(self) -> int:
        """Prompt and output tokens of finished requests."""
        return self.prompt_tokens + self.output_tokens

    @property
    def cost_per_million(self) -> float:
        """Dollars a million tokens; infinite if none were served."""
        return self.dollars / self.tokens * 1e6 if self.tokens else float("inf")

    @property
    def replica_hours(self) -> float:
        """Hours of replicas that were paid."""
        return sum(self.replica_s.values()) / 3600

    @property
    def spot_share(self) -> float:
        """Share of the paid time that was on spot nodes."""
        paid = sum(self.replica_s.values())
        spot = sum(each for site, each in self.replica_s.items() if site != "on-demand")
        return spot / paid if paid else 0.0

    @property
    def cold_wait_share(self) -> float:
        """Share of requests that waited for a cold start."""
        return self.cold_waits / self.requests if self.requests else 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """From what `to_json` gave.

        Args:
            data: Plain data.

        Raises:
            ValueError: It is something else.
        """
        try:
            parts = dict(data)
            parts["ttft"], parts["itl"] = Latency(**parts["ttft"]), Latency(**parts["itl"])
            parts["days"] = tuple(Day(**day) for day in parts["days"])
            parts["series"] = {name: tuple(each) for name, each in parts["series"].items()}
            return cls(**parts)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no outcome: {error!r}") from None
