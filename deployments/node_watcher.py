"""The node watcher: on every spot node one that asks whether the node is about to be taken away.

Ray has none of its own. On a notice it has Ray drain the node, so that Serve starts others in the
place of the replicas on it, and tells the keeper, which has their work moved in time.
"""

import asyncio
import contextlib
import time
from typing import Any

import structlog
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy
from ray.serve.handle import DeploymentHandle
from ray.util.metrics import Gauge

from app.config import FleetConfig, Market, SpotConfig
from app.config.pools import MARKET_LABEL
from autoscaling.nodes import Kind
from autoscaling.notices import NoticeWatch, Steps
from deployments import nodes
from deployments.notices import MetadataService, MetadataUnavailable

NAME = "node-watcher"
MOST_NODES = 1000
TELL_S = 5.0
LAST_S = 5.0

log = structlog.get_logger(__name__)


class NodeWatcher:
    """Watches the node that it runs on.

    Args:
        spot: what the fleet's configuration says of spot nodes.
        keeper: handle of the keeper.
    """

    async def __init__(self, spot: SpotConfig, keeper: DeploymentHandle) -> None:  # type: ignore[misc]
        self._node = nodes.here()
        self._keeper = keeper
        self._service = MetadataService(spot.metadata_endpoint)
        self._watch = NoticeWatch(spot.poll_s)
        self._counts = Gauge(
            "tidegate_node_notices", "What the metadata services have said", ("node", "what")
        )
        self._acting = asyncio.Lock()
        self._watching = asyncio.get_running_loop().create_task(self._watch_forever())

    def status(self) -> dict[str, Any]:
        """Which node it is, and what has happened there."""
        return {"node": self._node} | self._watch.counts

    async def _watch_forever(self) -> None:
        while True:
            try:
                seen = await self._service.look()
            except MetadataUnavailable as error:
                self._watch.failed(str(error))
            except Exception as error:  # a watcher that ends is of no use
                log.exception("the metadata service cannot be asked", node=self._node)
                self._watch.failed(type(error).__name__)
            else:
                self._watch.answered(seen, time.monotonic(), time.time())
            await self._act(self._watch.steps(time.monotonic()))
            for what, count in self._watch.counts.items():
                self._counts.set(float(count), {"node": self._node, "what": what})
            await asyncio.sleep(self._watch.wait_s)

    async def _act(self, steps: Steps) -> None:
        """Ray first, so that nothing is started here in the place of what leaves."""
        if steps.say:
            log.warning(steps.say, node=self._node)
        async with self._acting:
            if steps.drain_s is not None:
                await self._drain(steps.drain_s)
            if steps.tell_s is not None and await self._tell("preempted", steps.tell_s):
                self._watch.told(time.monotonic())
            if steps.warn and await self._tell("rebalance", None):
                self._watch.warned(time.monotonic())

    async def _drain(self, left_s: float) -> None:
        try:
            await asyncio.to_thread(nodes.drain, self._node, left_s, "spot notice")
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is tried again
            log.warning("Ray does not drain this node", node=self._node, error=repr(error))
        else:
            self._watch.drained()

    async def _tell(self, kind: Kind, left_s: float | None) -> bool:
        try:
            answer = self._keeper.notice.remote(self._node, kind, left_s)
            await asyncio.wait_for(answer, TELL_S)
        except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is tried again
            log.warning("the keeper did not answer", node=self._node, error=type(error).__name__)
            return False
        return True

    def check_health(self) -> None:
        """Raises once the watch has ended, which it never does by itself."""
        if self._watching.done():
            raise RuntimeError("the watch has ended")

    async def __del__(self) -> None:
        watching = getattr(self, "_watching", None)
        if watching is None:
            return
        # Serve stops it as soon as its node drains: what it was about to say is said before.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S), self._acting:
                pass
        watching.cancel()
        await self._service.close()


def watcher_application(config: FleetConfig, keeper: serve.Application) -> serve.Application | None:
    """Binds the node watcher's deployment; None where there is nothing to watch."""
    markets = {market for each in config.deployments() for market in each.pool.markets}
    if Market.SPOT not in markets or not config.scaling.spot.notices:
        return None
    deployment = serve.deployment(NodeWatcher).options(
        name=NAME,
        max_replicas_per_node=1,
        graceful_shutdown_timeout_s=2 * LAST_S,
        # It computes next to nothing, and must be there whatever else the node does.
        ray_actor_options={"num_cpus": 0, "label_selector": {MARKET_LABEL: Market.SPOT.value}},
        autoscaling_config=AutoscalingConfig(
            min_replicas=0,
            initial_replicas=0,
            max_replicas=MOST_NODES,
            upscale_delay_s=0.0,
            downscale_delay_s=0.0,
            downscale_to_zero_delay_s=0.0,
            policy=AutoscalingPolicy(policy_function="deployments.scaling:SpotNodesPolicy"),
        ),
    )
    return deployment.bind(config.scaling.spot, keeper)
