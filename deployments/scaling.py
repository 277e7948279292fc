"""The Serve autoscaling policy of engine deployments: tokens outstanding, not requests."""

from typing import Any

from ray.serve.config import AutoscalingContext

from autoscaling.reactive import desired_replicas
from deployments.engine import OUTSTANDING_TOKENS


class TokenPolicy:
    """Runs in Serve's controller, many times a second: it neither blocks nor raises.

    Args:
        tokens_per_replica: tokens at which one replica is saturated.
    """

    def __init__(self, tokens_per_replica: int) -> None:
        self._tokens_per_replica = tokens_per_replica

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The replicas wanted; Serve applies bounds, delays and factors."""
        reports = (context.aggregated_metrics or {}).get(OUTSTANDING_TOKENS)
        if not reports:
            # Metrics are lost or not yet there: what runs goes on.
            return context.target_num_replicas, {}
        outstanding = sum(reports.values())
        return (
            desired_replicas(outstanding, self._tokens_per_replica, context.target_num_replicas),
            {},
        )
