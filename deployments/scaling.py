"""The Serve autoscaling policy of engine deployments: what the keeper plans."""

from typing import Any

from ray.serve.config import AutoscalingContext

from deployments.plan_board import PlanBoard

_boards: dict[str, PlanBoard] = {}


class PlanPolicy:
    """Runs in Serve's controller, many times a second: it neither blocks nor raises."""

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """The replicas wanted; Serve applies bounds."""
        application = context.app_name or ""
        board = _boards.get(application)
        if board is None:
            board = _boards[application] = PlanBoard(application)
        wanted = board.wanted(context.deployment_name or "")
        now = context.target_num_replicas
        if wanted is None:
            # Without a plan what runs goes on.
            return now, {}
        return wanted.replicas if wanted.settled else max(now, wanted.replicas), {}
