"""The Serve deployment of a pool's engines in one market."""

import asyncio
import contextlib
import os
import time
from typing import Any

import ray
import structlog
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from app.config import Deployed, Device, FleetConfig, Market
from app.errors import ConfigError
from app.placement import engine_placement
from autoscaling.warm_pool import RecycleSettings
from deployments.environment import engine_environment
from deployments.membership import ROUTER_CLASS, endpoint_metadata

CLOSE_MARGIN_S = 10.0
SPOT_STOP_S = 30.0
"""Longest that a replica on a spot node may take to stop. Serve stops one whose node goes when only
so much time is left: with more than the two minutes of a notice it would do so at once."""
ASK_S = 2.0

_NO_GPU = (
    "is 'gpu', but this node's vLLM sees no GPU: install the GPU profile on GPU nodes, or set the "
    "device to 'cpu'"
)

log = structlog.get_logger(__name__)


class EngineReplica:
    """One running engine.

    Gateways find it by its metadata and talk to it over its stream; Serve places it, watches its
    health and stops it; the keeper has it wake, go on standby and end. A replica that stops first
    finishes what it has.

    Args:
        config: the fleet's configuration.
        deployed: which of its deployments this is a replica of.
        keeper: handle of the keeper.
        watcher: handle of the node watcher, for Serve to deploy it wherever there are spot nodes.
    """

    async def __init__(  # type: ignore[misc]
        self,
        config: FleetConfig,
        deployed: Deployed,
        keeper: DeploymentHandle,
        watcher: DeploymentHandle | None = None,
    ) -> None:
        # Imported here: only a replica's process has the environment that vLLM is to start with,
        # and whoever merely builds the application is spared vLLM's seconds.
        from vllm.platforms import current_platform

        from deployments import nodes
        from deployments.attendant import Attendant, Origin
        from deployments.engine_start import EngineStart
        from deployments.keeper_client import KeeperClient

        began = time.monotonic()
        pool = deployed.pool
        if pool.resources.device is Device.GPU and not current_platform.is_cuda_alike():
            raise ConfigError([(f"pools[{pool.name}].resources.device", _NO_GPU)])
        self._pool = pool
        self._stop_s = stop_within_s(deployed)
        self._violations = 0
        self._id = serve.get_replica_context().replica_id.unique_id
        node, site = nodes.here(), nodes.site_here(deployed.market)
        client = KeeperClient(keeper, deployed.name, self._id, node, site)
        start = EngineStart(config, deployed, client, self._violated)
        self._host, fitness, self._prepared = await start.run(ray.util.get_node_ip_address())
        self._endpoint = self._host.endpoint
        origin = Origin(
            node,
            site,
            start_s=time.monotonic() - began,
            cached=self._prepared is not None and self._prepared.fetched_bytes == 0,
        )
        self._attendant = Attendant(
            self._id,
            origin,
            self._host,
            fitness,
            client.report,
            drain_s=config.recycling.drain_s,
            on_unfit=lambda reason: client.event("replica", what="unfit", reason=reason),
            end=self._end,
        )
        self._attending = asyncio.get_running_loop().create_task(self._attendant.run())
        log.info("engine ready", pool=pool.name, zone=pool.zone, role=deployed.role)

    async def _end(self) -> None:
        """Ends this process; Serve sees it gone and starts another replica in its place."""
        await self._close()
        ray.kill(ray.get_runtime_context().current_actor)

    async def _close(self) -> None:
        await self._host.close()
        if self._prepared is not None:
            self._prepared.close()

    def _violated(self, zone: str) -> None:
        self._violations += 1
        log.error("request of another zone refused", pool=self._pool.name, zone=zone)

    def record_replica_metadata(self) -> dict[str, Any]:
        """Where the stream listens; Serve passes it to the gateways."""
        return endpoint_metadata(self._endpoint)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """The work outstanding, the queue, the KV cache and token rates, for Serve's metrics."""
        load = self._host.load()
        return {
            "outstanding_tokens": float(load.foreign_tokens),
            "waiting": float(load.waiting),
            "running": float(load.running),
            "kv_usage": load.kv_usage,
            "prefill_tps": load.prefill_tps,
            "decode_tps": load.decode_tps,
        } | self._host.counts()

    def status(self) -> dict[str, Any]:
        """The engine's load, what it refused for its zone, and the requests it has."""
        return self.record_autoscaling_stats() | {
            "zone": self._pool.zone,
            "role": self._host.role.value,
            "phase": self._attendant.phase.value,
            "replica": self._id,
            "pid": os.getpid(),
            "zone_violations": self._violations,
            "live_requests": self._host.live_requests,
        }

    async def drain(self, deadline_s: float) -> None:
        """Takes no new requests from now on, and has gateways move what would not end in time.

        Args:
            deadline_s: seconds from now after which the replica may be gone.
        """
        self._attendant.drain(deadline_s)

    def check_health(self) -> None:
        """Raises once the engine has died, so that Serve replaces the replica."""
        self._host.check()

    async def __del__(self) -> None:
        attending = getattr(self, "_attending", None)
        if attending is None:
            return
        # From here on it is Serve that stops it.
        attending.cancel()
        await self._host.drain(await self._time_to_stop())
        await self._close()

    async def _time_to_stop(self) -> float:
        """Seconds that requests may go on: no longer than Serve waits, or the node is there."""
        from deployments import nodes
        from deployments.attendant import time_to_leave

        left_s = self._attendant.leaves_in_s
        # Serve may know sooner than the keeper has said so.
        with contextlib.suppress(Exception):
            asked = asyncio.to_thread(nodes.leaves_in, nodes.here())
            said_s = await asyncio.wait_for(asked, ASK_S)
            left_s = min((each for each in (left_s, said_s) if each is not None), default=None)
        stop_s = max(0.0, self._stop_s - CLOSE_MARGIN_S)
        return stop_s if left_s is None else time_to_leave(stop_s, left_s)


