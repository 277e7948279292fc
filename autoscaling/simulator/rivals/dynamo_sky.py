"""The strong baseline: Dynamo's number of replicas where SpotHedge would have them.

Nobody ships it. It is the best demand that is around with the best placement that is around, so
that a policy which beats it beats both for what it does itself.
"""

from __future__ import annotations

from collections.abc import Callable

from autoscaling.simulator.rivals.dynamo import DynamoDemand
from autoscaling.simulator.rivals.parts import Rival
from autoscaling.simulator.rivals.predictors import ConstantPredictor, Predictor
from autoscaling.simulator.rivals.spot_hedge import SpotHedgePlacer


def dynamo_sky(
    name: str,
    predictor: Callable[[], Predictor] = ConstantPredictor,
    headroom: float = 1.0,
    reactive: bool = True,
    overprovision: int = 1,
    base_on_demand: int = 0,
) -> Rival:
    """The policy.

    Args:
        name: What the predictor is called.
        predictor: Makes a predictor.
        headroom: Factor on the predicted work.
        reactive: Whether Dynamo's reactive loop runs.
        overprovision: Spot replicas beyond the target.
        base_on_demand: Replicas that are on demand in any case.
    """
    return Rival(
        f"dynamo-{name}-sky-like",
        DynamoDemand(predictor, headroom, reactive),
        SpotHedgePlacer(overprovision, base_on_demand),
    )
