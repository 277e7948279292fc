"""Where a hosted API would be cheaper than engines of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from autoscaling.demand.terms import Work
from autoscaling.optimizer.fleet_plan import FleetPlan
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import HOURS_A_MONTH, FleetProfile, Offer, Stream, TokenPrice

_SCALES = tuple(2.0**power for power in range(-8, 5))
_RESOLUTION = 1.01


@dataclass(frozen=True, slots=True)
class Volume:
    """Both costs at one volume of tokens."""

    tokens: float
    """Prompt and output tokens a month."""
    own: float
    """Dollars a month of the cheapest fleet."""
    hosted: float
    """Dollars a month of the API."""


@dataclass(frozen=True, slots=True)
class HostedComparison:
    """One model, for the streams whose zone might send them to somebody else."""

    model: str
    streams: tuple[str, ...]
    """Those streams."""
    kept: tuple[str, ...]
    """Streams of the model that must stay, whatever it costs."""
    now: Volume
    """At the demand of the profile."""
    break_even: float | None
    """Tokens a month from which on one's own fleet is never dearer (by more than 1%), up to the
    greatest volume; None if it is dearer there, 0 if it is nowhere dearer."""
    curve: tuple[Volume, ...]
    """Ascending."""


def compare_hosted(
    profile: FleetProfile, progress: Callable[[float], None] | None = None
) -> tuple[HostedComparison, ...]:
    """Sets each model that has a price of an API against a fleet of its own.

    Demand is scaled as a whole, from 1/256 to 16 times the profile, with its mix of streams as it
    is. Limits on GPUs and the budget are lifted, since they are of today.

    Args:
        profile: What the fleet is for.
        progress: Told the share that is done, from 0 to 1.

    Raises:
        Infeasible: A stream has no engine that is fast enough.
        SimulationError: A search came to nothing.
    """
    may_leave = {zone.name for zone in profile.zones if zone.hosted}
    found = []
    for index, (model, price) in enumerate(profile.hosted.items()):
        streams = [stream for stream in profile.streams if stream.model == model]
        leaving = [stream for stream in streams if stream.zone in may_leave]
        alone = _lifted(profile, leaving)
        total = sum(_tokens(stream.mean) for stream in leaving)
        if total > 0:
            kept = tuple(stream.name for stream in streams if stream not in leaving)
            found.append(_compared(alone, model, price, kept))
        if progress is not None:
            progress((index + 1) / len(profile.hosted))
    return tuple(found)


def _compared(
    profile: FleetProfile, model: str, price: TokenPrice, kept: tuple[str, ...]
) -> HostedComparison:
    curve = _Curve(profile, price)
    for scale in _SCALES:
        curve.at(scale)
    lowest, highest = _SCALES[0], _SCALES[-1]
    break_even: float | None = None
    if not curve.dearer(highest):
        last = curve.last_dearer(lowest, highest)
        break_even = 0.0 if last is None else curve.at(last).tokens
    return HostedComparison(
        model=model,
        streams=tuple(stream.name for stream in profile.streams),
        kept=kept,
        now=curve.at(1.0),
        break_even=break_even,
        curve=curve.volumes(),
    )


class _Curve:
    """Both costs by how much the demand is scaled."""

    __slots__ = ("_found", "_price", "_profile")

    def __init__(self, profile: FleetProfile, price: TokenPrice) -> None:
        self._profile, self._price = profile, price
        self._found: dict[float, Volume] = {}

    def at(self, scale: float) -> Volume:
        if scale not in self._found:
            plan = cheapest(_scaled(self._profile, scale))
            self._found[scale] = _volume(plan, self._price)
        return self._found[scale]

    def dearer(self, scale: float) -> bool:
        volume = self.at(scale)
        return volume.own > volume.hosted

    def last_dearer(self, low: float, high: float) -> float | None:
        """The greatest scale that was found at which the fleet is dearer.

        Replicas are whole, so the cost of a fleet climbs in stairs and may pass that of the API
        more than once. It never falls, though: where the fleet at the upper end of a stretch costs
        no more than the API at its lower end, it is not dearer anywhere in between. Stretches of 1%
        are not divided: within one whose end is not dearer, the fleet is dearer by 1% at most.
        """
        if self.dearer(high):
            return high
        if self.at(high).own <= self.at(low).hosted:
            return None
        if high / low <= _RESOLUTION:
            return None
        middle = (low * high) ** 0.5
        upper = self.last_dearer(middle, high)
        return self.last_dearer(low, middle) if upper is None else upper

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self._found[scale] for scale in sorted(self._found))


def _volume(plan: FleetPlan, price: TokenPrice) -> Volume:
    return Volume(
        _tokens(plan.work) * 3600 * HOURS_A_MONTH,
        plan.dollars_month,
        price.dollars(plan.work) * HOURS_A_MONTH,
    )


def _lifted(profile: FleetProfile, streams: list[Stream]) -> FleetProfile:
    """The profile for some of its streams, without limits but for what is not to be had at all."""

    def lifted(offer: Offer) -> Offer:
        return offer if offer.most == 0 else Offer(offer.price)

    gpus = tuple(
        replace(
            gpu,
            on_demand=lifted(gpu.on_demand),
            spot=None if gpu.spot is None else lifted(gpu.spot),
        )
        for gpu in profile.gpus
    )
    return replace(profile, streams=tuple(streams), gpus=gpus, budget=None)


def _scaled(profile: FleetProfile, scale: float) -> FleetProfile:
    streams = tuple(
        replace(
            stream,
            peak=Work(stream.peak.prefill * scale, stream.peak.decode * scale),
            mean=Work(stream.mean.prefill * scale, stream.mean.decode * scale),
        )
        for stream in profile.streams
    )
    return replace(profile, streams=streams)


def _tokens(work: Work) -> float:
    return work.prefill + work.decode
