"""Small profiles, and the cheapest fleet for them by trying all of them."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from math import ceil

from autoscaling.demand.terms import Work
from autoscaling.optimizer.terms import (
    Engine,
    FleetProfile,
    Gpu,
    Offer,
    Point,
    Stream,
    TokenPrice,
    Zone,
)

HEADROOM = {"medium": 1.1, "high": 1.25, "maximum": 1.5}
FAST = Point(0.5, 0.03, 4000.0, 400.0)
SLOW = Point(1.0, 0.08, 4000.0, 1000.0)


def stream(name: str, prompt: float, output: float, **changes: object) -> Stream:
    given = Stream(
        name=name,
        tenant=name,
        model="m",
        zone="public",
        size_class="small",
        peak=Work(prompt, output),
        mean=Work(prompt / 2, output / 2),
        ttft_s=2.0,
        itl_s=0.1,
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def profile(*streams: Stream, **changes: object) -> FleetProfile:
    given = FleetProfile(
        zones=(Zone("public", "medium"), Zone("secret", "maximum", hosted=False)),
        gpus=(
            Gpu("a", Offer(2.0), Offer(0.9), survival=0.8),
            Gpu("h", Offer(5.0), Offer(2.0), survival=0.6),
        ),
        engines=(
            Engine("ea", "m", "a", 1, ("small", "medium"), (FAST, SLOW)),
            Engine("eh", "m", "h", 2, ("small",), (Point(0.3, 0.02, 30_000.0, 3000.0),)),
        ),
        streams=streams,
        headroom=HEADROOM,
        hosted={"m": TokenPrice(1.0, 2.0)},
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def exhaustive(fleet: FleetProfile, level: str) -> float | None:
    """Dollars an hour of the cheapest fleet in one zone that all share; None if there is none.

    Tries every way to part the streams, every engine and point of each part, and every pair of
    counts. Peak only.
    """
    best: float | None = None
    indices = range(len(fleet.streams))
    for labels in itertools.product(indices, repeat=len(fleet.streams)):
        parts = [[i for i in indices if labels[i] == label] for label in sorted(set(labels))]
        for choice in itertools.product(*(list(_pools(fleet, part, level)) for part in parts)):
            if _within(fleet, choice):
                cost = sum(each[0] for each in choice)
                best = cost if best is None else min(best, cost)
    return best


def _pools(
    fleet: FleetProfile, part: list[int], level: str
) -> Iterator[tuple[float, str, int, int]]:
    """Cost, GPU type and GPUs by market of each pool that carries some streams."""
    streams = [fleet.streams[i] for i in part]
    for engine in fleet.engines:
        gpu = next(each for each in fleet.gpus if each.name == engine.gpu)
        for point in engine.points:
            if any(
                engine.model != each.model
                or each.size_class not in engine.size_classes
                or point.ttft_s > each.ttft_s
                or point.itl_s > each.itl_s
                for each in streams
            ):
                continue
            loads = [
                (each.peak.prefill / point.prefill_tps + each.peak.decode / point.decode_tps)
                * fleet.headroom[level]
                for each in streams
            ]
            steady = sum(
                load * (1 - each.most_spot) for load, each in zip(loads, streams, strict=True)
            )
            never = gpu.spot is None or any(each.most_spot == 0 for each in streams)
            most = max(ceil(sum(loads) / gpu.survival) + 1, fleet.least_replicas)
            for on_demand in range(most + 1):
                for spot in range(1 if never else most + 1):
                    enough = on_demand + gpu.survival * spot >= sum(loads) - 1e-7
                    floor = on_demand >= steady - 1e-7
                    if enough and floor and on_demand + spot >= max(1, fleet.least_replicas):
                        price = on_demand * gpu.on_demand.price
                        price += spot * (gpu.spot.price if gpu.spot else 0)
                        gpus = on_demand * engine.gpus, spot * engine.gpus
                        yield price * engine.gpus, gpu.name, *gpus
                        break  # more spot replicas cost more


def _within(fleet: FleetProfile, pools: tuple[tuple[float, str, int, int], ...]) -> bool:
    for gpu in fleet.gpus:
        for column, offer in ((2, gpu.on_demand), (3, gpu.spot)):
            used = sum(int(each[column]) for each in pools if each[1] == gpu.name)
            if offer is not None and offer.most is not None and used > offer.most:
                return False
    return fleet.budget is None or sum(each[0] for each in pools) <= fleet.budget + 1e-9
