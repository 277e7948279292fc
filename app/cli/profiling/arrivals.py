"""When requests are due.

Gaps between arrivals are exponential, but drawn evenly over their distribution and shuffled: rate
and burstiness are then the same in every short measurement, and only the order is left to chance.
"""

import random
from dataclasses import dataclass
from math import log

_WARM_UP = 0.2


@dataclass(frozen=True, slots=True)
class Load:
    """Requests to send; of rates and numbers it names those of one replica."""

    seconds: float
    """How long they are sent for. Those that then run are given up."""
    rate: float = 0.0
    """Requests a second in open loop; 0: `at_once` are kept running instead."""
    at_once: float = 0.0
    """Requests that run from the start; in open loop those that would be there by then."""
    least: int = 0
    """With no rate: it goes on until so many have ended, but not for more than four times `seconds`
    or 5 s, whichever is more."""

    @property
    def since(self) -> float:
        """Seconds after which it counts."""
        return self.seconds * _WARM_UP if self.rate or self.at_once > 1 else 0.0


def arrivals(rate: float, seconds: float, rng: random.Random) -> list[float]:
    """Times at which requests are due, in seconds: a Poisson process, evenly drawn.

    Args:
        rate: requests a second, above 0.
        seconds: how long; at least one request comes.
        rng: what shuffles the gaps.
    """
    count = max(1, round(rate * seconds))
    gaps = [-log(1 - (index + 0.5) / count) for index in range(count)]
    scale = seconds / sum(gaps)
    rng.shuffle(gaps)
    # The first one comes at a random time within its gap.
    now = -gaps[0] * rng.random()
    times = []
    for gap in gaps:
        now += gap
        times.append(now * scale)
    return times


def residents(count: int, output_tokens: int) -> list[int]:
    """What so many answers still have to write at any moment: every length is as likely."""
    return [max(1, round((index + 0.5) * output_tokens / count)) for index in range(count)]
