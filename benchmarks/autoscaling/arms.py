"""The policies that are compared: how each is made, what is tuned of it, what it may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.simulator.policy import Policy
from autoscaling.simulator.rivals.dynamo import dynamo
from autoscaling.simulator.rivals.dynamo_sky import dynamo_sky
from autoscaling.simulator.rivals.fitted_predictors import (
    ArimaFit,
    ArimaPredictor,
    ProphetFit,
    ProphetPredictor,
)
from autoscaling.simulator.rivals.future_oracle import FutureOracle
from autoscaling.simulator.rivals.hpa import hpa
from autoscaling.simulator.rivals.instant_oracle import InstantOracle
from autoscaling.simulator.rivals.predictors import ConstantPredictor, KalmanPredictor, Predictor
from autoscaling.simulator.rivals.serve_default import serve_default, serve_tuned
from autoscaling.simulator.rivals.skyserve import skyserve
from autoscaling.simulator.rivals.spare_capacity import spare_capacity
from autoscaling.simulator.rivals.static_peak import static_peak
from autoscaling.simulator.shared_forecasts import SharedForecasts
from autoscaling.simulator.simulated_fleet import Variant
from autoscaling.simulator.terms import Floats, SpotSupply
from autoscaling.simulator.tidegate import TidegatePolicy

OURS = "tidegate"
STRONG = "dynamo-sky"
STATIC = "static-peak"
TUNED = "serve-tuned"
SKY = "skyserve"
ORACLE = "oracle-lead"
TICK_S = 60.0
"""Seconds between two plans of ours, in production 1: starts take minutes."""
PROPHET_EVERY = 20
"""Intervals of 180 s between two fits of Dynamo's Prophet; it makes one each time, which takes
hours for a week."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a policy may be made of beside its own settings."""

    fit: Callable[[FitJob], FitResult]
    """Makes the fits of ours."""
    prophet: ProphetFit
    """Makes those of Dynamo's Prophet."""
    arima: ArimaFit
    """Makes those of Dynamo's ARIMA."""
    learned: Callable[[Variant], Mapping[str, Mapping[str, Any]] | None]
    """What ours has learned of the past, by variant; None where there is no past."""
    forecasts: Callable[[Variant], SharedForecasts]
    """What ours forecasts, by variant: the same in all runs of the same demand."""
    work: Callable[[], Floats]
    """Replicas that each step of the span keeps busy: the future, for oracles."""
    step_s: float
    begin_s: float
    """When the span begins."""
    supply: SpotSupply
    """Spot capacity, for the oracle."""


Make = Callable[[float, int, Given], Policy]


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of the comparison."""

    title: str
    make: Make
    """Of headroom, variant and what is given."""
    role: str
    """`main`, `other` or `ablation`: how much is played of it."""
    seconds: float
    """Wall time of seven days, before there is a measured one."""
    variants: tuple[str, ...] = ("",)
    """Settings of which tuning chooses one."""
    tuned: bool = True
    """Whether its headroom is chosen; otherwise it is 1."""
    begin: float = 1.0
    """The first headroom that tuning tries."""
    shares: str = ""
    """Arm whose headroom it takes where it is not tuned itself."""


def _predictor(name: str, given: Given) -> Callable[[], Predictor]:
    made: dict[str, Callable[[], Predictor]] = {
        "constant": ConstantPredictor,
        "kalman": KalmanPredictor,
        "arima": lambda: ArimaPredictor(given.arima),
        "prophet": lambda: ProphetPredictor(given.prophet, refit_every=PROPHET_EVERY),
    }
    return made[name]


_PREDICTORS = ("constant", "kalman", "arima", "prophet")


def _dynamo(name: str) -> Make:
    return lambda headroom, _, given: dynamo(name, _predictor(name, given), headroom)


def _strong(headroom: float, variant: int, given: Given) -> Policy:
    name = _PREDICTORS[variant]
    return dynamo_sky(name, _predictor(name, given), headroom)


_DELAYS = ((10.0, 300.0), (30.0, 600.0), (10.0, 900.0))


def _serve_tuned(headroom: float, variant: int, _: Given) -> Policy:
    up_s, down_s = _DELAYS[variant]
    return serve_tuned(headroom, upscale_delay_s=up_s, downscale_delay_s=down_s)


def _tidegate(**changes: Any) -> Make:
    def make(headroom: float, _: int, given: Given) -> Policy:
        learned = given.learned(Variant(**changes))
        variant = replace(Variant(**changes), headroom=headroom)
        return TidegatePolicy(
            OURS,
            variant,
            tick_s=TICK_S,
            fit=given.fit,
            forecasts=given.forecasts(variant),
            learned=learned,
        )

    return make


def _future(headroom: float, _: int, given: Given) -> Policy:
    return FutureOracle(given.work(), given.step_s, given.begin_s, given.supply, headroom)


def _instant(headroom: float, _: int, given: Given) -> Policy:
    return InstantOracle(given.work(), given.step_s, given.begin_s, given.supply, headroom)


ARMS: dict[str, Arm] = {
    OURS: Arm("Tidegate", _tidegate(), "main", 25.0, begin=0.7),
    STRONG: Arm(
        "Dynamo-like demand, SkyServe-like placement", _strong, "main", 5.0, _PREDICTORS, begin=1.25
    ),
    TUNED: Arm(
        "Ray Serve-like, tuned",
        _serve_tuned,
        "main",
        5.0,
        tuple(f"up {up:g} s, down {down:g} s" for up, down in _DELAYS),
        begin=1.8,
    ),
    STATIC: Arm(
        "static peak, on demand", lambda headroom, _, __: static_peak(headroom), "main", 5.0
    ),
    ORACLE: Arm("oracle, real lead time", _future, "main", 5.0, begin=0.6),
    "serve-default": Arm(
        "Ray Serve-like, defaults",
        lambda headroom, _, __: serve_default(headroom),
        "other",
        5.0,
        tuned=False,
    ),
    "spare-capacity": Arm(
        "llm-d-like, spare capacity",
        lambda headroom, _, __: spare_capacity(headroom),
        "other",
        5.0,
    ),
    "hpa": Arm(
        "HPA/KEDA-like, KV use and queue", lambda headroom, _, __: hpa(headroom), "other", 5.0
    ),
    **{
        f"dynamo-{name}": Arm(f"Dynamo-like, {name}", _dynamo(name), "other", 5.0)
        for name in _PREDICTORS
    },
    SKY: Arm("SkyServe-like", lambda headroom, _, __: skyserve(headroom), "other", 5.0),
    "oracle-instant": Arm("oracle, no lead time", _instant, "other", 5.0),
    **{
        name: Arm(title, _tidegate(**changes), "ablation", 25.0, shares=OURS)
        for name, title, changes in (
            ("without-conformal", "Tidegate without conformal quantiles", {"conformal": False}),
            ("without-lead", "Tidegate without measured lead time", {"measured_lead": False}),
            ("without-survival", "Tidegate without survival", {"survival": False}),
            ("without-reactive", "Tidegate without the reactive floor", {"reactive": False}),
            ("prophet-alone", "Tidegate with Prophet alone", {"members": ("prophet",)}),
        )
    },
}
MAIN = tuple(name for name, arm in ARMS.items() if arm.role == "main")
OTHERS = tuple(name for name, arm in ARMS.items() if arm.role == "other")
ABLATIONS = tuple(name for name, arm in ARMS.items() if arm.role == "ablation")
INSTANT = "oracle-instant"
SIDE = (OURS, STRONG, TUNED, SKY)
"""Arms of the other worlds: ours, and who may come close to it."""
