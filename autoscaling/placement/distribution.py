"""How many of a group's spot replicas are left after a while, as a distribution.

Within an availability zone all replicas go with the chance of its shock; otherwise each goes by
itself. With the chance of a region's shock all of its availability zones go. Regions do not depend
on each other here: public spot availability probes (9 AWS availability zones, V100, 45.5 days) saw
a correlation of 0.14 across regions, against 0.43 within one, and that is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
ROUNDING = 1e-12
"""By how much a sum of chances may be wrong."""
MAX_REPLICAS = 10_000


@dataclass(frozen=True, slots=True)
class AvailabilityZone:
    """Replicas of one availability zone."""

    shock: float
    """Chance that all of them go at once."""
    groups: tuple[tuple[int, float], ...]
    """How many there are, and each one's chance to stay without a shock; a pair an age."""


@dataclass(frozen=True, slots=True)
class Region:
    """Availability zones that may go at once."""

    shock: float
    """Chance that they do."""
    availability_zones: tuple[AvailabilityZone, ...]
    """Those with replicas."""


def survivors(regions: Iterable[Region]) -> Values:
    """The chance of each number of replicas to be left, from 0 to all of them.

    Args:
        regions: Where the replicas are.

    Raises:
        ValueError: A chance is not from 0 to 1, a count is below 0, or there are more than 10,000
            replicas.
    """
    chances: Values = np.ones(1)
    for region in regions:
        _check(region)
        inside: Values = np.ones(1)
        for there in region.availability_zones:
            alone: Values = np.ones(1)
            for count, stays in there.groups:
                alone = _sum(alone, binomial(count, stays))
            inside = _sum(inside, _or_nothing(alone, there.shock))
            _bounded(len(chances) + len(inside))
        chances = _sum(chances, _or_nothing(inside, region.shock))
    return chances


def binomial(count: int, chance: float) -> Values:
    """The chance of each number of successes in `count` independent trials.

    Args:
        count: Trials, 0 or more.
        chance: Of each to succeed, 0 to 1.
    """
    if chance <= 0 or chance >= 1:
        certain = np.zeros(count + 1)
        certain[count if chance >= 1 else 0] = 1.0
        return certain
    successes, ways = _ways(count)
    logs = ways + successes * np.log(chance) + (count - successes) * np.log1p(-chance)
    return np.asarray(np.exp(logs))


@lru_cache(maxsize=1024)
def _ways(count: int) -> tuple[NDArray[np.int64], Values]:
    """Each number of successes, and the logarithm of how many ways there are to it."""
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, count + 1)))))
    return np.arange(count + 1), factorials[-1] - factorials - factorials[::-1]


def at_least(chances: Values, count: int) -> float:
    """The chance that `count` or more are left.

    Args:
        chances: From `survivors`.
        count: How many.
    """
    if count <= 0:
        return 1.0
    return float(min(1.0, chances[count:].sum()))


def held(chances: Values, chance: float) -> int:
    """The most replicas that are left with at least this chance.

    Args:
        chances: From `survivors`.
        chance: Above 0, at most 1.
    """
    tail = np.cumsum(chances[::-1])[::-1]
    return int(np.count_nonzero(tail[1:] >= chance - ROUNDING))


def _sum(one: Values, other: Values) -> Values:
    """The distribution of the sum of two independent counts."""
    return np.convolve(one, other).astype(np.float64, copy=False)


def _or_nothing(chances: Values, shock: float) -> Values:
    mixed = chances * (1.0 - shock)
    mixed[0] += shock
    return mixed


def _check(region: Region) -> None:
    shocks = [region.shock, *(there.shock for there in region.availability_zones)]
    for there in region.availability_zones:
        for count, stays in there.groups:
            shocks.append(stays)
            if count < 0:
                raise ValueError(f"there are {count} replicas in an availability zone")
            _bounded(count)
    for chance in shocks:
        if not 0.0 <= chance <= 1.0:
            raise ValueError(f"{chance} is not a chance: it is not from 0 to 1")


def _bounded(count: int) -> None:
    if count > MAX_REPLICAS + 2:
        raise ValueError(f"there are more than {MAX_REPLICAS:,} replicas on spot nodes")
