"""How well each model has been doing lately, and the weight it gets for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.packing import pack, unpack

HALF_LIFE = 144.0
"""Bins after which an error counts half."""
SHARPNESS = 6.0
"""Power of the loss that weights fall with."""
_PRIOR = 2.0
"""Errors like the last value's that every model starts with."""


class TrailingLosses:
    """Losses of each row at each horizon, beside those of the first row at the same times.

    Rows that are not there all the time are compared only over the times when they were.

    Args:
        rows: Models; the first is the last value.
        horizons: How many.
    """

    __slots__ = ("_count", "_loss", "_reference")

    def __init__(self, rows: int, horizons: int) -> None:
        self._loss = np.zeros((rows, horizons))
        self._reference = np.zeros((rows, horizons))
        self._count = np.zeros((rows, horizons))

    def add(self, losses: Values, decay: Values) -> None:
        """Takes the losses of forecasts whose time has come.

        Args:
            losses: 0 or more, by row and horizon; NaN where there was no forecast.
            decay: What older losses are multiplied by, by horizon; 1 where nothing is new.
        """
        reference = losses[0]
        known = np.isfinite(losses) & np.isfinite(reference)
        faded = np.where(known, decay, 1.0)
        self._loss = self._loss * faded + np.where(known, losses, 0.0)
        self._reference = self._reference * faded + np.where(known, reference, 0.0)
        self._count = self._count * faded + known

    @property
    def count(self) -> Values:
        """Errors behind each ratio, older ones counting less."""
        return self._count

    def ratios(self) -> Values:
        """Each row's loss as a share of the first row's; 1 where nothing is known."""
        typical = self._reference / np.maximum(self._count, 1e-9)
        prior = _PRIOR * typical + 1e-9
        ratios: Values = (self._loss + prior) / (self._reference + prior)
        return ratios

    def weights(self, usable: Values) -> Values:
        """Shares of the rows in a combination, by horizon; they add up to 1.

        Args:
            usable: Which rows have a forecast now; the first always has.
        """
        raw = np.where(usable, np.maximum(self.ratios(), 1e-3) ** -SHARPNESS, 0.0)
        shares: Values = raw / raw.sum(axis=0)
        return shares

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from."""
        return {"sums": pack(np.stack([self._loss, self._reference, self._count]))}

    def restored(self, state: Any) -> TrailingLosses:
        """The losses of a state of the same shape.

        Args:
            state: What `state()` gave, or anything else.

        Raises:
            ValueError: It is something else.
        """
        rows, horizons = self._loss.shape
        sums = unpack(state["sums"], (3, rows, horizons))
        if not (np.isfinite(sums).all() and (sums >= 0).all()):
            raise ValueError("trailing losses are out of range")
        losses = TrailingLosses(rows, horizons)
        losses._loss, losses._reference, losses._count = sums.copy()
        return losses
