"""The forecast of one series: models combined, gated on the last value, with quantiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from autoscaling.demand.terms import Series, Values
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.horizons import Horizons
from autoscaling.forecast.members import Members
from autoscaling.forecast.outlook import Outlook, above
from autoscaling.forecast.refits import Refits
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.forecast.terms import Forecast, MemberValue
from autoscaling.forecast.track_record import TrackRecord, Verdict
from autoscaling.forecast.wall_clock import Factors

_CATCH_UP = 64
"""Bins that are gone through one by one when they come at once; older ones are history only."""


class SeriesForecaster:
    """Forecasts of one series, such as the output tokens of one group.

    Args:
        settings: Models, seasons and how often they are fitted.
    """

    __slots__ = (
        "_factors", "_horizons", "_issued", "_members", "_outlook", "_record", "_refits",
        "_settings",
    )  # fmt: skip

    def __init__(self, settings: ForecastSettings) -> None:
        self._settings = settings
        self._horizons = Horizons(settings.step_s)
        self._factors = Factors(settings.events)
        self._members = Members(settings, self._horizons)
        self._record = TrackRecord(len(self._members.names), self._horizons)
        self._refits = Refits(settings)
        self._issued: tuple[Values, Values, Values] | None = None
        """What the models said last, what that is combined to, and with which weights."""
        self._outlook: Outlook | None = None

    def update(self, fine: Series, coarse: Series) -> None:
        """Takes what has become known. The same again changes nothing.

        Args:
            fine: Closed bins of `step_s`, as many as are kept.
            coarse: Closed bins of ten minutes.
        """
        fine, coarse = self._factors.without(fine), self._factors.without(coarse)
        step = self._settings.step_s
        if not len(fine.values):
            return
        known = self._members.end
        if fine.end < known - step / 2:
            # The clock has been set back: what was said is of another time.
            self._record.clear()
            known = fine.end - step
        new = (fine.end - max(known, fine.start)) / step
        for behind in reversed(range(min(round(new), _CATCH_UP))):
            end = fine.end - behind * step
            value = self._members.close(end, fine, coarse)
            if math.isfinite(value):
                self._record.score(round(end / step), value)
            self._issue()

    def due(self, fine: Series, coarse: Series) -> tuple[FitJob, ...]:
        """Fits that should be made now, at most one a model.

        Args:
            fine: As for `update`.
            coarse: As for `update`.
        """
        return self._refits.due(self._factors.without(fine), self._factors.without(coarse))

    def fitted(self, result: FitResult) -> None:
        """Takes a fit, early, late or failed.

        Args:
            result: What came of a job of `due`.
        """
        good = self._members.fitted(result)
        self._refits.ended(result.model, not result.error)
        if good:
            self._issue()

    def forecast(self, wall: float, horizon_s: float, latest: float | None) -> Forecast | None:
        """Demand at one time ahead.

        Args:
            wall: Unix time in seconds.
            horizon_s: Seconds from then; taken as 5 if less and as 3600 if more.
            latest: Tokens a second of the last seconds, which are in no bin yet; None if unknown.

        Returns:
            The forecast, or None while there is nothing to go by.
        """
        return self._look(wall, horizon_s, latest, peak=False)

    def peak(self, wall: float, horizon_s: float, latest: float | None) -> Forecast | None:
        """The greatest demand between now and then, for each quantile.

        Args:
            wall: Unix time in seconds.
            horizon_s: Seconds from then; taken as 5 if less and as 3600 if more.
            latest: Tokens a second of the last seconds, which are in no bin yet; None if unknown.

        Returns:
            The forecast, or None while there is nothing to go by.
        """
        return self._look(wall, horizon_s, latest, peak=True)

    def outlook(self) -> Outlook | None:
        """What is forecast after the last bin; None while there is nothing to go by."""
        if not math.isfinite(self._members.last):
            return None
        if self._outlook is None:
            self._outlook = self._survey()
        return self._outlook

    def state(self) -> dict[str, Any]:
        """Plain data to be restored from: numbers, text, lists and dictionaries."""
        return {
            "mark": self._settings.mark,
            "members": self._members.state(),
            "record": self._record.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state. What was said of times still to come is not in it.

        Args:
            state: What `state()` gave.

        Raises:
            ValueError: It is of other settings or damaged; nothing has changed then.
        """
        try:
            mark = state["mark"]
            if mark != self._settings.mark:
                raise ValueError(
                    f"a forecast's state is of other settings: {mark!r}, not "
                    f"{self._settings.mark!r}; start without it"
                )
            members = self._members.restored(state["members"])
            record = self._record.restored(state["record"])
        except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
            raise ValueError(f"a forecast's state is damaged: {error!r}") from None
        self._members, self._record = members, record
        self._issue()

    def _look(
        self, wall: float, horizon_s: float, latest: float | None, *, peak: bool
    ) -> Forecast | None:
        outlook = self.outlook()
        return None if outlook is None else outlook.look(wall, horizon_s, latest, peak=peak)

    def _issue(self) -> None:
        """Says anew what is to come after the last bin."""
        self._outlook = None
        if math.isfinite(self._members.last):
            index = round(self._members.end / self._settings.step_s)
            rows = self._members.ahead()
            self._issued = (rows, *self._record.issue(index, rows))

    def _survey(self) -> Outlook:
        assert self._issued is not None
        rows, combined, weights = self._issued
        record = self._record
        verdict, offsets = record.verdict(), record.offsets()
        centre = np.where(verdict.won, combined, rows[0])
        chosen = np.where(verdict.won[:, None], offsets[1], offsets[0])
        quantiles = above(centre[:, None], chosen, record.small)
        ceiling = np.maximum(record.ceiling, centre)[:, None]
        return Outlook(
            end=self._members.end,
            step_s=self._settings.step_s,
            quantiles=np.minimum(quantiles, ceiling),
            offsets=offsets[0],
            small=record.small,
            factors=self._factors,
            explain=lambda index: self._explained(
                rows[:, index], weights[:, index], verdict, index
            ),
        )

    def _explained(
        self, values: Values, weights: Values, verdict: Verdict, index: int
    ) -> tuple[tuple[MemberValue, ...], str]:
        won, ratio, count = verdict.won[index], verdict.ratio[index], verdict.count[index]
        shares = weights if won else np.eye(len(values))[0]
        members = tuple(
            MemberValue(name, float(value), float(share))
            for name, value, share in zip(self._members.names, values, shares, strict=True)
            if math.isfinite(value)
        )
        over = f"{ratio:.2f} of the last value's over {count:.0f} trailing errors"
        if won:
            return members, f"combination of {len(members)} models: its pinball loss is {over}"
        if count < 1.0:
            return members, "last value: nothing is known yet of how well the models do"
        return members, f"last value: the combination's pinball loss is {over}"
