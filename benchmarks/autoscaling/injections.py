"""What goes wrong on purpose, and when: the same days in every series."""

from __future__ import annotations

from autoscaling.simulator.demand.surge import Surge
from autoscaling.simulator.supply.disruptions import regional_loss
from autoscaling.simulator.terms import SpotSupply, Workload

_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
CROWD = (1 * _DAY_S + 15 * _HOUR_S, 1800.0, 2.0)
"""When the flash crowd comes (seconds into the span), for how long, and how many times as many
requests there are."""
BLIND = (1 * _DAY_S + 8 * _HOUR_S, 4 * _HOUR_S)
"""When metrics are lost, and for how long: while demand rises."""
LOSS = (1 * _DAY_S + 10 * _HOUR_S, 6 * _HOUR_S)
"""When a region has no spot capacity, and for how long."""


def crowded(workload: Workload, begin_s: float, seed: int) -> Surge:
    """Demand with the flash crowd.

    Args:
        workload: Demand without.
        begin_s: When the span begins.
        seed: Of what is drawn.
    """
    after, lasts, factor = CROWD
    return Surge(workload, begin_s + after, begin_s + after + lasts, factor, seed)


def blind(begin_s: float) -> tuple[tuple[float, float], ...]:
    """When metrics are lost.

    Args:
        begin_s: When the span begins.
    """
    after, lasts = BLIND
    return ((begin_s + after, begin_s + after + lasts),)


def bereft(supply: SpotSupply, begin_s: float) -> SpotSupply:
    """The supply without its largest region for a while.

    Args:
        supply: What there is otherwise.
        begin_s: When the span begins.
    """
    after, lasts = LOSS
    regions = sorted({site.region for site in supply.sites})
    held = {
        region: sum(
            int(supply.replicas[:, place].sum())
            for place, site in enumerate(supply.sites)
            if site.region == region
        )
        for region in regions
    }
    largest = max(regions, key=lambda region: held[region])
    return regional_loss(supply, largest, begin_s + after, begin_s + after + lasts)
