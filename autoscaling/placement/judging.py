"""What mixes of spot and on-demand replicas are worth.

For counts of spot replicas by site, the distribution of survivors says how many of them can be
relied on, and on-demand makes up the rest. It is computed for many mixes at once, as a product of
characteristic functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from autoscaling.placement.distribution import ROUNDING

Counts = NDArray[np.int64]
Spectra = NDArray[np.complex128]
Values = NDArray[np.float64]
TABLED = 512
"""Up to this size the characteristic functions of all counts are kept."""
SHORT = 1e9
"""What a missing replica weighs, so that no price comes before it."""
LEFT = 1e3
"""What a replica that is expected to be lost weighs while replicas are missing."""


class Ground(NamedTuple):
    """A spot site, as the search sees it."""

    region: int
    """Number of its region, from 0."""
    stays: float
    """Chance of a replica to stay if there is no shock."""
    zone_shock: float
    """Chance that its availability zone goes."""
    region_shock: float
    """Chance that its region goes."""
    cost: float
    """Of a replica."""
    most: int
    """Most replicas."""
    running: int = 0
    """Replicas there now."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a mix must keep to."""

    need: int
    """Replicas that there are to be."""
    chance: float
    """Chance with which `sure` of them are to be left, below 1."""
    least: int
    """Fewest on demand."""
    most: int
    """Most on demand."""
    most_spot: int
    """Most on spot nodes."""
    most_total: int
    """Most in all, where any are on spot nodes."""
    cost: float
    """Of a replica on demand."""
    discount: float = 0.0
    """Share of its cost that a spot replica seems cheaper where it runs already."""
    stand_in: float = 0.0
    """What it costs to be without a spot replica."""
    missing: float = 0.0
    """What all of them missing weighs; half of them missing weighs a quarter of it."""
    sure: int = -1
    """Of `need`, how many are to be left; below 0 for all of them."""

    @property
    def left(self) -> int:
        """Replicas that are to be left."""
        return self.need if self.sure < 0 else min(self.sure, self.need)

    def on_demand(self, spot: int, relied: int) -> int:
        """Replicas that a mix takes on demand, whether there may be so many or not.

        Args:
            spot: Replicas on spot nodes.
            relied: How many of those are left with the chance.
        """
        return max(self.least, self.need - spot, self.left - relied)


@dataclass(frozen=True, slots=True)
class Mix:
    """What the search has found."""

    spot: tuple[int, ...]
    """Replicas by site, in the order of the sites."""
    on_demand: int
    """Replicas on demand."""
    value: float
    """What it was judged by; less is better."""


class Judge:
    """Judges mixes of one need.

    Args:
        grounds: Spot sites.
        bounds: What a mix must keep to.
    """

    __slots__ = (
        "_bounds", "_grounds", "_prices", "_running", "_size", "_tables", "_waves", "caps",
    )  # fmt: skip

    def __init__(self, grounds: Sequence[Ground], bounds: Bounds) -> None:
        self._grounds, self._bounds = grounds, bounds
        self.caps: Counts = np.array(
            [min(ground.most, bounds.most_spot) for ground in grounds], dtype=np.int64
        )
        """Most replicas of each site."""
        self._prices = np.array([ground.cost for ground in grounds])
        self._running = np.array([ground.running for ground in grounds], dtype=np.int64)
        self._size = 1 << max(1, bounds.most_spot).bit_length()
        waves = np.exp(-2j * np.pi * np.arange(self._size // 2 + 1) / self._size)
        # A chance of 0 at one wave has no logarithm, and no weight either.
        self._waves = [
            np.log(1.0 - ground.stays + ground.stays * waves + 1e-300) for ground in grounds
        ]
        self._tables: list[Spectra] = []
        if self._size <= TABLED:
            counts = np.arange(bounds.most_spot + 1)
            self._tables = [self._spectra_of(at, counts) for at in range(len(grounds))]

    def judge(self, mixes: Counts) -> tuple[Values, Counts]:
        """What mixes are worth, less being better, and what each takes on demand.

        Args:
            mixes: Replicas by site, a row for each mix.
        """
        bounds = self._bounds
        tail = np.cumsum(self._survivors(mixes)[:, ::-1], axis=1)[:, ::-1]
        relied = np.count_nonzero(tail[:, 1:] >= bounds.chance - ROUNDING, axis=1)
        spot = mixes.sum(axis=1)
        wanted = np.maximum(bounds.left - relied, bounds.need - spot)
        wanted = np.maximum(bounds.least, wanted)
        on_demand = np.minimum(wanted, bounds.most)
        missing = wanted - on_demand
        costs: Values = bounds.cost * on_demand
        for column in self._spot_costs(mixes).T:
            costs = costs + column
        costs = costs + bounds.missing * self._missing(tail, bounds.need - on_demand)
        left = tail[:, 1:].sum(axis=1)
        costs = costs + missing * SHORT - (missing > 0) * left * LEFT
        beyond = spot + on_demand > bounds.most_total
        return np.where(beyond & mixes.any(axis=1), np.inf, costs), on_demand

    def _missing(self, tail: Values, relied_on: Counts) -> Values:
        """The expected square of how many are missing, as a share of the need's.

        Losing many at once is worse than losing few more often, so this spreads replicas.
        """
        upto = np.clip(relied_on, 0, self._size - 1)
        lost = 1.0 - tail
        rows = np.arange(len(upto))
        count = np.cumsum(lost, axis=1)[rows, upto]
        place = np.cumsum(lost * np.arange(self._size), axis=1)[rows, upto]
        return np.asarray(((2 * upto + 1) * count - 2 * place) / max(1, self._bounds.need) ** 2)

    def _survivors(self, mixes: Counts) -> Values:
        regions: dict[int, tuple[float, Spectra]] = {}
        for at, ground in enumerate(self._grounds):
            here = self._spectra(at, mixes[:, at])
            if ground.region in regions:
                here = regions[ground.region][1] * here
            regions[ground.region] = ground.region_shock, here
        spectrum = np.ones((len(mixes), self._size // 2 + 1), dtype=np.complex128)
        for shock, inside in regions.values():
            spectrum *= shock + (1.0 - shock) * inside
        return np.fft.irfft(spectrum, n=self._size, axis=1)

    def _spectra(self, at: int, counts: Counts) -> Spectra:
        """The characteristic function of the survivors at one site, a row for each count."""
        if self._tables:
            return self._tables[at][counts]
        few, rows = np.unique(counts, return_inverse=True)
        return self._spectra_of(at, few)[rows]

    def _spectra_of(self, at: int, counts: Counts) -> Spectra:
        shock = self._grounds[at].zone_shock
        return np.asarray(shock + (1.0 - shock) * np.exp(counts[:, None] * self._waves[at]))

    def _spot_costs(self, mixes: Counts) -> Values:
        kept = self._bounds.discount * np.minimum(mixes, self._running)
        return np.asarray(self._prices * (mixes - kept))

    def _sticky(self, counts: Counts, cost: float, running: int) -> Values:
        return np.asarray(cost * (counts - self._bounds.discount * np.minimum(counts, running)))
