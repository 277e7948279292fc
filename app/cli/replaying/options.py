"""What the command line says beside the configuration."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BIN_S = 60.0
"""Demand is cut into windows of so many seconds; a replay begins with one."""


class NotReplayable(Exception):
    """What is asked for cannot be simulated; the message says why, and the way out."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is simulated, and how."""

    policies: tuple[str, ...] = ("ours", "static")
    """Who decides on replicas, each in a run of its own."""
    pools: tuple[str, ...] = ()
    """The pools that are replayed; all that get a request where it is empty."""
    lead_s: float | None = None
    """Seconds from the start of a replica to its readiness; None for the configuration's."""
    notice_s: float = 120.0
    """Seconds from the notice of a preemption to the loss of the node."""
    seed: int = 1
    """Of everything random."""
    most: int | None = None
    """Most replicas of a pool in each of its markets; None for the configuration's."""
    learn_s: float = 0.0
    """How much of the demand's beginning policies know beforehand; the rest is replayed."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Dollars an hour of a node, by `on-demand`, `spot` or an availability zone, in place of the
    configuration's."""
