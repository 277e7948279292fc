"""What a fleet is planned for: demand, GPUs, engines and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autoscaling.demand.terms import Work

HOURS_A_MONTH = 730.0
HOURS_A_YEAR = 8760.0
LEVELS = ("medium", "high", "maximum")
"""Isolation levels, weakest first."""


@dataclass(frozen=True, slots=True)
class Offer:
    """GPUs of one type in one market."""

    price: float
    """Dollars an hour of one GPU."""
    most: int | None = None
    """Most GPUs that can be had; None for no limit."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One type of GPU."""

    name: str
    on_demand: Offer
    spot: Offer | None = None
    """None where there is none."""
    survival: float = 1.0
    """Share of spot replicas that are counted on, above 0, at most 1."""


@dataclass(frozen=True, slots=True)
class Point:
    """What one replica carries while it keeps to some latency."""

    ttft_s: float
    """Seconds to the first token."""
    itl_s: float
    """Seconds between two tokens."""
    prefill_tps: float
    """Prompt tokens a second, if it did nothing else."""
    decode_tps: float
    """Output tokens a second, if it did nothing else."""

    def replicas(self, work: Work) -> float:
        """Replicas that some work keeps busy: the two halves share their time.

        Args:
            work: Tokens a second.
        """
        return work.prefill / self.prefill_tps + work.decode / self.decode_tps


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to run a model on GPUs of one type."""

    name: str
    model: str
    gpu: str
    """Name of the type."""
    gpus: int
    """GPUs of one replica."""
    size_classes: tuple[str, ...]
    """Lengths of request that it takes."""
    points: tuple[Point, ...]
    """Operating points: the more is batched, the more is carried and the slower it is."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A security classification."""

    name: str
    isolation: str
    """Its level: one of `LEVELS`."""
    hosted: bool = True
    """Whether its requests might go to somebody else's API."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one tenant, model, zone and size class. They are not divided between pools."""

    name: str
    tenant: str
    model: str
    zone: str
    size_class: str
    peak: Work
    """Tokens a second in the hours of the peak."""
    mean: Work
    """Tokens a second over all hours."""
    ttft_s: float
    """Seconds to the first token, at most."""
    itl_s: float
    """Seconds between two tokens, at most."""
    most_spot: float = 1.0
    """Share of its work that may rest on spot replicas, from 0 to 1."""
    shared: bool = True
    """Whether it may share a pool with other tenants."""
    may_rise: bool = False
    """Whether it may be served in a zone above its own."""


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What a hosted API asks for."""

    prompt: float
    """Dollars a million prompt tokens."""
    output: float
    """Dollars a million output tokens."""

    def dollars(self, work: Work) -> float:
        """Dollars an hour.

        Args:
            work: Tokens a second.
        """
        return (work.prefill * self.prompt + work.decode * self.output) * 3600 / 1e6


@dataclass(frozen=True, slots=True)
class FleetProfile:
    """All of it. Names are unique, and those that are referred to are there."""

    zones: tuple[Zone, ...]
    """Lowest first."""
    gpus: tuple[Gpu, ...]
    engines: tuple[Engine, ...]
    streams: tuple[Stream, ...]
    headroom: Mapping[str, float]
    """How many times its work a pool must be able to carry, by isolation level."""
    peak_share: float = 1.0
    """Share of all hours in which the fleet is as large as its peak asks for, above 0, at most 1;
    in the rest it is what the rest asks for. The peaks of all streams fall together."""
    least_replicas: int = 1
    """Fewest replicas of a pool."""
    budget: float | None = None
    """Most dollars an hour, on average; None for no limit."""
    hosted: Mapping[str, TokenPrice] = field(default_factory=dict)
    """Prices of hosted APIs, by model."""

    @property
    def periods(self) -> tuple[float, ...]:
        """Share of all hours of the peak, and of the rest if there is any."""
        return (1.0,) if self.peak_share >= 1 else (self.peak_share, 1 - self.peak_share)

    def work(self, stream: Stream, period: int) -> Work:
        """Tokens a second of a stream in one of the periods.

        Args:
            stream: Which.
            period: 0 for the peak, 1 for the rest, which is taken to be level.
        """
        if period == 0:
            return stream.peak
        share = self.peak_share
        return Work(
            max(0.0, (stream.mean.prefill - share * stream.peak.prefill) / (1 - share)),
            max(0.0, (stream.mean.decode - share * stream.peak.decode) / (1 - share)),
        )

    def gpu(self, name: str) -> Gpu:
        """The type of that name.

        Args:
            name: Of a type that is in the profile.
        """
        return next(gpu for gpu in self.gpus if gpu.name == name)
