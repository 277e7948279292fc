"""Supply that is lost on purpose, never lost, or never there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.errors import SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import SpotSupply


def regional_loss(supply: SpotSupply, region: str, begin_s: float, end_s: float) -> SpotSupply:
    """Takes all spot nodes of a region away for a while.

    Args:
        supply: What there is otherwise; it stays as it is.
        region: Whose.
        begin_s: When it begins, in seconds of the supply; the whole row that it falls in is lost.
        end_s: When nodes can be had again.

    Raises:
        SimulationError: There is no such region, or no such time in the supply.
    """
    columns = [place for place, site in enumerate(supply.sites) if site.region == region]
    if not columns:
        known = ", ".join(sorted({site.region for site in supply.sites}))
        raise SimulationError(f"no site of the supply is in the region {region!r}: it has {known}")
    length_s = len(supply.replicas) * supply.step_s
    if not 0 <= begin_s < end_s <= length_s:
        raise SimulationError(
            f"a regional loss from {begin_s:g} to {end_s:g} s: it must begin at 0 or later, end "
            f"after that, and within the supply's {length_s:g} s"
        )
    replicas = supply.replicas.copy()
    first, last = int(begin_s // supply.step_s), math.ceil(end_s / supply.step_s)
    replicas[first:last, columns] = 0
    replicas.flags.writeable = False
    return SpotSupply(supply.step_s, supply.sites, replicas)


def always(sites: Sequence[Site], most: int, step_s: float = 60.0) -> SpotSupply:
    """Spot nodes that are never taken away.

    Args:
        sites: Where.
        most: Replicas that each site holds; 0 for none.
        step_s: Seconds of its only row, which begins anew and anew.

    Raises:
        SimulationError: `most` is negative, or a step has no length.
    """
    if most < 0 or not (math.isfinite(step_s) and step_s > 0):
        raise SimulationError(
            f"sites of {most} replicas in steps of {step_s:g} s: they must be 0 or more, above 0"
        )
    replicas = np.full((1, len(sites)), most, dtype=np.int32)
    replicas.flags.writeable = False
    return SpotSupply(step_s, tuple(sites), replicas)


def never(sites: Sequence[Site]) -> SpotSupply:
    """Sites without a single spot node, at any time.

    Args:
        sites: Which.
    """
    return always(sites, 0)
