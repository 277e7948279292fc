"""Two weeks of demand, fed bin by bin to the forecaster of production."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue

import numpy as np
from numpy.typing import NDArray

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import fit
from autoscaling.forecast.horizons import Horizons
from autoscaling.forecast.outlook import above
from autoscaling.forecast.series_forecaster import SeriesForecaster
from autoscaling.forecast.settings import LAST_VALUE, ForecastSettings
from autoscaling.forecast.terms import QUANTILES, Forecast
from autoscaling.forecast.track_record import TrackRecord

STEP_S = 600.0
TEST_FROM = 1008
"""Bins before the first origin: seven days."""
HORIZONS = (1, 3, 6)
"""Steps ahead that are judged: 10, 30 and 60 minutes."""
OURS, PLAIN, CALIBRATED = "Tidegate", "last value", "last value, calibrated"
SETTINGS = ForecastSettings(step_s=STEP_S)
_BEGIN = 1_699_920_000.0
"""A midnight; the trace does not say when it was taken."""

Quantiles = NDArray[np.float64]


@dataclass(slots=True)
class Replayed:
    """All that was forecast on the test days of one series."""

    name: str
    values: Quantiles
    """Demand in all bins."""
    forecasts: dict[str, Quantiles] = field(default_factory=dict)
    """By model: by origin (from `TEST_FROM` bins on), horizon and quantile; NaN where none."""
    fit_seconds: dict[str, list[float]] = field(default_factory=dict)
    """By model: how long each fit took."""
    update_seconds: list[float] = field(default_factory=list)
    """How long it took to take each bin."""


def read(traces: Path, name: str) -> Quantiles:
    """Requests a second in bins of ten minutes; NaN where collection seems to have failed."""
    table = np.genfromtxt(
        traces / "servegen" / f"total_rate_language-{name}.csv", delimiter=",", names=True
    )
    values = np.asarray(table["rate_rps"], dtype=np.float64)
    # A service of a thousand requests a second does not fall to exactly none.
    values[values == 0.0] = np.nan
    return values


class Alone:
    """One model by itself, in the calibration that the combination has."""

    def __init__(self) -> None:
        self._horizons = Horizons(STEP_S)
        self._record = TrackRecord(1, self._horizons)

    def score(self, index: int, value: float) -> None:
        if np.isfinite(value):
            self._record.score(index, value)

    def forecast(self, index: int, ahead: list[float]) -> Quantiles:
        # Further than an hour nothing is judged: the last one stands for it.
        row = np.array(ahead + ahead[-1:] * (self._horizons.top - len(ahead)))
        self._record.issue(index, row[None])
        offsets = self._record.offsets()[0]
        quantiles = above(row[:, None], offsets, self._record.small)
        return quantiles[[step - 1 for step in HORIZONS]]


def replay(traces: Path, name: str, said: Queue[str]) -> Replayed:
    """Plays a series through; its name is put into `said` after each bin."""
    values = read(traces, name)
    forecaster = SeriesForecaster(SETTINGS)
    alone: dict[str, Alone] = {}
    result = Replayed(name, values)
    shape = (len(values) - TEST_FROM, len(HORIZONS), len(QUANTILES))
    for count in range(1, len(values)):
        series = Series(_BEGIN, STEP_S, values[:count])
        began = time.perf_counter()
        forecaster.update(series, series)
        result.update_seconds.append(time.perf_counter() - began)
        for job in forecaster.due(series, series):
            began = time.perf_counter()
            outcome = fit(job)
            if not outcome.error:
                result.fit_seconds.setdefault(job.model, []).append(time.perf_counter() - began)
            forecaster.fitted(outcome)
        ahead = [forecaster.forecast(series.end, step * STEP_S, None) for step in range(1, 7)]
        said.put(name)
        _keep(result, alone, ahead, count, shape)
    return result


def _keep(
    result: Replayed,
    alone: dict[str, Alone],
    ahead: list[Forecast | None],
    count: int,
    shape: tuple[int, ...],
) -> None:
    known = [forecast for forecast in ahead if forecast is not None]
    if len(known) < len(ahead):
        return
    said = {OURS: np.array([known[step - 1].quantiles for step in HORIZONS])}
    for model in alone.values():
        model.score(count, float(result.values[count - 1]))
    for place, member in enumerate(known[0].members):
        path = [forecast.members[place].value for forecast in known]
        model = alone.setdefault(member.name, Alone())
        title = CALIBRATED if member.name == LAST_VALUE else member.name
        said[title] = model.forecast(count, path)
        if member.name == LAST_VALUE:
            said[PLAIN] = np.repeat(np.array(path)[[s - 1 for s in HORIZONS], None], shape[2], 1)
    origin = count - TEST_FROM
    if origin >= 0:
        for title, quantiles in said.items():
            kept = result.forecasts.setdefault(title, np.full(shape, np.nan))
            kept[origin] = quantiles
