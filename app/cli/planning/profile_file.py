"""A demand profile as it is written in YAML: what a fleet is to be planned for."""

from collections.abc import Collection
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from app.config.explain import did_you_mean, explain
from app.config.load import UniqueKeyLoader
from app.config.types import (
    Count,
    Flag,
    Fraction,
    Isolation,
    ModelName,
    PrincipalName,
    Seconds,
    Section,
    ZoneName,
)
from app.errors import ConfigError
from app.routing.size_class import SizeClass

Price = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
Speed = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")]


class ZoneSection(Section):
    """A security classification."""

    isolation: Isolation = Isolation.MEDIUM
    hosted: Flag = True
    """Whether its requests might go to a hosted API at all."""


class OfferSection(Section):
    """GPUs of one type, on demand."""

    price: Price
    """Dollars an hour of one GPU."""
    most: Annotated[int, Field(strict=True, ge=0, le=100_000)] | None = None
    """Most GPUs that can be had; no limit by default."""


class SpotSection(OfferSection):
    """GPUs of one type on spot nodes."""

    survival: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.8
    """Share of the spot replicas that is counted on while lost ones are replaced."""


class GpuSection(Section):
    """One type of GPU."""

    on_demand: OfferSection
    spot: SpotSection | None = None


class PointSection(Section):
    """What one replica carries while it keeps to some latency, as `tidegate profile` prints it."""

    ttft_s: Seconds
    itl_s: Seconds
    prefill_tokens_per_s: Speed
    """Prompt tokens a second, if it did nothing else."""
    decode_tokens_per_s: Speed
    """Output tokens a second, if it did nothing else."""


class EngineSection(Section):
    """One way to run a model."""

    name: Name
    model: ModelName
    gpu: Name
    """Type of GPU; one of `gpus`."""
    gpus: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    """GPUs of one replica."""
    size_classes: tuple[SizeClass, ...] = Field(default=tuple(SizeClass), min_length=1)
    """Lengths of request that it takes; all by default."""
    points: tuple[PointSection, ...] = Field(min_length=1, max_length=16)
    """One or more: the more is batched, the more is carried and the slower it is."""


class RateSection(Section):
    """Tokens a second, and how far they swing."""

    mean: Rate
    """Over all hours."""
    peak: Rate
    """In the hours of the peak."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.peak < self.mean:
            raise ValueError(f"`peak` of {self.peak:g} is below `mean` of {self.mean:g}")
        return self


class DemandSection(Section):
    """Work of one stream in one size class."""

    prompt_tokens_per_s: RateSection
    output_tokens_per_s: RateSection


class StreamSloSection(Section):
    """What is promised to a stream."""

    ttft_s: Seconds = 2.0
    itl_s: Seconds = 0.2


class StreamSection(Section):
    """Requests of one tenant, for one model, in one zone."""

    name: Name
    tenant: PrincipalName
    model: ModelName
    zone: ZoneName
    slo: StreamSloSection = StreamSloSection()
    most_spot: Fraction = 1.0
    """Share of its work that may rest on spot replicas; 0 for what must not."""
    shared: Flag = True
    """Whether it may share a pool with other tenants."""
    may_rise: Flag = False
    """Whether it may be served in a zone above its own, where that is cheaper."""
    sizes: dict[SizeClass, DemandSection] = Field(default={})
    """Its work by size class. Without it `--demand` must tell."""


class HostedSection(Section):
    """What a hosted API asks for a model."""

    prompt: Price
    """Dollars a million prompt tokens."""
    output: Price
    """Dollars a million output tokens."""


class ProfileFile(Section):
    """All that a fleet is planned for."""

    zones: dict[ZoneName, ZoneSection] = Field(min_length=1, max_length=16)
    """Lowest first."""
    gpus: dict[Name, GpuSection] = Field(min_length=1, max_length=16)
    engines: tuple[EngineSection, ...] = Field(min_length=1, max_length=64)
    streams: tuple[StreamSection, ...] = Field(min_length=1, max_length=64)
    peak_hours: Annotated[float, Field(strict=True, gt=0, le=24)] = 24.0
    """Hours a day in which the fleet is as large as the peak asks for. With 24 it always is."""
    least_replicas: Annotated[Count, Field(le=100)] = 1
    """Fewest replicas of a pool."""
    budget_per_month: Price | None = None
    """Most dollars a month of 730 hours; no limit by default."""
    hosted: dict[ModelName, HostedSection] = Field(default={}, max_length=64)
    """Prices of hosted APIs to compare with, by model."""

    @field_validator("engines", "streams")
    @classmethod
    def _unique(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [each.name for each in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two are called {twice!r}; give each a name of its own")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        issues = [*self._unknown(), *self._swings()]
        if issues:
            raise ConfigError(issues)
        return self

    def _unknown(self) -> list[tuple[str, str]]:
        issues: list[tuple[str, str]] = []
        models = {engine.model for engine in self.engines}
        named: list[tuple[str, str, Collection[str]]] = [
            *((f"engines[{i}].gpu", each.gpu, self.gpus) for i, each in enumerate(self.engines)),
            *((f"streams[{i}].zone", each.zone, self.zones) for i, each in enumerate(self.streams)),
            *((f"streams[{i}].model", each.model, models) for i, each in enumerate(self.streams)),
            *((f"hosted.{model}", model, models) for model in self.hosted),
        ]
        for path, name, known in named:
            if name not in known:
                hint = did_you_mean(name, known) or f"there are {', '.join(sorted(known))}"
                issues.append((path, f"there is no {name!r} in this profile: {hint}"))
        return issues

    def _swings(self) -> list[tuple[str, str]]:
        issues = []
        for index, stream in enumerate(self.streams):
            for size, demand in stream.sizes.items():
                for half in ("prompt_tokens_per_s", "output_tokens_per_s"):
                    rate: RateSection = getattr(demand, half)
                    problem = swing(rate.mean, rate.peak, self.peak_hours)
                    if problem:
                        path = f"streams[{index}].sizes.{size.value}.{half}"
                        issues.append((path, problem))
        return issues


def swing(mean: float, peak: float, peak_hours: float) -> str | None:
    """What is wrong with a mean that is less than the hours of the peak alone come to.

    Args:
        mean: Tokens a second over all hours.
        peak: Tokens a second in the hours of the peak.
        peak_hours: How many those are in a day.
    """
    share = peak_hours / 24
    if share >= 1 or mean >= share * peak * (1 - 1e-9):
        return None
    return (
        f"{peak_hours:g} hours a day at the peak of {peak:g} tokens/s are a mean of "
        f"{share * peak:g} by themselves, but the mean is {mean:g}; lower `peak_hours` or the peak"
    )


def parse_profile(text: str | bytes) -> ProfileFile:
    """Validates a profile.

    Args:
        text: YAML.

    Raises:
        ConfigError: It is not valid; carries every mistake that could be found.
    """
    try:
        document = yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "the file"
        raise ConfigError([(where, error.problem or "is not YAML")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([("the file", f"is not YAML: {error}")]) from None
    if not isinstance(document, dict):
        raise ConfigError([("the file", "is not a mapping: see examples/fleet-profile.yaml")])
    try:
        return ProfileFile.model_validate(document)
    except ValidationError as error:
        raise ConfigError(explain(error, ProfileFile)) from None
