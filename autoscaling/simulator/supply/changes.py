"""Supplies out of changes, and several of them as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from app.errors import SimulationError, TraceInvalid
from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import SpotSupply

MAX_STEPS = 1_000_000


def rows(
    what: str, times_s: list[float], held: list[int], end_s: float, site: Site, step_s: float
) -> SpotSupply:
    """Makes a supply of changes; a row is the fewest that there are in its time.

    Args:
        what: Whose changes they are, for errors.
        times_s: Seconds of each change, ascending, from 0 on; of equal ones the last one lasts.
        held: Replicas that can be held from then on.
        end_s: When the supply ends.
        site: Where it is.
        step_s: Seconds of a row.

    Raises:
        TraceInvalid: There would be too many rows.
        SimulationError: A row has no length.
    """
    if not (math.isfinite(step_s) and step_s > 0):
        raise SimulationError(f"a row of {step_s:g} s: it must be above 0")
    steps = max(1, math.ceil(end_s / step_s))
    if steps > MAX_STEPS:
        raise TraceInvalid(what, 0, f"{steps:,} rows of {step_s:g} s: at most {MAX_STEPS:,}")
    at_s, counts = np.array(times_s), np.array(held, dtype=np.int32)
    begins = np.arange(steps) * step_s
    lowest = counts[np.searchsorted(at_s, begins, side="right") - 1]
    inside = (at_s // step_s).astype(np.int64)
    # What is given before the end of a time is passed through in no time.
    lasting = np.append(at_s[1:] > at_s[:-1], True) & (inside < steps) & (at_s > inside * step_s)
    np.minimum.at(lowest, inside[lasting], counts[lasting])
    replicas = lowest[:, np.newaxis]
    replicas.flags.writeable = False
    return SpotSupply(step_s, (site,), replicas)


def joined(supplies: Sequence[SpotSupply]) -> SpotSupply:
    """Puts supplies of different sites side by side.

    Shorter ones begin anew until the longest ends.

    Args:
        supplies: Which, of one `step_s`.

    Raises:
        SimulationError: There is none, their steps differ, or a site is there twice.
    """
    sites = tuple(site for supply in supplies for site in supply.sites)
    steps = {supply.step_s for supply in supplies}
    if len(steps) != 1 or len(set(sites)) != len(sites):
        raise SimulationError(
            f"{len(supplies)} supplies with {len(steps)} lengths of a step and "
            f"{len(sites) - len(set(sites))} sites that are there twice: join one or more of one "
            "`step_s`, each with sites of its own"
        )
    longest = max(len(supply.replicas) for supply in supplies)
    rows = np.arange(longest)
    columns = [supply.replicas[rows % len(supply.replicas)] for supply in supplies]
    replicas = np.concatenate(columns, axis=1).astype(np.int32)
    replicas.flags.writeable = False
    return SpotSupply(steps.pop(), sites, replicas)
