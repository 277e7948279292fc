"""What was said of each bin against what came, and what follows for the next ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaling.demand.terms import Values
from autoscaling.forecast.conformal import Conformal
from autoscaling.forecast.horizons import Horizons
from autoscaling.forecast.issued import Issued
from autoscaling.forecast.outlook import above
from autoscaling.forecast.terms import QUANTILES
from autoscaling.forecast.trailing import HALF_LIFE, TrailingLosses
from autoscaling.forecast.turbulence import Turbulence

_LEVEL_BINS = 288.0
"""Bins that typical demand is a mean of."""
_SMALL = 1.0
"""Errors are relative to demand plus this share of typical demand."""
_UNREST = 0.8
"""Power of the turbulence that widths one step ahead grow with; it falls with the root of steps."""
_LEAST_SCORES = 6.0
"""Errors that must have been seen before anything but the last value is believed."""
_JUDGED = np.array(QUANTILES[:3])
"""The highest quantile is too rarely met to judge by."""
_GREATEST_FADES = 0.999
_CEILING = 3.0
"""No quantile is beyond this many times what has been seen or is forecast."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The combination against the last value, by step ahead."""

    won: NDArray[np.bool_]
    """Whether the combination is believed."""
    ratio: Values
    """Its pinball loss as a share of the last value's."""
    count: Values
    """Errors behind that, older ones counting less."""


class TrackRecord:
    """How well each model, and the combination, has been doing at each horizon.

    Args:
        models: How many; the first is the last value.
        horizons: Steps ahead.
    """

    __slots__ = (
        "_calibration", "_contest", "_decay", "_greatest", "_horizons", "_issued", "_level",
        "_level_bins", "_losses", "_powers", "_turbulence",
    )  # fmt: skip

    def __init__(self, models: int, horizons: Horizons) -> None:
        self._horizons = horizons
        scored = len(horizons.scored)
        # Two rows more than models: their combination, and the turbulence when it was made.
        self._issued = Issued(models + 2, horizons)
        self._losses = TrailingLosses(models, scored)
        # The last value and the combination, each with quantiles of its own, compete.
        self._calibration = Conformal(2, scored)
        self._contest = TrailingLosses(2, scored)
        self._turbulence = Turbulence()
        self._decay = 0.5 ** (horizons.strides / HALF_LIFE)
        self._powers = _UNREST / np.sqrt(horizons.scored)
        self._level = self._level_bins = self._greatest = 0.0

    def clear(self) -> None:
        """Forgets what has been said of times to come."""
        self._issued.clear()

    def score(self, index: int, value: float) -> None:
        """Compares what was said of a bin with what came.

        Args:
            index: Number of the bin.
            value: Tokens a second in it.
        """
        self._level_bins = min(self._level_bins + 1.0, _LEVEL_BINS)
        self._level += (value - self._level) / self._level_bins
        self._greatest = max(value, self._greatest * _GREATEST_FADES)
        said = self._issued.of(index)
        step_error = math.log((value + self.small) / (said[-2, 0] + self.small))
        if math.isfinite(step_error):
            self._turbulence.add(abs(step_error))
        said[:, index % self._horizons.strides != 0] = np.nan
        if not np.isfinite(said[0]).any():
            return
        decay = self._decay
        self._losses.add(np.abs(value - said[:-2]), decay)
        rivals, width = said[[0, -2]], said[-1]
        offsets = self._calibration.offsets * width[:, None]
        quantiles = above(rivals[..., None], offsets[..., : len(_JUDGED)], self.small)
        error = value - quantiles
        losses = np.maximum(_JUDGED * error, (_JUDGED - 1.0) * error).sum(axis=-1)
        self._contest.add(losses, decay)
        self._calibration.add(np.log((value + self.small) / (rivals + self.small)) / width)

    def combine(self, rows: Values) -> tuple[Values, Values]:
        """Combines what the models say.

        Args:
            rows: By model and step; NaN where a model says nothing, which the first never does.

        Returns:
            The combination by step, and the weights in it by model and step.
        """
        known = np.isfinite(rows)
        weights = self._losses.weights(known[:, self._horizons.scored - 1])
        weights = np.where(known, self._horizons.spread(weights), 0.0)
        weights /= weights.sum(axis=0)
        return (weights * np.where(known, rows, 0.0)).sum(axis=0), weights

    def issue(self, index: int, rows: Values) -> tuple[Values, Values]:
        """Keeps what is said, to be scored when its time has come.

        Args:
            index: Number of the last bin that is known.
            rows: By model and step.

        Returns:
            What `combine` makes of the rows.
        """
        combined, weights = self.combine(rows)
        at = self._horizons.scored - 1
        self._issued.record(index, np.vstack([rows[:, at], combined[at], self._widths()]))
        return combined, weights

    def verdict(self) -> Verdict:
        """Whether the combination is to be believed, by step."""
        ratio, count = self._contest.ratios()[1], self._contest.count[1]
        better = (ratio < 1.0) & (count >= _LEAST_SCORES)
        spread = self._horizons.spread
        return Verdict(spread(better.astype(np.float64)) > 0.5, spread(ratio), spread(count))

    def offsets(self) -> Values:
        """Of the quantiles: around the last value and the combination, by step and quantile."""
        offsets = self._calibration.offsets * self._widths()[:, None]
        return self._horizons.spread(offsets.swapaxes(1, 2)).swapaxes(1, 2)

    @property
    def small(self) -> float:
        """Tokens a second that are added to demand before errors are taken as relative."""
        return max(_SMALL * self._level, 1e-3)

    @property
    def ceiling(self) -> float:
        """Tokens a second that quantiles are cut off at, unless more is forecast itself."""
        return _CEILING * self._greatest

    def _widths(self) -> Values:
        widths: Values = self._turbulence.ratio**self._powers
        return widths

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from. What was said of times to come is not in it."""
        return {
            "losses": self._losses.state(),
            "contest": self._contest.state(),
            "calibration": self._calibration.state(),
            "turbulence": self._turbulence.state(),
            "level": [self._level, self._level_bins, self._greatest],
        }

    def restored(self, state: Any) -> TrackRecord:
        """The record of a state of the same models and horizons.

        Args:
            state: What `state()` gave, or anything else.

        Raises:
            ValueError: It is something else.
        """
        record = TrackRecord(self._losses.count.shape[0], self._horizons)
        record._losses = self._losses.restored(state["losses"])
        record._contest = self._contest.restored(state["contest"])
        record._calibration = self._calibration.restored(state["calibration"])
        record._turbulence = Turbulence.restored(state["turbulence"])
        level, bins, greatest = (float(value) for value in state["level"])
        if not all(0 <= value < math.inf for value in (level, bins, greatest)):
            raise ValueError("typical demand is out of range")
        record._level, record._level_bins, record._greatest = level, bins, greatest
        return record
