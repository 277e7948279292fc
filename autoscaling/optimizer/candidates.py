"""Pools that there might be, and which streams could be in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaling.optimizer.isolation_steps import AS_ASKED, IsolationStep
from autoscaling.optimizer.terms import Engine, FleetProfile, Point, Stream, Zone

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Aim:
    """What is asked of a fleet beyond its profile: the constraints of a frontier."""

    step: IsolationStep = AS_ASKED
    latency: float = 1.0
    """What every stream's latency limits are multiplied by; below 1 it is to be faster."""
    spot: bool = True
    """Whether spot nodes may be used."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pool that there might be."""

    zone: Zone
    tenant: str
    """Whose it is; empty if tenants share it."""
    engine: Engine
    point: Point
    streams: tuple[int, ...]
    """Streams that could be in it, by their place in the profile."""
    spot: bool
    """Whether it may have spot replicas; then no stream that must not be on spot is among them."""


def candidates(profile: FleetProfile, aim: Aim) -> tuple[Candidate, ...]:
    """Every pool that is worth considering.

    Args:
        profile: What the fleet is for.
        aim: What is asked of it.
    """
    found: dict[tuple[int, str, int, Point], list[int]] = {}
    zones = aim.step.zones(profile)
    engines = [(engine, _useful(engine.points)) for engine in profile.engines]
    alone = {(stream.tenant, stream.model) for stream in profile.streams if not stream.shared}
    for index, stream in enumerate(profile.streams):
        places = [
            (level, tenant)
            for level, zone in enumerate(zones)
            if aim.step.one_zone or _may_enter(stream, zone, zones)
            for tenant in aim.step.tenants(stream, zone, alone)
        ]
        for which, (engine, points) in enumerate(engines):
            if not takes(engine, stream):
                continue
            for point in points:
                if slowness(point, stream) > aim.latency + _ROUNDING:
                    continue
                for level, tenant in places:
                    found.setdefault((level, tenant, which, point), []).append(index)
    made = []
    for (level, tenant, which, point), streams in found.items():
        may = [index for index in streams if profile.streams[index].most_spot > 0]
        # A pool with spot replicas, and where that is not for all of them one without.
        for spot, inside in ((True, may), (False, streams)):
            if inside and (spot or len(may) < len(streams)):
                engine = profile.engines[which]
                made.append(Candidate(zones[level], tenant, engine, point, tuple(inside), spot))
    return tuple(made)


def takes(engine: Engine, stream: Stream) -> bool:
    """Whether an engine could serve a stream at all.

    Args:
        engine: Which engine.
        stream: Which stream.
    """
    return engine.model == stream.model and stream.size_class in engine.size_classes


def slowness(point: Point, stream: Stream) -> float:
    """Latency of an operating point as a multiple of what a stream is promised.

    Args:
        point: Of some engine.
        stream: Which.
    """
    return max(point.ttft_s / stream.ttft_s, point.itl_s / stream.itl_s)


def why_none(profile: FleetProfile, stream: Stream, latency: float) -> str | None:
    """Why no engine can serve a stream, and the way out; None if one can.

    Args:
        profile: Whose engines.
        stream: Which.
        latency: What its limits are multiplied by.
    """
    of_model = [engine for engine in profile.engines if engine.model == stream.model]
    if not of_model:
        return (
            f"stream {stream.name}: no engine serves the model {stream.model!r}; add one to "
            "`engines`"
        )
    fit = [engine for engine in of_model if stream.size_class in engine.size_classes]
    if not fit:
        classes = sorted({each for engine in of_model for each in engine.size_classes})
        return (
            f"stream {stream.name}: no engine of {stream.model!r} takes the size class "
            f"{stream.size_class!r}, only {', '.join(classes)}; add it to an engine's "
            "`size_classes`"
        )
    nearest, point, engine = min(
        ((slowness(point, stream), point, engine) for engine in fit for point in engine.points),
        key=lambda each: each[0],
    )
    if nearest <= latency + _ROUNDING:
        return None
    limits = []
    for name, value, limit in (
        ("ttft_s", point.ttft_s, stream.ttft_s * latency),
        ("itl_s", point.itl_s, stream.itl_s * latency),
    ):
        if value > limit * (1 + _ROUNDING):
            limits.append(f"{name} of {limit:g} s, and it is {value:g} s")
    return (
        f"stream {stream.name}: no engine is fast enough. The nearest is {engine.name}: asked for "
        f"is {' and '.join(limits)}; promise at least that in the stream's `slo`, or add a faster "
        "engine or point"
    )


def _may_enter(stream: Stream, zone: Zone, zones: Sequence[Zone]) -> bool:
    names = [each.name for each in zones]
    own, there = names.index(stream.zone), names.index(zone.name)
    return own == there or (stream.may_rise and there > own)


def _useful(points: Sequence[Point]) -> tuple[Point, ...]:
    """Without those that another one beats or equals in everything."""
    kept: list[Point] = []
    for point in sorted(set(points), key=_order):
        if not any(_beats(other, point) for other in kept):
            kept.append(point)
    return tuple(kept)


def _order(point: Point) -> tuple[float, float, float, float]:
    return (point.ttft_s, point.itl_s, -point.prefill_tps, -point.decode_tps)


def _beats(one: Point, other: Point) -> bool:
    return all(a <= b for a, b in zip(_order(one), _order(other), strict=True))
