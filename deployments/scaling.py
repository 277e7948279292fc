"""The Serve autoscaling policy of engine deployments: what the keeper plans."""

from typing import Any

from ray.serve.config import AutoscalingContext


class PlanPolicy:
    """Runs in Serve's controller, many times a second: it neither blocks nor raises."""

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The replicas wanted; Serve applies bounds."""
        # Serve unpickles this class by value, so its own globals are copies: import the real ones.
        from deployments.plan_board import board_of

        wanted = board_of(context.app_name or "").wanted(context.deployment_name or "")
        now = context.target_num_replicas
        if wanted is None:
            # Without a plan what runs goes on.
            return now, {}
        return wanted.replicas if wanted.settled else max(now, wanted.replicas), {}
