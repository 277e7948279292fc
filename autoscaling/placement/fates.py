"""What may become of spot replicas, as the distribution needs it.

A node's risk divides into that of its region, of its availability zone and its own. The two shocks
take old nodes as well as new ones, so their risk is that of the oldest node there: for how long the
region and the availability zone have had capacity. What is left is the node's own, so that each
node's risk as a whole is what the survival model says.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence

from autoscaling.placement.distribution import AvailabilityZone, Region
from autoscaling.placement.survival import SurvivalModel
from autoscaling.plan_terms import Site

AGES_S = (0.0, 60.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 21600.0)
"""Ages are rounded down to these, so that there are few different ones."""


def fates(
    ages: Mapping[Site, Sequence[float]], survival: SurvivalModel, horizon_s: float, wall: float
) -> tuple[Region, ...]:
    """Replicas on spot nodes by region and availability zone, with their chances.

    Args:
        ages: Ages in seconds of the replicas of each spot site.
        survival: What is known of their risks.
        horizon_s: Seconds ahead.
        wall: Unix time in seconds.
    """
    shares = survival.shocks()
    risks: dict[str, dict[Site, list[tuple[int, float]]]] = {}
    for site, here in ages.items():
        groups = [
            (count, survival.risk(site, age, horizon_s, wall))
            for age, count in sorted(Counter(map(rounded, here)).items())
        ]
        if groups:
            risks.setdefault(site.region, {})[site] = groups
    regions = []
    for sites in risks.values():
        # The oldest node has the least risk.
        least = {site: min(risk for _, risk in groups) for site, groups in sites.items()}
        regional = shares.region * min(least.values())
        there = []
        for site, groups in sites.items():
            zonal = shares.zone * least[site]
            stays = tuple((n, math.exp(-(risk - zonal - regional))) for n, risk in groups)
            there.append(AvailabilityZone(-math.expm1(-zonal), stays))
        regions.append(Region(-math.expm1(-regional), tuple(there)))
    return tuple(regions)


def rounded(age_s: float) -> float:
    """An age, rounded down to one of few; what makes no sense counts as 0.

    Args:
        age_s: Seconds since a node came up.
    """
    return AGES_S[bisect_right(AGES_S, age_s) - 1] if age_s >= 0 else 0.0
