"""What the planner is told of a group of replicas, and what it answers."""

from dataclasses import dataclass, field
from typing import NamedTuple

from autoscaling.demand.terms import Work
from autoscaling.forecast.terms import Forecast


@dataclass(frozen=True, slots=True)
class Capacity:
    """Work that one replica carries within the pool's TTFT and ITL."""

    prefill_tps: float
    """Prompt tokens a second if it did nothing else; above 0."""
    decode_tps: float
    """Output tokens a second if it did nothing else; above 0."""
    measured: bool
    """Whether it comes from a profile or from what was seen. What does not is not planned by."""
    reason: str = ""
    """Where it comes from, in a few words."""


class Site(NamedTuple):
    """Nodes of one market in one availability zone; empty names where there is only one."""

    market: str
    """`on-demand` or `spot`."""
    region: str = ""
    """Such as `us-west-2`."""
    availability_zone: str = ""
    """Such as `us-west-2a`."""


@dataclass(frozen=True, slots=True)
class Running:
    """Replicas of one deployment as the keeper knows them."""

    active: int = 0
    """That take requests, on nodes that stay."""
    standby: int = 0
    """On standby or waking."""
    starting: int = 0
    """Planned and not heard of yet."""
    doomed: int = 0
    """On nodes that have been told to go; not among `active`."""
    reactive: int = 0
    """Active replicas that the work outstanding asks for by itself."""
    planned: int = 0
    """The target that stands."""
    sites: dict[Site, int] = field(default_factory=dict)
    """Active, waking and standby replicas by where they run, without the doomed ones."""
    ages: dict[Site, tuple[float, ...]] = field(default_factory=dict)
    """Seconds that each of those has been ready: its node is at least as old."""
    coming: dict[Site, int] = field(default_factory=dict)
    """Of `starting`, those that have their node already, by where it is."""


@dataclass(frozen=True, slots=True)
class Situation:
    """All that one group's need follows from, at one time."""

    lead_s: float
    """Seconds that a replica takes to be ready: the horizon."""
    lead_reason: str
    """Where that comes from, in a few words."""
    prefill: Forecast | None
    """Greatest demand of prompt tokens a second within the lead time; None without a forecast."""
    decode: Forecast | None
    """The same of output tokens."""
    recent: Work | None
    """Tokens a second that arrived lately; None if nobody has said (metrics are lost)."""
    backlog: Work
    """Tokens that wait for a replica."""
    capacity: Capacity
    """Of one replica."""
    reactive: int
    """Replicas that the work outstanding asks for."""
    ready: int
    """Active replicas."""
    least: int
    """Fewest replicas, from the configuration."""
    most: int
    """Most replicas, from the configuration."""
    no_forecast: str = ""
    """Why there is no forecast, in a few words, where there is none."""
    standby: int = 0
    """Replicas that are kept on standby beside the active ones."""
    standby_lead_s: float = 0.0
    """Seconds that one of those takes to be active."""
    near_prefill: Forecast | None = None
    """As `prefill`, within `standby_lead_s`; None where nothing is kept on standby."""
    near_decode: Forecast | None = None
    """As `decode`, within `standby_lead_s`."""


@dataclass(frozen=True, slots=True)
class Term:
    """One of the numbers that a need is the largest of."""

    name: str
    """`forecast`, `backlog`, `reactive`, `minimum` or `held`."""
    replicas: int
    """Replicas that it asks for."""
    detail: str
    """How it comes about, in words and numbers."""


@dataclass(frozen=True, slots=True)
class Need:
    """How many replicas a group needs."""

    replicas: int
    """From `least` to `most`."""
    binding: str
    """Name of the term that decided; `most` where it asked for more than is allowed."""
    terms: tuple[Term, ...]
    """All of them."""
    reason: str
    """Why, in words and numbers, for people."""
    sure: int = 0
    """Of `replicas`, those that the median of demand takes: they are to be there even where spot
    nodes are lost."""


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a group's replicas should run."""

    on_demand: int
    """Active replicas on on-demand nodes, those that stand in for missing spot ones included."""
    spot: dict[Site, int]
    """Replicas by spot site."""
    filling: int
    """Of `on_demand`, those that stand in until spot replicas are ready."""
    probability: float
    """P(capacity >= what has to be sure, over the lead time), by the survival model."""
    cost: float
    """Dollars an hour, without `filling`."""
    reason: str
    """Why, in words and numbers."""


@dataclass(frozen=True, slots=True)
class Ask:
    """How many replicas of a deployment should be active, by plan."""

    active: int
    """Replicas, 0 or more; the keeper adds what it sees itself."""
    reason: str = ""
    """Why, in words and numbers."""
