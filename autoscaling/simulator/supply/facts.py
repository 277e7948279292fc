"""What a spot supply is like: the facts that public probes of real ones were summed up in.

An availability zone that has nodes at a probe is called up. What cannot be measured on a supply,
such as the loss of nodes that are never lost, is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from app.errors import SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import Floats, Ints, SpotSupply

Bools = NDArray[np.bool_]

PROBE_S = 195.0
"""Between two probes of the public set that the generator is fitted to."""
WITHIN_S = 600.0
AHEAD_S = 3600.0
AGES_S = (0.0, 600.0, 3600.0, 21600.0)
"""Where the classes of ages begin."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured. Shares are 0 to 1."""

    zones: tuple[float, ...]
    """Share of the time for which each availability zone is up."""
    any_of: Mapping[str, float]
    """By region, the share of the time for which any of its availability zones is up."""
    at_least: tuple[float, ...]
    """Share of the time for which at least 1, 2, 3... availability zones are up."""
    within: float
    """Correlation between two availability zones of a region, on average over pairs."""
    across: float
    """The same of two in different regions."""
    loss_by_age: tuple[float, ...]
    """Chance that one which has been up for less than 10 minutes, an hour, 6 hours, or longer is
    down at a probe within the next 10 minutes. Runs that began before the first probe are left out:
    nobody knows their age."""
    up_if_up: float
    """Chance that one which is up is up an hour later."""
    up_if_down: float
    """Chance that one which is down is up an hour later."""
    node_life_h: float
    """Hours that nodes were held, by nodes lost."""
    node_run_min: float
    """Median of the minutes from a node's coming to its loss, the youngest being lost first."""
    partial_per_h: float
    """Losses an hour that leave at least one node, while there are any."""
    partial_share: float
    """Share of an availability zone's nodes that such a loss takes, on average."""
    level: float
    """Nodes there are while there are any, as a share of the most there are."""

    @property
    def best(self) -> float:
        """Share of the time for which the best availability zone is up."""
        return max(self.zones)


def facts(supply: SpotSupply, probe_s: float = PROBE_S) -> Facts:
    """Measures a supply.

    Args:
        supply: Which.
        probe_s: Seconds between two probes of what is up, a day's at most; shorter outages may be
            missed, as real probes miss them. What is said of nodes is measured at every row.

    Raises:
        SimulationError: It holds no row or no site, or is shorter than two probes.
    """
    steps = len(supply.replicas)
    if supply.replicas.ndim != 2 or not supply.replicas.size:
        raise SimulationError("a spot supply without rows or sites has nothing to measure")
    if supply.replicas.shape[1] != len(supply.sites):
        raise SimulationError(
            f"a spot supply of {len(supply.sites)} sites and {supply.replicas.shape[1]} columns"
        )
    if not supply.step_s <= probe_s <= min(86400.0, steps * supply.step_s / 2):
        raise SimulationError(
            f"a probe each {probe_s:g} s of a supply of {steps:,} rows of {supply.step_s:g} s: it "
            "must be a row or more, and at most a day and half the supply"
        )
    count = math.floor((steps * supply.step_s - 1e-9) / probe_s) + 1
    rows = (np.arange(count) * probe_s / supply.step_s).astype(np.int64)
    up = supply.replicas[np.minimum(rows, steps - 1)] > 0
    within, across = _correlations(up, supply.sites)
    later = max(1, round(AHEAD_S / probe_s))
    now, then = up[:-later], up[later:]
    amount = up.sum(axis=1)
    regions = dict.fromkeys(site.region for site in supply.sites)
    return Facts(
        zones=tuple(float(share) for share in up.mean(axis=0)),
        any_of={name: float(_of(up, supply.sites, name).any(axis=1).mean()) for name in regions},
        at_least=tuple(
            float((amount >= least).mean()) for least in range(1, min(3, up.shape[1]) + 1)
        ),
        within=within,
        across=across,
        loss_by_age=_loss_by_age(up, probe_s),
        up_if_up=_mean(then[now]),
        up_if_down=_mean(then[~now]),
        **_nodes(supply),
    )


def _of(up: Bools, sites: tuple[Site, ...], region: str) -> Bools:
    return up[:, [site.region == region for site in sites]]


def _mean(values: Bools | Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _correlations(up: Bools, sites: tuple[Site, ...]) -> tuple[float, float]:
    """Of pairs within a region and across; those that are always or never up have none."""
    centred = up - up.mean(axis=0)
    size = np.sqrt((centred**2).mean(axis=0))
    sums: dict[bool, list[float]] = {True: [], False: []}
    for one, other in combinations(range(len(sites)), 2):
        if size[one] > 0 and size[other] > 0:
            both = float((centred[:, one] * centred[:, other]).mean() / (size[one] * size[other]))
            sums[sites[one].region == sites[other].region].append(both)
    return _mean(np.array(sums[True])), _mean(np.array(sums[False]))


def _loss_by_age(up: Bools, probe_s: float) -> tuple[float, ...]:
    ahead = max(1, math.floor(WITHIN_S / probe_s))
    lost, seen = np.zeros(len(AGES_S)), np.zeros(len(AGES_S))
    for column in up.T:
        place = np.arange(len(column))
        down = np.where(column, -1, place)
        last = np.maximum.accumulate(down)
        # The first probe that finds it down from here on; beyond the end if none does.
        following = np.minimum.accumulate(np.where(column, len(column), place)[::-1])[::-1]
        known = column & (last >= 0) & (place + ahead < len(column))
        age_s = (place - last - 1)[known] * probe_s
        group = np.searchsorted(AGES_S, age_s, side="right") - 1
        is_lost = (following - place)[known] <= ahead
        seen += np.bincount(group, minlength=len(AGES_S))
        lost += np.bincount(group, weights=is_lost, minlength=len(AGES_S))
    with np.errstate(invalid="ignore"):
        return tuple(float(share) for share in lost / seen)


def _nodes(supply: SpotSupply) -> dict[str, float]:
    """What is measured of nodes rather than of availability zones."""
    held = supply.replicas.astype(np.int64)
    change = np.diff(held, axis=0)
    before, after = held[:-1], held[1:]
    partial = (change < 0) & (after > 0)
    lost = int(-change[change < 0].sum())
    up_h = float((before > 0).sum()) * supply.step_s / 3600.0
    node_h = float(before.sum()) * supply.step_s / 3600.0
    most = np.broadcast_to(held.max(axis=0), held.shape)
    runs = np.concatenate([_runs(column) for column in supply.replicas.T])
    return {
        "node_life_h": node_h / lost if lost else math.nan,
        "node_run_min": float(np.median(runs)) * supply.step_s / 60.0 if len(runs) else math.nan,
        "partial_per_h": float(partial.sum()) / up_h if up_h else math.nan,
        "partial_share": _mean(-change[partial] / before[partial]),
        "level": _mean(held[held > 0] / most[held > 0]),
    }


def _runs(held: Ints) -> NDArray[np.int64]:
    """Rows for which each node of a site was there, of those that came and went."""
    lengths = [np.empty(0, dtype=np.int64)]
    for level in range(1, int(held.max()) + 1):
        edges = np.diff((held >= level).astype(np.int8))
        comes, goes = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
        if len(comes):
            goes = goes[goes > comes[0]]
            lengths.append((goes - comes[: len(goes)]).astype(np.int64))
    return np.concatenate(lengths)
