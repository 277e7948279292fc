"""Engines whose capacity is known to the test and hidden from what is tested."""

import math
import random
from collections import deque
from dataclasses import dataclass

from autoscaling.capacity import CapacityModel
from autoscaling.demand.terms import Work

ATTAINMENT = 0.99


@dataclass(frozen=True)
class Hidden:
    """What one replica carries within its promise: one answer in a hundred is late there."""

    prefill: float
    decode: float
    physical: float = 1.3
    """The most that it computes at all, as a share of what it carries."""

    def load(self, work: Work) -> float:
        return work.prefill / self.prefill + work.decode / self.decode

    def work(self, load: float, mix: float) -> Work:
        """So much load, of which a share `mix` is prompts."""
        return Work(self.prefill * load * mix, self.decode * load * (1 - mix))


class Engines:
    """Some replicas, a second at a time, seen by a model."""

    def __init__(self, hidden: Hidden, model: CapacityModel, seed: int, replicas: int = 5) -> None:
        self.hidden, self.model, self.replicas = hidden, model, replicas
        self.random = random.Random(seed)
        self.wall = 1e9
        self.waiting = 0.0
        self.lately: deque[float] = deque(maxlen=10)

    def second(self, work: Work, answers_a_second: float = 2.0) -> None:
        """A second with this work arriving for each replica on average."""
        noise = self.random.uniform(0.8, 1.2)
        offered = self.hidden.load(work) * noise + self.waiting
        done = min(offered, self.hidden.physical)
        self.waiting = min(offered - done, 60.0)
        self.lately.append(done + self.waiting)
        share = done / self.hidden.load(work) if self.hidden.load(work) else 0.0
        late = self.lateness(sum(self.lately) / len(self.lately))
        count = self.poisson(answers_a_second * self.replicas)
        self.wall += 1.0
        self.model.observe(
            work.prefill * share * self.replicas,
            work.decode * share * self.replicas,
            self.replicas,
            count,
            sum(self.random.random() < late for _ in range(count)),
            ATTAINMENT,
            self.waiting > 0,
            self.wall,
        )

    @staticmethod
    def lateness(load: float) -> float:
        """1% at the promise, half of them 12% beyond it, next to none 10% below."""
        return 1 / (1 + math.exp(-(load - 1.12) * math.log(99) / 0.12))

    def poisson(self, mean: float) -> int:
        return max(0, round(self.random.gauss(mean, math.sqrt(mean))))
