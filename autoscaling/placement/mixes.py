"""The search for the cheapest mix of spot and on-demand replicas that keeps the promise.

Few mixes are all looked at. Otherwise the search starts from even spreads over the cheapest, the
safest and alternating sites; single replicas are added, removed and moved while that is better.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from autoscaling.placement.judging import Bounds, Counts, Ground, Judge, Mix

UNITS = 64
"""Needs above it are searched in blocks of replicas that are lost together, which is careful."""
MAX_SITES = 12
ALL = 1024
"""Up to so many mixes are all looked at."""
STARTS = 4
SIZES = 16
MAX_STEPS = 60
MAX_REFINED = 4
MAX_IMPROVED = 12


def cheapest(grounds: Sequence[Ground], bounds: Bounds) -> Mix:
    """The cheapest mix that keeps to the bounds, or the one that misses them least.

    Args:
        grounds: Spot sites; more than 12 are cut to the cheapest.
        bounds: What is wanted.
    """
    order, kept = _kept(grounds)
    search = _Search(kept, bounds)
    block = _block(bounds)
    if block == 1:
        best = search.best()
    else:
        coarse = _Search(*_in_blocks(kept, bounds, block)).best()
        best = search.refined(coarse * block, block)
    value, on_demand = search.judge.judge(best[None, :])
    spot = [0] * len(grounds)
    for at, count in zip(order, best, strict=True):
        spot[at] = int(count)
    return Mix(tuple(spot), int(on_demand[0]), float(value[0]))


def improved(grounds: Sequence[Ground], bounds: Bounds, spot: Sequence[int]) -> Mix | None:
    """A mix made better in single replicas: much quicker than a search, and seldom worse.

    Args:
        grounds: Spot sites.
        bounds: What is wanted.
        spot: Replicas by site to begin with, in the order of the sites.

    Returns:
        What was found; None where only a search will do, since the need is searched in blocks or
        what there is to begin with is not within the bounds.
    """
    order, kept = _kept(grounds)
    mix = np.array([spot[at] for at in order], dtype=np.int64)
    if _block(bounds) > 1 or sum(spot) != mix.sum() or mix.sum() > bounds.most_spot:
        return None
    search = _Search(kept, bounds)
    best, value, on_demand = search.improved(mix)
    found = [0] * len(grounds)
    for at, count in zip(order, best, strict=True):
        found[at] = int(count)
    return Mix(tuple(found), on_demand, value)


def promising(grounds: Sequence[Ground], bounds: Bounds) -> float:
    """What the best mix to begin a search with is worth: a quick guess at what it would find.

    Args:
        grounds: Spot sites.
        bounds: What is wanted.
    """
    search = _Search(*_in_blocks(_kept(grounds)[1], bounds, _block(bounds)))
    return float(search.judge.judge(search.starts())[0].min())


class _Search:
    """Searches the mixes of one need.

    Args:
        grounds: Spot sites, the cheapest first.
        bounds: What is wanted.
    """

    __slots__ = ("_caps", "_grounds", "_total", "judge")

    def __init__(self, grounds: Sequence[Ground], bounds: Bounds) -> None:
        self._grounds, self._total = grounds, bounds.most_spot
        self.judge = Judge(grounds, bounds)
        self._caps = self.judge.caps

    def best(self) -> Counts:
        """The best mix that is found."""
        starts = self.starts()
        values, _ = self.judge.judge(starts)
        if self._few:
            return np.asarray(starts[np.argmin(values)])
        tried = [
            self._climb(starts[at], float(values[at]), (4, 1), MAX_STEPS)
            for at in np.argsort(values, kind="stable")[:STARTS]
        ]
        return min(tried, key=lambda found: found[1])[0]

    def starts(self) -> Counts:
        """Mixes to begin with; all there are where they are few."""
        return self._all() if self._few else self._spreads()

    def improved(self, mix: Counts) -> tuple[Counts, float, int]:
        """A mix made better in single replicas, what it is worth and what it takes on demand."""
        mix = np.minimum(mix, self._caps)
        value = float(self.judge.judge(mix[None, :])[0][0])
        best, value = self._climb(mix, value, (1,), MAX_IMPROVED)
        return best, value, int(self.judge.judge(best[None, :])[1][0])

    def refined(self, mix: Counts, block: int) -> Counts:
        """A mix that was found in blocks, improved in single replicas."""
        steps = [size for size in (block // 2, block // 8, 1) if size]
        value, _ = self.judge.judge(mix[None, :])
        return self._climb(mix, float(value[0]), steps, MAX_REFINED)[0]

    @property
    def _few(self) -> bool:
        return math.prod(int(cap) + 1 for cap in self._caps) <= ALL

    def _spreads(self) -> Counts:
        """Even spreads: over the cheapest, over regions in turn, over the safest, on one alone."""
        count, total = len(self._grounds), self._total
        orders = [list(range(count)), self._alternating(), self._safest()]
        sets = {tuple(sorted(order[:many])) for order in orders for many in range(1, count + 1)}
        sets |= {(at,) for at in range(count)}
        running = np.array([ground.running for ground in self._grounds], dtype=np.int64)
        spreads = [_even(count, sites, total) for sites in sorted(sets)]
        found = np.minimum(np.concatenate([running[None, :], *spreads]), self._caps)
        return np.asarray(found[found.sum(axis=1) <= total])

    def _alternating(self) -> list[int]:
        seen: dict[int, int] = {}
        rounds = []
        for at, ground in enumerate(self._grounds):
            rounds.append((seen.get(ground.region, 0), at))
            seen[ground.region] = seen.get(ground.region, 0) + 1
        return [at for _, at in sorted(rounds)]

    def _safest(self) -> list[int]:
        def lost(at: int) -> float:
            ground = self._grounds[at]
            return 1.0 - ground.stays * (1.0 - ground.zone_shock) * (1.0 - ground.region_shock)

        return sorted(range(len(self._grounds)), key=lost)

    def _all(self) -> Counts:
        """Every mix there is."""
        axes = [np.arange(cap + 1, dtype=np.int64) for cap in self._caps]
        rows = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
        return np.asarray(rows[rows.sum(axis=1) <= self._total])

    def _climb(
        self, mix: Counts, value: float, steps: Sequence[int], times: int
    ) -> tuple[Counts, float]:
        for step in steps:
            for _ in range(times):
                neighbours = self._neighbours(mix, step)
                if not len(neighbours):
                    break
                found, better = self._best(neighbours)
                if better >= value - 1e-9:
                    break
                mix, value = found, better
        return mix, value

    def _neighbours(self, mix: Counts, step: int) -> Counts:
        rows = mix + _steps(len(mix), step)
        fits = (rows >= 0).all(axis=1) & (rows <= self._caps).all(axis=1)
        return np.asarray(rows[fits & (rows.sum(axis=1) <= self._total)])

    def _best(self, mixes: Counts) -> tuple[Counts, float]:
        values, _ = self.judge.judge(mixes)
        at = int(np.argmin(values))
        return mixes[at], float(values[at])


@lru_cache(maxsize=4096)
def _even(count: int, sites: tuple[int, ...], total: int) -> Counts:
    """Replicas spread evenly over some of `count` sites: from none to `total` of them."""
    sizes = np.unique(np.linspace(0, total, min(total + 1, SIZES)).round().astype(np.int64))
    mixes = np.zeros((len(sizes), count), dtype=np.int64)
    share, rest = np.divmod(sizes[:, None], len(sites))
    mixes[:, sites] = share + (np.arange(len(sites))[None, :] < rest)
    return mixes


@lru_cache(maxsize=64)
def _steps(count: int, step: int) -> Counts:
    """What adds to one of `count` sites, takes from one, or moves from one to another."""
    each = np.eye(count, dtype=np.int64) * step
    moves = (each[:, None, :] - each[None, :, :]).reshape(-1, count)
    return np.concatenate([each, -each, moves])


def _kept(grounds: Sequence[Ground]) -> tuple[list[int], list[Ground]]:
    order = sorted(range(len(grounds)), key=lambda at: grounds[at].cost)[:MAX_SITES]
    return order, [grounds[at] for at in order]


def _block(bounds: Bounds) -> int:
    return max(1, math.ceil(bounds.need / UNITS))


def _in_blocks(
    grounds: Sequence[Ground], bounds: Bounds, block: int
) -> tuple[list[Ground], Bounds]:
    fewer = [
        ground._replace(most=ground.most // block, running=ground.running // block)
        for ground in grounds
    ]
    return fewer, replace(
        bounds,
        need=math.ceil(bounds.need / block),
        sure=math.ceil(bounds.left / block),
        least=math.ceil(bounds.least / block),
        missing=bounds.missing / block,
        most=math.ceil(bounds.most / block),
        most_spot=bounds.most_spot // block,
        most_total=math.ceil(bounds.most_total / block),
    )
