"""What gateways say of demand, and how its history is read."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens, or tokens a second, of the two halves of requests."""

    prefill: float = 0.0
    """Of prompts; 0 or more."""
    decode: float = 0.0
    """Of outputs; 0 or more."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What requests came to that arrived some time ago, beyond what was predicted then."""

    age_s: float
    """Seconds since they arrived, 0 or more."""
    work: Work
    """Tokens more than predicted; below 0 where they were fewer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one gateway has seen of one group of replicas in one span of time."""

    requests: int = 0
    """Requests that arrived."""
    arrived: Work = field(default_factory=Work)
    """Tokens that they are predicted to come to."""
    corrections: tuple[Correction, ...] = ()
    """Of requests that ended in this span."""
    backlog: Work = field(default_factory=Work)
    """Tokens of requests that wait for a replica now."""
    answers: int = 0
    """Answers that ended well in this span."""
    late: int = 0
    """Those of them that missed the pool's TTFT or ITL."""


@dataclass(frozen=True, slots=True)
class Message:
    """What one gateway says, about once a second."""

    gateway: str
    """Unique, and never used again by another one."""
    number: int
    """1 for its first message, one more each time. One that comes again is not counted again."""
    span_s: float
    """Seconds since its last message that was answered."""
    groups: dict[str, Sample]
    """By group (a pool's name, or `POOL--prefill`). One that is missing has had no demand."""
    delay_s: float = 0.0
    """Seconds since that span ended; above 0 where the message is sent again. Ages of corrections
    are as of the end of the span."""


@dataclass(frozen=True, slots=True)
class Series:
    """Demand in closed bins of equal length, oldest first."""

    start: float
    """When the first bin begins, Unix time in seconds; a multiple of `step_s`."""
    step_s: float
    """Length of a bin in seconds."""
    values: Values
    """Tokens a second in each bin, 0 or more; NaN where nobody was listening."""

    @property
    def end(self) -> float:
        """When the last bin ends, Unix time in seconds."""
        return self.start + self.step_s * len(self.values)
