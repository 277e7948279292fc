"""What is forecast after one closed bin: computed once, asked for each tick."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy

import numpy as np

from autoscaling.demand.terms import Values
from autoscaling.forecast.settings import LONGEST_S
from autoscaling.forecast.terms import QUANTILES, Forecast, MemberValue
from autoscaling.forecast.wall_clock import Factors

_SURPRISE = QUANTILES.index(0.99)


def above(forecast: Values, offsets: Values, small: float) -> Values:
    """Quantiles of demand around a forecast.

    Args:
        forecast: Tokens a second.
        offsets: Of its quantiles, as logarithms of demand over forecast.
        small: Tokens a second below which errors are not relative.
    """
    quantiles: Values = np.maximum(forecast + (forecast + small) * np.expm1(offsets), 0.0)
    return quantiles


class Outlook:
    """Quantiles of demand at every step ahead.

    Args:
        end: When the last closed bin ended, Unix time in seconds.
        step_s: Length of a bin in seconds.
        quantiles: By step and quantile, without what events multiply demand by.
        offsets: Of the quantiles around the last value, by step and quantile.
        small: Tokens a second below which errors are not relative.
        factors: What events multiply demand by.
        explain: Gives what a forecast is made of and why, by the number of the step from 0.
    """

    __slots__ = (
        "_end", "_explain", "_explained", "_factors", "_offsets", "_peaks", "_rows", "_small",
        "_step_s", "_surprise", "_times",
    )  # fmt: skip

    def __init__(
        self,
        *,
        end: float,
        step_s: float,
        quantiles: Values,
        offsets: Values,
        small: float,
        factors: Factors,
        explain: Callable[[int], tuple[tuple[MemberValue, ...], str]],
    ) -> None:
        self._end, self._step_s, self._small = end, step_s, small
        rising = np.maximum.accumulate(quantiles, axis=1)
        self._times = np.ones(len(rising))
        if factors:
            self._times = factors.at(
                end + step_s * (np.arange(len(rising), dtype=np.float64) + 0.5)
            )
        times = self._times[:, None]
        self._factors = factors
        # Few of the rows are asked for: plain numbers are made of those alone.
        self._rows: Values = rising * times
        self._peaks: Values = np.maximum.accumulate(self._rows, axis=0)
        self._offsets: Values = np.maximum.accumulate(offsets, axis=1)
        self._surprise = float(self._rows[0, _SURPRISE])
        self._explain = explain
        self._explained: dict[int, tuple[tuple[MemberValue, ...], str]] = {}

    def look(self, wall: float, horizon_s: float, latest: float | None, *, peak: bool) -> Forecast:
        """The forecast for one time ahead, or the greatest until then.

        Args:
            wall: Unix time in seconds.
            horizon_s: Seconds from then; taken as 5 if less and as 3600 if more.
            latest: Tokens a second of the last seconds; None if unknown.
            peak: Whether the greatest is asked for.
        """
        horizon_s = min(max(horizon_s, 5.0), LONGEST_S)
        ahead = math.ceil((wall - self._end + horizon_s) / self._step_s - 1e-6)
        index = min(max(ahead, 1), len(self._rows)) - 1
        quantiles: list[float] = (self._peaks if peak else self._rows)[index].tolist()
        members, reason = self._explained.get(index) or self._made_of(index)
        # Demand beyond what was thought possible is a crowd: what it is now is the least to expect.
        if latest is not None and self._surprise < latest < math.inf:
            quantiles = self._lifted(quantiles, latest, index)
            reason = (
                f"{latest:,.0f} tokens/s arrive now, above P99 "
                f"({self._surprise:,.0f}): they are the least to expect"
            )
        return Forecast(horizon_s, tuple(quantiles), members, reason)

    def peaks(self) -> Outlook:
        """The same for peaks alone and without what they are made of: what is worth keeping."""
        kept: Outlook = copy(self)
        kept._rows, kept._explained = kept._peaks, {}
        kept._times = np.ones(len(kept._rows))
        kept._explain = _unexplained
        return kept

    def _lifted(self, quantiles: list[float], latest: float, index: int) -> list[float]:
        small = self._small
        return [
            max(value, latest + (latest + small) * math.expm1(max(offset, 0.0)))
            for value, offset in zip(quantiles, self._offsets[index].tolist(), strict=True)
        ]

    def _made_of(self, index: int) -> tuple[tuple[MemberValue, ...], str]:
        members, reason = self._explain(index)
        factor = float(self._times[index])
        if factor != 1.0:
            members = tuple(MemberValue(m.name, m.value * factor, m.weight) for m in members)
            reason = f"{reason}; times {factor:g} for an event"
        self._explained[index] = (members, reason)
        return members, reason


def _unexplained(_index: int) -> tuple[tuple[MemberValue, ...], str]:
    return (), ""
