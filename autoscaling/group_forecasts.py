"""The forecasts of one group's demand: its prompt tokens and its output tokens apart."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoscaling.demand.history import DemandHistory, Side
from autoscaling.demand.terms import Work
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.outlook import Outlook
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.forecast.terms import QUANTILES, Forecast
from autoscaling.group_settings import GroupSettings

COARSE_S = 600.0
LATEST_S = 30.0
"""Seconds that count as the latest, at most; half the length of a bin where that is shorter."""


class GroupForecasts:
    """Carries a forecaster for each kind of work, once there has been any.

    Args:
        group: What the configuration says of the group.
        settings: How demand is forecast; None if it is not.
    """

    __slots__ = ("_forecasters", "_group", "_settings")

    def __init__(self, group: GroupSettings, settings: ForecastSettings | None) -> None:
        self._group = group
        self._settings = settings
        self._forecasters: dict[Side, SeriesForecaster] = {}

    @property
    def settings(self) -> ForecastSettings | None:
        """How demand is forecast; None if it is not."""
        return self._settings

    def learn(self, history: DemandHistory, wall: float, *, fits: bool) -> list[FitJob]:
        """Gives the forecasts the bins that have closed; once after each of them.

        Args:
            history: The demand of all groups.
            wall: Unix time in seconds.
            fits: Whether fits can be made.

        Returns:
            Fits that should be made now; their ids are of the form `GROUP/SIDE`.
        """
        if self._settings is None:
            return []
        name = self._group.name
        jobs: list[FitJob] = []
        for side in self._group.sides:
            fine = history.series(name, side, self._settings.step_s, wall)
            coarse = history.series(name, side, COARSE_S, wall)
            forecaster = self._forecasters.get(side)
            if forecaster is None:
                forecaster = self._forecasters[side] = SeriesForecaster(self._settings)
            forecaster.update(fine, coarse)
            if fits:
                due = forecaster.due(fine, coarse)
                jobs += [replace(job, id=f"{name}/{side}") for job in due]
        return jobs

    def fitted(self, side: str, result: FitResult) -> None:
        """Takes the result of a fit, whenever it comes.

        Args:
            side: Whose it is, by the end of the job's id.
            result: What came of it.
        """
        for own, forecaster in self._forecasters.items():
            if own == side:
                forecaster.fitted(result)

    def of(self, side: Side) -> SeriesForecaster | None:
        """The forecast of one kind of work; None before there has been any.

        Args:
            side: One of the group's sides.
        """
        return self._forecasters.get(side)

    def outlook(self, side: Side, wall: float) -> Outlook | None:
        """What is forecast of one kind of work; None where there is nothing to go by.

        Args:
            side: One of the group's sides.
            wall: Unix time in seconds.
        """
        forecaster = self._forecasters.get(side)
        return None if forecaster is None else forecaster.outlook()

    def latest(self, history: DemandHistory, wall: float) -> Work | None:
        """What arrived since the last bin closed, or little more; None if nobody has said.

        It is no longer than that, so that demand that has fallen off is not expected again.

        Args:
            history: The demand of all groups.
            wall: Unix time in seconds.
        """
        step_s = self._group.scaling.forecast.step_s
        return history.recent(self._group.name, wall, min(max(step_s / 2, 5.0), LATEST_S))

    def peaks(
        self, horizon_s: float, latest: Work | None, wall: float
    ) -> tuple[Forecast | None, Forecast | None]:
        """The greatest demand of prompt and of output tokens within some time.

        Args:
            horizon_s: Seconds from now.
            latest: What `latest` gave.
            wall: Unix time in seconds.

        Returns:
            None where there is nothing to go by; nothing but zeros for work that is not its own.
        """
        rates = (None, None) if latest is None else (latest.prefill, latest.decode)
        return (
            self._peak("prefill", horizon_s, rates[0], wall),
            self._peak("decode", horizon_s, rates[1], wall),
        )

    def why_none(self) -> str:
        """Why there is nothing to go by, in a few words."""
        if self._settings is None:
            return "forecasts are switched off"
        if not self._forecasters:
            return "there has been no demand yet"
        return f"not one span of {self._settings.step_s:g} s has been seen whole yet"

    def state(self) -> dict[str, Any]:
        """All that should outlive the process, as plain data."""
        return {side: each.state() for side, each in self._forecasters.items()}

    def restore(self, state: object) -> None:
        """Takes over what `state` gave.

        Args:
            state: Plain data.

        Raises:
            ValueError: It is something else, or of other settings; what could be taken over was.
        """
        if not isinstance(state, Mapping):
            raise ValueError("forecasts are a mapping")  # noqa: TRY004 - as whatever else is wrong
        if self._settings is None:
            return
        wrong: list[str] = []
        for side in self._group.sides:
            if side not in state:
                continue
            forecaster = SeriesForecaster(self._settings)
            try:
                forecaster.restore(state[side])
            except ValueError as error:
                wrong.append(f"{side}: {error}")
            else:
                self._forecasters[side] = forecaster
        if wrong:
            raise ValueError("; ".join(wrong))

    def _peak(
        self, side: Side, horizon_s: float, latest: float | None, wall: float
    ) -> Forecast | None:
        if side not in self._group.sides:
            return Forecast(horizon_s, (0.0,) * len(QUANTILES))
        outlook = self.outlook(side, wall)
        return None if outlook is None else outlook.look(wall, horizon_s, latest, peak=True)
