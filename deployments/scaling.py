"""The Serve autoscaling policies: engines as the keeper plans, a watcher for every spot node.

They run in Serve's controller, many times a second: they neither block nor raise. Serve unpickles
them by value, so that their own globals are copies: what is shared is imported where it is used.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

MOST = 100_000


class PlanPolicy:
    """What the keeper plans for a deployment of engines.

    Without a fresh plan it follows the tokens outstanding, and only upwards: it does not know which
    replicas stand idle, and those that work must not be stopped.

    Args:
        tokens_per_replica: tokens outstanding at which one replica is saturated.
        target_load: share of that to aim at.
        standby: replicas that are there beyond those that take requests.
    """

    def __init__(
        self, tokens_per_replica: int = 1, target_load: float = 1.0, standby: int = 0
    ) -> None:
        self._tokens_per_replica = tokens_per_replica
        self._target_load = target_load
        self._standby = standby
        self._warned = False

    def __call__(self, context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
        """The replicas wanted; Serve applies bounds."""
        now: int = context.target_num_replicas
        try:
            return self._wanted(context, now), {}
        except Exception as error:  # noqa: BLE001 - one that raises stops Serve's loop for others
            self._warn(error)
            return now, {}

    def _wanted(self, context: "AutoscalingContext", now: int) -> int:
        from deployments.plan_board import board_of

        wanted = board_of(context.app_name or "").wanted(context.deployment_name or "")
        if wanted is None:
            return max(now, self._by_itself(context.aggregated_metrics))
        replicas = min(wanted.replicas, MOST)
        return replicas if wanted.settled and replicas >= 0 else max(now, replicas)

    def _warn(self, error: Exception) -> None:
        """Says once that something is wrong: this is called many times a second."""
        if not self._warned:
            from deployments.plan_board import log

            log.warning("replicas stay as many as they are: %r", error)
        self._warned = True

    def _by_itself(self, metrics: Any) -> int:
        """Replicas that the tokens outstanding need; 0 where nobody has said how many they are."""
        from autoscaling.reactive import needed_replicas

        said = metrics.get("outstanding_tokens") if isinstance(metrics, Mapping) else None
        if not isinstance(said, Mapping):
            return 0
        tokens = [float(each) for each in said.values() if isinstance(each, int | float)]
        outstanding = sum(each for each in tokens if math.isfinite(each) and each > 0)
        if not outstanding:
            return 0
        needed = needed_replicas(outstanding, self._tokens_per_replica, self._target_load)
        return min(needed + self._standby, MOST)


class SpotNodesPolicy:
    """Wants a node watcher for every spot node that does not drain."""

    def __call__(self, context: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
        """The watchers wanted."""
        from app.config import Market
        from deployments.nodes import node_board

        view = node_board().view
        # Until somebody has looked, and while nobody can, what runs goes on.
        wanted = context.target_num_replicas if view is None else len(view.staying(Market.SPOT))
        return wanted, {}
