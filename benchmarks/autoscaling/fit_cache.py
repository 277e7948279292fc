"""Fits that have been made are not made again: demand is the same in all runs of a series."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from autoscaling.forecast.fitting import FitJob, FitResult, fit
from autoscaling.simulator.rivals.fits import auto_arima, prophet_curve
from autoscaling.simulator.rivals.fitted_predictors import ArimaFit, OneStep, ProphetFit
from autoscaling.simulator.terms import Floats
from benchmarks.autoscaling.shelf import Shelf


class FitCache:
    """A `fit` that remembers: of ours, what `autoscaling.forecast.fitting.fit` would answer.

    Args:
        shelf: What remembers.
        make: What makes a fit that is not known.
    """

    def __init__(self, shelf: Shelf, make: Callable[[FitJob], FitResult] = fit) -> None:
        self._shelf, self._make = shelf, make
        self.made = 0
        """Fits that were not known."""

    def __call__(self, job: FitJob) -> FitResult:
        """The fit of a job, which is known by all that it contains but the caller's id.

        Args:
            job: What to fit.
        """
        key = digest_of(job)
        found = self._shelf.get(key)
        if found is not None:
            data = json.loads(found)
            return FitResult(**{**data, "values": tuple(data["values"]), "id": job.id})
        result = self._make(job)
        self.made += 1
        self._shelf.put(key, json.dumps(asdict(replace(result, id=""))))
        return result


def digest_of(job: FitJob) -> str:
    """The same for jobs that have the same answer.

    Args:
        job: The job.
    """
    series = job.series
    terms = [job.model, asdict(job.settings), series.start, series.step_s, job.start, job.count]
    return _digest(json.dumps(terms, sort_keys=True), series.values)


def shelved_prophet(shelf: Shelf, make: ProphetFit = prophet_curve) -> ProphetFit:
    """Dynamo's Prophet, which is not fitted twice to the same numbers.

    Args:
        shelf: What remembers.
        make: Fits Prophet.
    """

    def remembering(values: Floats, step_s: float, count: int) -> Floats:
        key = _digest(f"prophet {step_s!r} {count}", values)
        found = shelf.get(key)
        if found is not None:
            return np.array(json.loads(found), dtype=np.float64)
        curve = make(values, step_s, count)
        shelf.put(key, json.dumps(curve.tolist()))
        return curve

    return remembering


def shelved_arima(shelf: Shelf, make: ArimaFit = auto_arima) -> ArimaFit:
    """Dynamo's ARIMA, which is fitted only where a step ahead is not known yet.

    Args:
        shelf: What remembers.
        make: Chooses and fits a model.
    """

    def remembering(values: Floats) -> OneStep:
        fitted: list[OneStep] = []
        of = _digest("arima", values)

        def ahead(later: Floats) -> float:
            key = _digest(of, later)
            found = shelf.get(key)
            if found is not None:
                return float(json.loads(found))
            if not fitted:
                fitted.append(make(values))
            said = float(fitted[0](later))
            shelf.put(key, json.dumps(said))
            return said

        return ahead

    return remembering


def _digest(text: str, values: Floats) -> str:
    known = hashlib.blake2b(text.encode() + b"\0", digest_size=20)
    known.update(values.astype("<f8").tobytes())
    return known.hexdigest()
