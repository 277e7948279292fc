"""Makes of a profile file what the optimiser takes."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from app.admission.isolation import RULES
from app.cli.planning.profile_file import (
    DemandSection,
    GpuSection,
    ProfileFile,
    StreamSection,
    swing,
)
from app.errors import ConfigError

if TYPE_CHECKING:
    from autoscaling.demand.terms import Work
    from autoscaling.optimizer.terms import FleetProfile, Gpu, Stream

    Demand = tuple[Work, Work]
    """Mean and peak."""
    Recorded = Mapping[tuple[str, str], Demand]
    """By tenant and size class."""


def fleet_profile(file: ProfileFile, recorded: "Recorded | None" = None) -> "FleetProfile":
    """The profile in the optimiser's terms.

    Args:
        file: A valid file.
        recorded: What was recorded of each tenant, for streams without `sizes`; None if nothing.

    Raises:
        ConfigError: A stream has no demand, or recorded demand has no stream.
    """
    from autoscaling.optimizer.terms import Engine, FleetProfile, Point, TokenPrice, Zone

    return FleetProfile(
        zones=tuple(
            Zone(name, zone.isolation.value, zone.hosted) for name, zone in file.zones.items()
        ),
        gpus=tuple(_gpu(name, gpu) for name, gpu in file.gpus.items()),
        engines=tuple(
            Engine(
                engine.name,
                engine.model,
                engine.gpu,
                engine.gpus,
                tuple(size.value for size in engine.size_classes),
                tuple(
                    Point(
                        point.ttft_s,
                        point.itl_s,
                        point.prefill_tokens_per_s,
                        point.decode_tokens_per_s,
                    )
                    for point in engine.points
                ),
            )
            for engine in file.engines
        ),
        streams=_streams(file, recorded or {}),
        headroom={level: rules.headroom for level, rules in RULES.items()},
        peak_share=file.peak_hours / 24,
        least_replicas=file.least_replicas,
        budget=None if file.budget_per_month is None else file.budget_per_month / _hours(),
        hosted={model: TokenPrice(at.prompt, at.output) for model, at in file.hosted.items()},
    )


def _hours() -> float:
    from autoscaling.optimizer.terms import HOURS_A_MONTH

    return HOURS_A_MONTH


def _gpu(name: str, gpu: GpuSection) -> "Gpu":
    from autoscaling.optimizer.terms import Gpu, Offer

    on_demand = Offer(gpu.on_demand.price, gpu.on_demand.most)
    if gpu.spot is None:
        return Gpu(name, on_demand)
    return Gpu(name, on_demand, Offer(gpu.spot.price, gpu.spot.most), gpu.spot.survival)


def _streams(file: ProfileFile, recorded: "Recorded") -> tuple["Stream", ...]:
    from autoscaling.optimizer.terms import Stream

    issues: list[tuple[str, str]] = []
    found: list[Stream] = []
    for index, section in enumerate(file.streams):
        if section.sizes:
            demand = {size.value: _demand(each) for size, each in section.sizes.items()}
        else:
            demand = {size: work for (who, size), work in recorded.items() if who == section.tenant}
            problems = _of_recorded(file, section, demand, bool(recorded))
            issues += [(f"streams[{index}]", problem) for problem in problems]
        found += [
            Stream(
                name=section.name if len(demand) == 1 else f"{section.name}/{size}",
                tenant=section.tenant,
                model=section.model,
                zone=section.zone,
                size_class=size,
                mean=mean,
                peak=peak,
                ttft_s=section.slo.ttft_s,
                itl_s=section.slo.itl_s,
                most_spot=section.most_spot,
                shared=section.shared,
                may_rise=section.may_rise,
            )
            for size, (mean, peak) in demand.items()
        ]
    taken = {section.tenant for section in file.streams if not section.sizes}
    missing = sorted({tenant for tenant, _ in recorded} - taken)
    if missing:
        names = ", ".join(map(repr, missing[:5])) + (", ..." if missing[5:] else "")
        problem = f"none without `sizes` is of {names}, whose demand was recorded; add one for each"
        issues.append(("streams", problem))
    if issues:
        raise ConfigError(issues)
    return tuple(found)


def _demand(section: DemandSection) -> "Demand":
    from autoscaling.demand.terms import Work

    prompt, output = section.prompt_tokens_per_s, section.output_tokens_per_s
    return Work(prompt.mean, output.mean), Work(prompt.peak, output.peak)


def _of_recorded(
    file: ProfileFile, section: StreamSection, demand: "Mapping[str, Demand]", any_recorded: bool
) -> Iterator[str]:
    """What is wrong with a stream whose demand is to come from a record."""
    if not demand:
        yield (
            f"has no `sizes`, and nothing was recorded of the tenant {section.tenant!r}"
            if any_recorded
            else "has no `sizes`: say its tokens a second by size class, or give recorded --demand"
        )
    alike = [each for each in file.streams if each.tenant == section.tenant and not each.sizes]
    if len(alike) > 1:
        yield (
            f"is one of {len(alike)} streams of {section.tenant!r} without `sizes`; what was "
            "recorded of a tenant goes to one stream"
        )
    for size, (mean, peak) in demand.items():
        for low, high in ((mean.prefill, peak.prefill), (mean.decode, peak.decode)):
            problem = swing(low, high, file.peak_hours)
            if problem:
                yield f"in the size class {size}, {problem}"
