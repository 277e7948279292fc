"""Spot supply of nine availability zones, like what public probes of it measured.

An availability zone has nodes while its scarcity is below a threshold. Scarcity is a sum of normal
variables: some are of all regions, some of a region, some of the availability zone alone. Each
keeps its value for an exponential time and then takes a new one, independent of the last; some do
so slowly, some fast. The facts follow from that:

- How often a place is available is its threshold alone (scarcity is standard normal at any time).
- Places are short of nodes together as far as their variables are the same ones. Where such a
  variable takes a new value, several lose their nodes at once: a shock of the region, or of all.
- Who has been up for long is likely where the slow variables are good, and is lost less often: risk
  falls with age, though nothing knows an age.

While a place has nodes, a part of them may be missing; that part changes at exponential times too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.errors import SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.refreshed import Kind, Stream, held
from autoscaling.simulator.terms import Floats, Ints, SpotSupply

Bools = NDArray[np.bool_]

MAX_STEPS = 1_000_000
MAX_DAYS = 1000.0
MAX_REPLICAS = 10_000
DAY_S = 86400.0
HOUR_S = 3600.0

_NAMES = (("us-east-1", "abcd"), ("us-west-2", "abc"), ("eu-west-1", "ab"))
SITES = tuple(Site("spot", region, region + each) for region, zones in _NAMES for each in zones)
"""Nine availability zones in three regions. The names are stand-ins: the public facts name none,
and say nothing of the real places that are called so."""


def _within(
    name: str, values: Iterable[float], low: float, high: float, *, open_ends: bool = False
) -> None:
    for value in values:
        inside = low < value < high if open_ends else low <= value <= high
        if not inside:
            raise SimulationError(f"{name} holds {value:g}: it must be within {low:g} and {high:g}")


@dataclass(frozen=True, slots=True)
class SupplySettings:
    """What the generated supply is like.

    The defaults were fitted by `benchmarks/autoscaling/fit_supply.py` to the facts that
    `benchmarks/results/autoscaling-supply.md` lists, of a public set of probes (nine AWS
    availability zones, V100, 45.5 days); `missing_pace`, `whole` and `missing` to the instances
    that the authors of Bamboo held on AWS in 2020. It was a random search with a seed, in three
    stages: shares of the time and what is common, paces, missing parts. How well each fact is met,
    and what is not known, is said there.
    """

    available: tuple[tuple[float, ...], ...] = (
        (0.576, 0.488, 0.4, 0.318),
        (0.904, 0.865, 0.815),
        (0.853, 0.68),
    )
    """Shares of the time for which each availability zone has nodes, by region; inside (0, 1)."""
    common: float = 0.274
    """Share of the variance of scarcity that all regions have in common."""
    regional: float = 0.401
    """Share of it that a region's availability zones have in common beyond that."""
    paces: tuple[float, float, float] = (0.0611, 0.347, 2.56)
    """New values an hour of slow, middling and fast variables."""
    shared_mix: tuple[float, float, float] = (0.648, 0.31, 0.042)
    """How what is common divides into slow, middling and fast; sums to 1."""
    own_mix: tuple[float, float, float] = (0.821, 0.045, 0.134)
    """The same of what an availability zone has alone."""
    missing_pace: float = 3.53
    """Changes an hour of the part that is missing while there are nodes."""
    whole: float = 0.49
    """Chance that nothing is missing after such a change."""
    missing: float = 0.134
    """Share that is missing otherwise, on average; exponential, at most 1."""

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
            SimulationError: One is outside of its limits.
        """
        shares = [share for region in self.available for share in region]
        _within("available", shares, 0.0, 1.0, open_ends=True)
        if not all(self.available) or not shares:
            raise SimulationError("available has a region without availability zones")
        _within("common, regional, whole", (self.common, self.regional, self.whole), 0.0, 1.0)
        _within("common + regional", (self.common + self.regional,), 0.0, 1.0)
        _within("paces, missing_pace", (*self.paces, self.missing_pace), 1e-4, 60.0)
        _within("missing", (self.missing,), 1e-3, 1.0)
        for name, mix in (("shared_mix", self.shared_mix), ("own_mix", self.own_mix)):
            _within(name, mix, 0.0, 1.0)
            if abs(math.fsum(mix) - 1.0) > 1e-6:
                raise SimulationError(f"{name} sums to {math.fsum(mix):g}, and it must be 1")


DEFAULTS = SupplySettings()


def generate(
    seed: int,
    days: float,
    most: int,
    *,
    settings: SupplySettings = DEFAULTS,
    sites: Sequence[Site] = SITES,
    step_s: float = 60.0,
) -> SpotSupply:
    """Makes a supply. The first days of a longer one are the same.

    Args:
        seed: Of everything random, 0 or more.
        days: How long it is.
        most: Replicas that an availability zone holds if none are missing.
        settings: What it is like.
        sites: Its sites, region by region as in `settings.available`.
        step_s: Seconds between two rows.

    Returns:
        The supply; a change takes effect in the first row after it.

    Raises:
        SimulationError: An argument is outside of its limits, or the sites are not as many.
    """
    steps = _steps(seed, days, most, step_s)
    _check_sites(sites, settings)
    at_h = _hours(steps, step_s)
    up = _up(seed, at_h, settings)
    replicas = np.zeros((steps, len(sites)), dtype=np.int32)
    for column in range(len(sites)):
        part = _present(seed, column, at_h, settings)
        replicas[:, column] = np.where(up[:, column], np.maximum(np.rint(most * part), 1), 0)
    replicas.flags.writeable = False
    return SpotSupply(step_s, tuple(sites), replicas)


def availability(
    seed: int, days: float, *, settings: SupplySettings = DEFAULTS, step_s: float = 60.0
) -> Ints:
    """Which availability zones have nodes, without how many; as `generate` has it.

    Args:
        seed: Of everything random, 0 or more.
        days: How long.
        settings: What it is like.
        step_s: Seconds between two rows.

    Returns:
        0 or 1, of shape (steps, availability zones).

    Raises:
        SimulationError: An argument is outside of its limits.
    """
    steps = _steps(seed, days, 1, step_s)
    return _up(seed, _hours(steps, step_s), settings).astype(np.int32)


def _up(seed: int, at_h: Floats, settings: SupplySettings) -> Bools:
    common = _scarcity(seed, Kind.COMMON, 0, at_h, settings, settings.common)
    columns: list[Bools] = []
    own = max(0.0, 1.0 - settings.common - settings.regional)
    for region, shares in enumerate(settings.available):
        shared = common + _scarcity(seed, Kind.REGIONAL, region, at_h, settings, settings.regional)
        for share in shares:
            alone = _scarcity(seed, Kind.OWN, len(columns), at_h, settings, own)
            columns.append(shared + alone < NormalDist().inv_cdf(share))
    return np.column_stack(columns)


def _scarcity(
    seed: int, kind: Kind, index: int, at_h: Floats, settings: SupplySettings, variance: float
) -> Floats:
    mix = settings.own_mix if kind is Kind.OWN else settings.shared_mix
    total = np.zeros(len(at_h))
    for pace, (per_h, share) in enumerate(zip(settings.paces, mix, strict=True)):
        if variance * share > 0:
            stream = Stream(seed, kind, index, pace)
            total += math.sqrt(variance * share) * held(
                stream, per_h, at_h, lambda random, count: random.standard_normal(count)
            )
    return total


def _present(seed: int, column: int, at_h: Floats, settings: SupplySettings) -> Floats:
    """The part of an availability zone's replicas that are there while it has any."""

    def missing(random: np.random.Generator, count: int) -> Floats:
        chance, size = random.random((count, 2)).T
        # Of an exponential law, by its inverse: two numbers a value, however long the supply is.
        part = -settings.missing * np.log1p(-size)
        return np.where(chance < settings.whole, 0.0, np.minimum(part, 1.0))

    stream = Stream(seed, Kind.MISSING, column, 0)
    return 1.0 - held(stream, settings.missing_pace, at_h, missing)


