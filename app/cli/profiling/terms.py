"""What the search speaks of."""

from dataclasses import dataclass
from enum import StrEnum

from app.cli.profiling.judge import Judgement


class OutOfReach(Exception):
    """The promise is not kept at any load; the message has the numbers."""


class Side(StrEnum):
    """The kind of work that is measured."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Tried:
    """One load in open loop, and what became of it."""

    rate: float
    """Requests a second for each replica."""
    tokens_per_s: float
    """What was offered to each replica: prompt tokens, or output tokens."""
    held: bool
    """Whether the promise was kept."""
    judgement: Judgement
