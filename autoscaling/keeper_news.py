"""What the keeper tells whoever looks ahead: what runs, what starts took, what was lost."""

from dataclasses import dataclass, field

from autoscaling.plan_terms import Running, Site


@dataclass(frozen=True, slots=True)
class Start:
    """A replica that has become ready."""

    group: str
    """What routing calls its kind."""
    market: str
    """Where it runs."""
    kind: str
    """`cold`, `cached` (its weights were on the node) or `standby`."""
    seconds: float
    """From the moment it was wanted, the wait for a node included."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A spot node that was taken away."""

    site: Site
    """Where it was."""
    age_s: float
    """How long it had been there, as far as is known."""
    warned: bool
    """Whether there was a notice."""


@dataclass(frozen=True, slots=True)
class Exposed:
    """A spot node that was there for a while."""

    site: Site
    """Where it is."""
    age_s: float
    """How long it had been there at the end of the while, as far as is known."""
    span_s: float
    """How long the while was."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What the active replicas of a group do now."""

    prefill_tps: float
    """Prompt tokens a second of all of them."""
    decode_tps: float
    """Output tokens a second of all of them."""
    replicas: int
    """How many they are."""
    saturated: bool
    """Whether requests wait in the engines of at least half of them."""


@dataclass(frozen=True, slots=True)
class KeeperNews:
    """What has happened since the last ask."""

    running: dict[str, Running] = field(default_factory=dict)
    """By deployment."""
    starts: list[Start] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    exposed: list[Exposed] = field(default_factory=list)
    warned: list[Site] = field(default_factory=list)
    """Where a node was said to be at an elevated risk."""
    work: dict[str, Throughput] = field(default_factory=dict)
    """By group."""
