"""Settings of generated spot supply as points that a search can move freely, and back."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from autoscaling.simulator.supply.generator import SupplySettings

Point = NDArray[np.float64]

_NORMAL = NormalDist()


def of_shares(settings: SupplySettings) -> list[float]:
    point = [_logit(settings.common + settings.regional), 0.0]
    point[1] = _logit(settings.common / (settings.common + settings.regional))
    for region in settings.available:
        ends = [_NORMAL.inv_cdf(share) for share in (region[0], region[-1])]
        point += [sum(ends) / 2.0, math.log((ends[0] - ends[1]) / 2.0)]
    return point


def of_paces(settings: SupplySettings) -> list[float]:
    point = [math.log(pace) for pace in settings.paces]
    for mix in (settings.shared_mix, settings.own_mix):
        point += [math.log(mix[0] / mix[2]), math.log(mix[1] / mix[2])]
    return point


def of_missing(settings: SupplySettings) -> list[float]:
    return [math.log(settings.missing_pace), _logit(settings.whole), _logit(settings.missing)]


def with_shares(settings: SupplySettings, point: Point) -> SupplySettings:
    """Availability zones of a region lie at equal distances on the normal scale."""
    both = _chance(float(point[0]))
    common = both * _chance(float(point[1]))
    regions = []
    for place, region in enumerate(settings.available):
        middle, half = float(point[2 + 2 * place]), math.exp(float(point[3 + 2 * place]))
        limits = np.linspace(middle + half, middle - half, len(region))
        regions.append(tuple(min(0.999, max(0.001, _NORMAL.cdf(float(x)))) for x in limits))
    return replace(settings, available=tuple(regions), common=common, regional=both - common)


def with_paces(settings: SupplySettings, point: Point) -> SupplySettings | None:
    slow, middling, fast = (math.exp(float(x)) for x in point[:3])
    if not 0.005 <= slow < middling < fast <= 20.0:
        return None
    return replace(
        settings,
        paces=(slow, middling, fast),
        shared_mix=_mix(float(point[3]), float(point[4])),
        own_mix=_mix(float(point[5]), float(point[6])),
    )


def with_missing(settings: SupplySettings, point: Point) -> SupplySettings:
    return replace(
        settings,
        missing_pace=min(60.0, math.exp(float(point[0]))),
        whole=_chance(float(point[1])),
        missing=max(0.002, _chance(float(point[2]))),
    )


def _mix(slow: float, middling: float) -> tuple[float, float, float]:
    parts = (math.exp(slow), math.exp(middling), 1.0)
    total = math.fsum(parts)
    return parts[0] / total, parts[1] / total, parts[2] / total


def _logit(chance: float) -> float:
    return math.log(chance / (1.0 - chance))


def _chance(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-logit))


def rounded(settings: SupplySettings) -> SupplySettings:
    """The same with as many digits as one cares to read; mixes still sum to 1.

    Args:
        settings: Which.
    """

    def mix(shares: tuple[float, float, float]) -> tuple[float, float, float]:
        slow, middling = round(shares[0], 3), round(shares[1], 3)
        return slow, middling, round(1.0 - slow - middling, 3)

    slow, middling, fast = (float(f"{pace:.3g}") for pace in settings.paces)
    return SupplySettings(
        available=tuple(tuple(round(x, 3) for x in region) for region in settings.available),
        common=round(settings.common, 3),
        regional=round(settings.regional, 3),
        paces=(slow, middling, fast),
        shared_mix=mix(settings.shared_mix),
        own_mix=mix(settings.own_mix),
        missing_pace=float(f"{settings.missing_pace:.3g}"),
        whole=round(settings.whole, 3),
        missing=round(settings.missing, 3),
    )