def engine_application(
    config: FleetConfig,
    deployed: Deployed,
    keeper: serve.Application,
    watcher: serve.Application | None = None,
) -> serve.Application:
    """Binds the deployment of one pool, or one side of it, in one market.

    Args:
        config: the fleet's configuration.
        deployed: what is to be bound.
        keeper: the keeper.
        watcher: the node watcher, which goes along with replicas on spot nodes.
    """
    pool = deployed.pool
    options = engine_placement(pool, deployed.market).deployment_options()
    options["ray_actor_options"] = options["ray_actor_options"] | {
        "runtime_env": {"env_vars": engine_environment(pool)}
    }
    deployment = serve.deployment(EngineReplica).options(
        name=deployed.name,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER_CLASS),
        graceful_shutdown_timeout_s=stop_within_s(deployed),
        health_check_period_s=pool.health_check_period_s,
        health_check_timeout_s=pool.health_check_timeout_s,
        autoscaling_config=_scaling(config, deployed),
        **options,
    )
    watched = watcher if deployed.market is Market.SPOT else None
    return deployment.bind(config, deployed, keeper, watched)


def stop_within_s(deployed: Deployed) -> float:
    """Seconds that Serve gives a replica of a deployment to stop."""
    configured = deployed.pool.graceful_shutdown_timeout_s
    return min(configured, SPOT_STOP_S) if deployed.market is Market.SPOT else configured


def _scaling(config: FleetConfig, deployed: Deployed) -> AutoscalingConfig:
    bounds, recycling = deployed.pool.markets[deployed.market], config.recycling
    # While replicas are replaced there are more than `max_replicas`: the new ones come first.
    at_once = RecycleSettings(share=recycling.share).at_once(bounds.max_replicas)
    surge = at_once if recycling.enabled else 0
    return AutoscalingConfig(
        min_replicas=bounds.min_replicas,
        max_replicas=bounds.max_replicas + surge,
        initial_replicas=bounds.min_replicas + bounds.standby_replicas,
        # The plan has its delays in it.
        upscale_delay_s=0.0,
        downscale_delay_s=0.0,
        policy=AutoscalingPolicy(
            policy_function="deployments.scaling:PlanPolicy",
            policy_kwargs={
                "tokens_per_replica": deployed.pool.max_outstanding_tokens,
                "target_load": config.scaling.target_load,
                "standby": bounds.standby_replicas,
            },
        ),
    )
