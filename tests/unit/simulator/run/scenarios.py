"""Small scenarios: a replica that carries two requests a second, and demand that is made up."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.policy import Observation, WithStandby
from autoscaling.simulator.scenario import Scenario
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import ON_DEMAND, Past, Requests, Slo, SpotSupply, Terms

A = Site("spot", "r1", "r1a")
B = Site("spot", "r2", "r2a")
PRICES = {ON_DEMAND: 10.0, A: 4.0, B: 4.0}
PROMPT, OUTPUT = 1000, 100
CAPACITY = Capacity(4000.0, 400.0, True)
"""Two requests a second: half of the time goes to prompts, half to answers."""
MODEL = ServiceModel(
    itl_s=tuple(0.02 + 0.001 * count for count in range(65)),
    prefill_tokens=(1, 8192),
    prefill_s=(0.01, 1.0),
    kv_tokens=200_000,
    chunk_tokens=512,
    most_waiting=32,
)


@dataclass(frozen=True)
class Steady:
    """Requests at random times, at a rate that each window has."""

    rates: tuple[float, ...]
    seed: int = 1
    window_s: float = 600.0

    @property
    def windows(self) -> int:
        return len(self.rates)

    def window(self, index: int) -> Requests:
        random = np.random.Generator(np.random.PCG64([self.seed, index]))
        count = int(random.poisson(self.rates[index] * self.window_s))
        arrival = (index + np.sort(random.random(count))) * self.window_s
        return Requests(arrival, np.full(count, PROMPT, np.int32), np.full(count, OUTPUT, np.int32))


def supply(*counts: tuple[int, int], step_s: float = 60.0) -> SpotSupply:
    """Replicas that nodes of A and B can hold, by step."""
    return SpotSupply(step_s, (A, B), np.array(counts or ((100, 100),), np.int32))


def scenario(
    rates: tuple[float, ...], nodes: SpotSupply | None = None, **other: object
) -> Scenario:
    settings = {"lead_s": 60.0, "first": 1, "most": 40, **other}
    return Scenario(
        workload=Steady(rates),
        begin_s=0.0,
        end_s=600.0 * len(rates),
        model=MODEL,
        capacity=CAPACITY,
        means=(float(PROMPT), float(OUTPUT)),
        slo=Slo(2.0, 0.1),
        supply=nodes or supply(),
        prices=PRICES,
        **settings,  # type: ignore[arg-type]
    )


@dataclass
class Fixed:
    """Asks for the same all the time."""

    wanted: Mapping[Site, int]
    name: str = "fixed"
    seen: list[Observation] = field(default_factory=list)
    terms: Terms | None = None

    def begin(self, terms: Terms, past: Past | None) -> None:
        self.terms = terms

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        self.seen.append(seen)
        return self.wanted


@dataclass
class InTurn(Fixed):
    """Asks for what is wanted and for one more of each in turn, others stand by all the time."""

    standby: Mapping[Site, int] = field(default_factory=dict)
    each_s: float = 100.0

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        self.seen.append(seen)
        more = int(seen.now_s // self.each_s) % 2
        return WithStandby({site: n + more for site, n in self.wanted.items()}, self.standby)
