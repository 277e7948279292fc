"""How capacity follows demand: what is promised, what is forecast, where replicas are placed."""

from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AwareDatetime, Field, field_validator, model_validator

from app.config.types import Count, Flag, Fraction, Seconds, Section, Text

Member = Literal["last_value", "seasonal_naive", "prophet", "ets", "theta"]
MEMBERS: tuple[Member, ...] = ("last_value", "seasonal_naive", "prophet", "ets", "theta")
QUANTILES = (0.5, 0.9, 0.95, 0.99)
"""Of demand, as they are forecast."""
Price = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
"""Dollars an hour."""


class SloConfig(Section):
    """What a pool promises, for the capacity of its replicas to be measured against."""

    ttft_s: Seconds = 2.0
    """Seconds from a request's arrival to its first token (TTFT)."""
    itl_s: Seconds = 0.2
    """Seconds between two tokens of an answer (ITL), on average over the answer."""
    attainment: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.99
    """Share of requests that are to keep to both."""


class CapacityConfig(Section):
    """Work that one replica carries within the pool's `slo`, as `tidegate profile` measures it."""

    prefill_tokens_per_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    """Prompt tokens a second, if it did nothing else."""
    decode_tokens_per_s: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
    """Output tokens a second, if it did nothing else."""


class EventConfig(Section):
    """Something that is known ahead to change demand, such as a launch."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
    """Events of one name are expected to be alike."""
    start: AwareDatetime
    """When it begins, with its zone, such as `2026-12-24T18:00:00+01:00`."""
    end: AwareDatetime
    """When it is over."""
    factor: Annotated[float, Field(strict=True, gt=0, le=1000)] | None = None
    """What demand is multiplied by while it lasts. By default this is learned from earlier events
    of the same name, and 1 where there were none."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("`end` is not after `start`")
        return self


class ForecastConfig(Section):
    """How demand is forecast."""

    enabled: Flag = True
    """Whether it is. Without it replicas follow the work that is there."""
    step_s: Literal[10, 60, 600] = 60
    """Seconds of demand that are one observation."""
    seasons_s: tuple[Seconds, ...] = (86400.0, 604800.0)
    """Periods after which demand repeats, in seconds: a day and a week by default. Days and weeks
    are those of `timezone`, whose days of 23 and 25 hours count as days."""
    timezone: Text = "UTC"
    """Where days and holidays begin, such as `Europe/Berlin`."""
    holidays: Annotated[str, Field(pattern=r"^[A-Z]{2}$")] | None = None
    """Country whose public holidays are known to the forecast, such as `DE`."""
    events: tuple[EventConfig, ...] = Field(default=(), max_length=200)
    """What else is known ahead."""
    members: tuple[Member, ...] = MEMBERS
    """Models that are combined; `last_value` is always among them."""
    quantile: float = 0.9
    """Share of the time that planned capacity is to be enough for."""
    fit_every_s: Seconds = 600.0
    """Seconds between two fits of ETS and Theta."""
    season_fit_every_s: Seconds = 21600.0
    """Seconds between two fits of Prophet."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError(f"{value!r} is not a time zone: write it like UTC or Europe/Berlin")
        return value

    @field_validator("quantile")
    @classmethod
    def _forecast(cls, value: float) -> float:
        if value not in QUANTILES:
            known = ", ".join(map(str, QUANTILES))
            raise ValueError(f"{value} is not forecast: take one of {known}")
        return value

    @field_validator("seasons_s")
    @classmethod
    def _seasons(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) > 4:
            raise ValueError(f"has {len(value)} periods, at most 4 are allowed")
        if len(set(value)) < len(value):
            raise ValueError("names a period twice")
        return tuple(sorted(value))

    @property
    def zone(self) -> ZoneInfo:
        """`timezone` as Python knows it."""
        return ZoneInfo(self.timezone)


class LeadTimeConfig(Section):
    """What a replica is believed to take to be ready until it has been measured."""

    cold_s: Seconds = 300.0
    """With a node to be started and weights to be fetched."""
    cached_s: Seconds = 90.0
    """On a node that is there and has the weights."""
    standby_s: Seconds = 5.0
    """From standby."""


class PriceFeed(StrEnum):
    """Where prices of nodes come from."""

    STATIC = "static"
    AWS = "aws"


class SiteConfig(Section):
    """Nodes of one kind in one availability zone."""

    region: Text
    """Such as `us-west-2`; on nodes the label `ray.io/availability-region`."""
    availability_zone: Text
    """Such as `us-west-2a`; on nodes the label `ray.io/availability-zone`."""
    instance_type: Text | None = None
    """Such as `g6e.12xlarge`: what prices and placement scores are asked for."""
    on_demand_price: Price = 1.0
    """Of one node, where no feed has a newer one."""
    spot_price: Price = 0.4
    """Of one node, where no feed has a newer one."""
    replicas_per_node: Count = 1
    """Replicas that fit on one node; a replica costs that share of it."""
    most_spot_replicas: Count | None = None
    """Most replicas of a pool on its spot nodes; no limit of its own by default."""


class SpotConfig(Section):
    """How many replicas run on spot nodes, and what is done when such a node is taken away."""

    sites: tuple[SiteConfig, ...] = Field(default=(), max_length=64)
    """Where spot nodes can be had. By default one site that is not named, with a spot node at 0.4
    of the price of an on-demand node."""
    epsilon: Annotated[float, Field(strict=True, gt=0, le=0.5)] = 0.2
    """Chance that is taken of having less capacity than the median of demand takes, because spot
    nodes are lost before others are ready. Planned is for a high quantile."""
    over_provision: Fraction = 0.5
    """Most further replicas on spot nodes, as a share of those that are needed, where that is
    cheaper than on-demand."""
    prices: PriceFeed = PriceFeed.STATIC
    """`aws` asks EC2 for spot prices and placement scores; credentials come from where boto3 looks
    for them."""
    endpoint: Text | None = None
    """URL of a service that speaks EC2's API; by default AWS."""
    refresh_s: Seconds = 300.0
    """Seconds between two questions for prices."""
    stale_s: Seconds = 3600.0
    """Seconds without an answer after which the prices in `sites` are taken instead."""
    notices: Flag = True
    """Whether the metadata service of each spot node is asked for notices of preemption."""
    metadata_endpoint: Text = "http://169.254.169.254"
    """Where that service is. `AWS_EC2_METADATA_SERVICE_ENDPOINT` in a node's environment comes
    before it."""
    poll_s: Seconds = 2.0
    """Seconds between two questions for notices."""


class ScalingConfig(Section):
    """How the number of replicas follows the load, and comes before it."""

    target_load: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.5
    """Share of `max_outstanding_tokens` to aim at on each replica."""
    up_delay_s: Annotated[float, Field(strict=True, ge=0)] = 5.0
    """Seconds for which more must be wanted before more are started or woken."""
    down_delay_s: Annotated[float, Field(strict=True, ge=0)] = 600.0
    """Seconds for which fewer must be wanted before any is put on standby or stopped."""
    drain_backlog_s: Seconds = 30.0
    """Seconds in which requests that wait are to be worked off."""
    tick_s: Seconds = 1.0
    """Seconds between two plans."""
    forecast: ForecastConfig = ForecastConfig()
    lead_time: LeadTimeConfig = LeadTimeConfig()
    spot: SpotConfig = SpotConfig()
