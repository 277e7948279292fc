"""Forecasts that are made once for all runs which see the same demand."""

from __future__ import annotations

from autoscaling.demand.history import DemandHistory, Side
from autoscaling.forecast.fitting import FitJob
from autoscaling.forecast.outlook import Outlook
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.group_forecasts import GroupForecasts
from autoscaling.group_settings import GroupSettings

Told = dict[tuple[Side, float], Outlook | None]
"""What was forecast of each kind of work at each Unix time."""


class SharedForecasts:
    """What the first run forecast, for those after it. Demand does not depend on the policy.

    All runs must have the same demand, begin with the same past, plan at the same times and
    forecast by the same models.

    Args:
        until: Unix time of the last plan; a run that did not come so far is of no use to others.
    """

    __slots__ = ("_told", "_until")

    def __init__(self, until: float) -> None:
        self._until = until
        self._told: Told = {}

    def known(self) -> bool:
        """Whether a run has gone through, so that others need not forecast."""
        return any(wall >= self._until for _, wall in self._told)

    def of(self, group: GroupSettings, settings: ForecastSettings | None) -> GroupForecasts:
        """The forecasts of a run: told again where they are known, made and kept where not.

        Args:
            group: What the configuration says of the group.
            settings: How demand is forecast; None if it is not.
        """
        if self.known():
            return _ToldAgain(group, settings, self._told)
        self._told = {}
        return _Kept(group, settings, self._told)


class _Kept(GroupForecasts):
    __slots__ = ("_told",)

    def __init__(self, group: GroupSettings, settings: ForecastSettings | None, told: Told) -> None:
        super().__init__(group, settings)
        self._told = told

    def outlook(self, side: Side, wall: float) -> Outlook | None:
        found = super().outlook(side, wall)
        self._told[side, wall] = None if found is None else found.peaks()
        return found


class _ToldAgain(GroupForecasts):
    __slots__ = ("_told",)

    def __init__(self, group: GroupSettings, settings: ForecastSettings | None, told: Told) -> None:
        super().__init__(group, settings)
        self._told = told

    def learn(self, history: DemandHistory, wall: float, *, fits: bool) -> list[FitJob]:
        return []

    def outlook(self, side: Side, wall: float) -> Outlook | None:
        return self._told[side, wall]

    def restore(self, state: object) -> None:
        """Takes nothing: what was learned before is in what is told."""
