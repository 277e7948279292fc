"""Rivals by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from autoscaling.simulator.policy import Policy
from autoscaling.simulator.rivals.dynamo import INTERVAL_S, dynamo
from autoscaling.simulator.rivals.dynamo_sky import dynamo_sky
from autoscaling.simulator.rivals.fits import auto_arima, prophet_curve
from autoscaling.simulator.rivals.fitted_predictors import (
    ArimaFit,
    ArimaPredictor,
    ProphetFit,
    ProphetPredictor,
)
from autoscaling.simulator.rivals.future_oracle import FutureOracle
from autoscaling.simulator.rivals.hpa import hpa
from autoscaling.simulator.rivals.instant_oracle import InstantOracle
from autoscaling.simulator.rivals.predictors import (
    ConstantPredictor,
    KalmanPredictor,
    Predictor,
)
from autoscaling.simulator.rivals.serve_default import serve_default, serve_spot_share, serve_tuned
from autoscaling.simulator.rivals.skyserve import skyserve
from autoscaling.simulator.rivals.spare_capacity import spare_capacity
from autoscaling.simulator.rivals.static_peak import static_peak

PREDICTORS = ("arima", "constant", "kalman", "prophet")
"""Dynamo's predictors."""


def predictors(
    name: str, fit: ArimaFit | ProphetFit | None = None, refit_every: int | None = None
) -> Callable[[], Predictor]:
    """What makes Dynamo's predictors.

    Args:
        name: One of `PREDICTORS`.
        fit: Fits ARIMA or Prophet; the library's if it is None.
        refit_every: Intervals between two fits of those; None for the default.

    Raises:
        ValueError: There is no such predictor.
    """
    options: dict[str, Any] = {} if refit_every is None else {"refit_every": refit_every}
    if name == "arima":
        return partial(ArimaPredictor, fit or auto_arima, **options)  # type: ignore[arg-type]
    if name == "prophet":
        heavy: Any = fit or prophet_curve
        return partial(ProphetPredictor, heavy, INTERVAL_S, **options)
    if name == "constant":
        return ConstantPredictor
    if name == "kalman":
        return KalmanPredictor
    raise ValueError(f"there is no predictor {name!r}; there are {', '.join(PREDICTORS)}")


def _dynamo(
    predictor: str,
    make: Callable[..., Policy],
    fit: ArimaFit | ProphetFit | None = None,
    refit_every: int | None = None,
    **settings: Any,
) -> Policy:
    return make(predictor, predictors(predictor, fit, refit_every), **settings)


_RIVALS: dict[str, Callable[..., Policy]] = {
    "hpa": hpa,
    "oracle-future": FutureOracle,
    "oracle-instant": InstantOracle,
    "serve-default": serve_default,
    "serve-spot-share": serve_spot_share,
    "serve-tuned": serve_tuned,
    "skyserve": skyserve,
    "spare-capacity": spare_capacity,
    "static-peak": static_peak,
    **{f"dynamo-{name}": partial(_dynamo, name, dynamo) for name in PREDICTORS},
    **{f"dynamo-{name}-sky": partial(_dynamo, name, dynamo_sky) for name in PREDICTORS},
}

NAMES = tuple(sorted(_RIVALS))
"""What `rivals` knows."""


def rivals(name: str, **settings: Any) -> Policy:
    """A fresh rival.

    Args:
        name: One of `NAMES`.
        settings: What its maker takes: `headroom` for all; `fit` and `refit_every` for Dynamo's
            ARIMA and Prophet; `work`, `step_s`, `begin_s` and `supply` for the oracles.

    Raises:
        ValueError: There is no such rival, or it has no such setting.
    """
    make = _RIVALS.get(name)
    if make is None:
        raise ValueError(f"there is no rival {name!r}; there are {', '.join(NAMES)}")
    try:
        return make(**settings)
    except TypeError as error:
        raise ValueError(f"rival {name}: {error}") from error