def _hours(steps: int, step_s: float) -> Floats:
    return np.arange(steps, dtype=np.float64) * (step_s / HOUR_S)


def _steps(seed: int, days: float, most: int, step_s: float) -> int:
    if seed < 0:
        raise SimulationError(f"the seed of a spot supply is {seed}: it must be 0 or more")
    if not 1 <= most <= MAX_REPLICAS:
        raise SimulationError(
            f"an availability zone of {most:,} replicas: it must be 1 to {MAX_REPLICAS:,}"
        )
    if not (0 < days <= MAX_DAYS and math.isfinite(step_s) and step_s > 0):
        raise SimulationError(
            f"{days:g} days in steps of {step_s:g} s: both must be above 0, and the days at most "
            f"{MAX_DAYS:g}"
        )
    steps = math.ceil(days * DAY_S / step_s)
    if steps > MAX_STEPS:
        raise SimulationError(
            f"{days:g} days in steps of {step_s:g} s are {steps:,} steps and must be at most "
            f"{MAX_STEPS:,}: take longer steps or fewer days"
        )
    return steps


def _check_sites(sites: Sequence[Site], settings: SupplySettings) -> None:
    sizes: dict[str, int] = {}
    for site in sites:
        sizes[site.region] = sizes.get(site.region, 0) + 1
    expected = [len(region) for region in settings.available]
    in_order = [site.region for site in sites] == [
        name for name in sizes for _ in range(sizes[name])
    ]
    if list(sizes.values()) != expected or not in_order or len(set(sites)) != len(sites):
        raise SimulationError(
            f"the sites are {list(sizes.values())} by region, and the settings have {expected}: "
            "give as many different sites, region by region"
        )
