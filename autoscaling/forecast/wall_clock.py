"""Local time: days of 23, 24 and 25 hours, and what one of them takes of events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.settings import Event

_DAY_S = 86400.0
# Clocks are changed at full quarters of an hour, so within one the offset is the same.
_QUARTER_S = 900


@lru_cache(maxsize=16384)
def _offset(timezone: str, quarter: int) -> float:
    moment = datetime.fromtimestamp(quarter * _QUARTER_S, UTC).astimezone(ZoneInfo(timezone))
    offset = moment.utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def local(timezone: str, walls: Values) -> Values:
    """Local wall-clock time as seconds, as if the clock's zone were UTC.

    Args:
        timezone: Such as `Europe/Berlin`.
        walls: Unix times in seconds.
    """
    if timezone == "UTC" or not len(walls):
        return walls
    quarters, where = np.unique(np.floor(walls / _QUARTER_S), return_inverse=True)
    offsets = np.array([_offset(timezone, int(quarter)) for quarter in quarters])
    clock: Values = walls + offsets[where]
    return clock


def follows_the_clock(period_s: float) -> bool:
    """Whether a period is one of local days, rather than of seconds that pass.

    Args:
        period_s: In seconds. Up to an hour it makes no difference: clocks change by full hours.
    """
    return period_s > 3600.0 and (_DAY_S % period_s == 0.0 or period_s % _DAY_S == 0.0)


def earlier(timezone: str, walls: Values, period_s: float, times: Values) -> Values:
    """The times some periods before, by the local clock where the period is one of days.

    Args:
        timezone: Such as `Europe/Berlin`.
        walls: Unix times in seconds.
        period_s: Length of a period in seconds.
        times: How many periods, for each of them.
    """
    before = walls - period_s * times
    if timezone == "UTC" or not follows_the_clock(period_s):
        return before
    shift = (local(timezone, walls) - walls) - (local(timezone, before) - before)
    moved: Values = before + shift
    return moved


class Factors:
    """What demand is multiplied by at known times.

    Args:
        events: Those without a factor are left to the models.
    """

    __slots__ = ("_events",)

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = tuple(
            (one.start, one.end, one.factor) for one in events if one.factor is not None
        )

    def __bool__(self) -> bool:
        return bool(self._events)

    def at(self, walls: Values) -> Values:
        """The factor at each time, above 0.

        Args:
            walls: Unix times in seconds.
        """
        factors = np.ones(len(walls))
        for start, end, factor in self._events:
            factors[(walls >= start) & (walls < end)] *= factor
        return factors

    def without(self, series: Series) -> Series:
        """The series as it had been without the events.

        Args:
            series: As observed.
        """
        if not self._events:
            return series
        middles = series.start + series.step_s * (
            np.arange(len(series.values), dtype=np.float64) + 0.5
        )
        return Series(series.start, series.step_s, series.values / self.at(middles))
