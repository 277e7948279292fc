"""Where spot nodes can be had: generated, or as somebody has recorded it."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np

from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.disruptions import never
from autoscaling.simulator.supply.generator import DEFAULTS, SITES, generate
from autoscaling.simulator.supply.recorded import MAX_LINES, bamboo, spotserve
from autoscaling.simulator.terms import Ints, SpotSupply

DAY_S = 86400.0
_LEAST_DAYS = 1.0
_SOMEWHERE = Site("spot")


def generated(sites: Mapping[Site, int], seed: int, length_s: float) -> SpotSupply:
    """Spot nodes like those of the public facts that the generator is fitted to.

    Sites of one region share its scarcity as the generator's regions do. The largest region is
    like the generator's largest; where there are more sites than it has, they are drawn anew.

    Args:
        sites: Most replicas of each site.
        seed: Of everything random.
        length_s: How long it lasts.
    """
    if not sites:
        return never(())
    days = max(_LEAST_DAYS, length_s / DAY_S)
    drawn: dict[int, SpotSupply] = {}
    columns: dict[Site, Ints] = {}
    for site, (again, column) in _places(tuple(sites)).items():
        if again not in drawn:
            most = max(1, *sites.values())
            drawn[again] = generate(seed + 1000 * again, days, most, settings=DEFAULTS)
        found = drawn[again].replicas[:, column]
        columns[site] = np.minimum(found, sites[site]).astype(np.int32)
    return SpotSupply(
        drawn[0].step_s, tuple(columns), np.stack(list(columns.values()), axis=1).astype(np.int32)
    )


def recorded(trace: SpotSupply, sites: Mapping[Site, int], seed: int) -> SpotSupply:
    """A trace of one site, at each of several.

    At the first it begins at its beginning; at each further one at another time, by chance.

    Args:
        trace: Of one site.
        sites: Most replicas of each site.
        seed: Of the times at which it begins.
    """
    if not sites:
        return never(())
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 4))))
    rows = len(trace.replicas)
    parts = []
    for number, (_, most) in enumerate(sites.items()):
        skip = 0 if number == 0 else int(random.integers(rows))
        parts.append(np.minimum(np.roll(trace.replicas[:, 0], -skip), most))
    return SpotSupply(trace.step_s, tuple(sites), np.stack(parts, axis=1).astype(np.int32))


def read_trace(what: str, lines: Iterable[str], unit: str = "") -> SpotSupply:
    """Reads a trace of one site, in the form of bamboo or of SpotServe.

    Args:
        what: The file's name; of bamboo's it says when the trace begins and ends.
        lines: Its lines.
        unit: Of bamboo's times, where the name does not tell.

    Raises:
        TraceInvalid: It is in neither form, or makes no sense.
        SimulationError: There is no such unit.
    """
    kept = list(islice(lines, MAX_LINES + 1))
    first = next((line.strip() for line in kept if line.strip()), "")
    if first.startswith("[") or first.count(",") == 2:
        return spotserve(what, kept, _SOMEWHERE)
    return bamboo(what, kept, _SOMEWHERE, unit=unit)


def _places(sites: Sequence[Site]) -> dict[Site, tuple[int, int]]:
    """The generator's column for each site, and which time it is that it draws."""
    theirs: dict[str, list[int]] = {}
    for column, site in enumerate(SITES):
        theirs.setdefault(site.region, []).append(column)
    regions = sorted(theirs.values(), key=len, reverse=True)
    ours: dict[str, list[Site]] = {}
    for site in sites:
        ours.setdefault(site.region, []).append(site)
    by_size = sorted(ours.values(), key=len, reverse=True)
    return {
        site: (
            number // len(regions) + len(regions) * (place // len(regions[number % len(regions)])),
            regions[number % len(regions)][place % len(regions[number % len(regions)])],
        )
        for number, region in enumerate(by_size)
        for place, site in enumerate(region)
    }
