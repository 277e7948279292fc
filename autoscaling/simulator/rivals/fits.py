"""Fits for Dynamo's predictors, by the libraries, and what remembers them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from autoscaling.simulator.rivals.fitted_predictors import OneStep, ProphetFit
from autoscaling.simulator.terms import Floats

_MOST_REMEMBERED = 100_000
_NOISY = ("prophet", "prophet.plot", "prophet.models", "cmdstanpy")


def auto_arima(values: Floats) -> OneStep:
    """Chooses an ARIMA's order by AIC and fits it.

    pmdarima, which Dynamo uses, and statsforecast, which is used here, both follow the stepwise
    search of Hyndman and Khandakar (2008) with at most five AR and MA terms.

    Args:
        values: Numbers, one an interval; 5 or more, not all the same.

    Returns:
        What follows on some numbers. A fit that fails says the last one again, as Dynamo does.
    """
    model = _arima(values)
    if model is None:
        return _last
    if _is_flat(model):
        # A pure random walk; Dynamo then tries the logarithm, for spiky loads.
        logarithmic = _arima(np.log1p(values))
        if logarithmic is not None:
            return lambda later: float(np.expm1(_forward(logarithmic, np.log1p(later))))
    return lambda later: _forward(model, later)


def prophet_curve(values: Floats, step_s: float, count: int) -> Floats:
    """Prophet with its defaults, fitted to some numbers, for the next few.

    Args:
        values: Numbers, one an interval; 5 or more.
        step_s: Seconds between two of them.
        count: How many numbers are wanted.
    """
    for name in _NOISY:
        # Chatter of each fit, and complaints about plotting that nobody asked for.
        logging.getLogger(name).disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd  # type: ignore[import-untyped]
        from prophet import Prophet

        def times(begin: int, length: int) -> Any:
            return pd.to_datetime(step_s * np.arange(begin, begin + length), unit="s")

        model: Any = Prophet(uncertainty_samples=0)
        model.fit(pd.DataFrame({"ds": times(0, len(values)), "y": values}))
        curve = model.predict(pd.DataFrame({"ds": times(len(values), count)}))
    return np.asarray(curve["yhat"], dtype=np.float64)


def remembered(fit: ProphetFit) -> ProphetFit:
    """The same fit, which is not made twice; for runs over the same demand in one process.

    Args:
        fit: Fits Prophet.
    """
    known: dict[tuple[bytes, float, int], Floats] = {}

    def remembering(values: Floats, step_s: float, count: int) -> Floats:
        key = (values.tobytes(), step_s, count)
        curve = known.get(key)
        if curve is None:
            if len(known) >= _MOST_REMEMBERED:
                known.clear()
            curve = known[key] = fit(values, step_s, count)
        return curve

    return remembering


def remembered_arima(fit: Callable[[Floats], OneStep]) -> Callable[[Floats], OneStep]:
    """The same fit, which is not made twice; for runs over the same demand in one process.

    Args:
        fit: Chooses and fits a model.
    """
    known: dict[bytes, OneStep] = {}

    def remembering(values: Floats) -> OneStep:
        key = values.tobytes()
        one_step = known.get(key)
        if one_step is None:
            if len(known) >= _MOST_REMEMBERED // 100:
                known.clear()
            one_step = known[key] = fit(values)
        return one_step

    return remembering


def _arima(values: Floats) -> Any:
    """A fitted model; None if it cannot be had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsforecast.models import AutoARIMA  # type: ignore[import-untyped]

        try:
            return AutoARIMA(season_length=1).fit(values)
        except (ArithmeticError, ValueError, TypeError, IndexError, np.linalg.LinAlgError):
            return None


def _is_flat(model: Any) -> bool:
    ar, ma = model.model_["arma"][:2]
    return bool(ar == 0 and ma == 0)


def _forward(model: Any, values: Floats) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(model.forward(values, 1)["mean"][0])
        except (ArithmeticError, ValueError, TypeError, IndexError, np.linalg.LinAlgError):
            return _last(values)


def _last(values: Floats) -> float:
    return float(values[-1])
