"""The Serve deployment of a pool's engines in one market."""

import asyncio
import os
from typing import Any

import ray
import structlog
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from app.config import Deployed, Device, FleetConfig, MarketConfig, RecyclingConfig
from app.errors import ConfigError
from app.placement import engine_placement
from autoscaling.warm_pool import RecycleSettings
from deployments.environment import engine_environment
from deployments.membership import ROUTER_CLASS, endpoint_metadata

CLOSE_MARGIN_S = 10.0

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
    """

    async def __init__(  # type: ignore[misc]
        self, config: FleetConfig, deployed: Deployed, keeper: DeploymentHandle
    ) -> None:
        # Imported here: only a replica's process has the environment that vLLM is to start with,
        # and whoever merely builds the application is spared vLLM's seconds.
        from vllm.platforms import current_platform

        from deployments.attendant import Attendant
        from deployments.engine_start import EngineStart
        from deployments.keeper_client import KeeperClient

        pool = deployed.pool
        if pool.resources.device is Device.GPU and not current_platform.is_cuda_alike():
            raise ConfigError([(f"pools[{pool.name}].resources.device", _NO_GPU)])
        self._pool = pool
        self._violations = 0
        self._id = serve.get_replica_context().replica_id.unique_id
        client = KeeperClient(keeper, deployed.name, self._id)
        start = EngineStart(config, deployed, client, self._violated)
        self._host, fitness, self._prepared = await start.run(ray.util.get_node_ip_address())
        self._endpoint = self._host.endpoint
        self._attendant = Attendant(
            self._id,
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
        await self._host.drain(max(0.0, self._pool.graceful_shutdown_timeout_s - CLOSE_MARGIN_S))
        await self._close()


def engine_application(
    config: FleetConfig, deployed: Deployed, keeper: serve.Application
) -> serve.Application:
    """Binds the deployment of one pool, or one side of it, in one market."""
    pool = deployed.pool
    options = engine_placement(pool, deployed.market).deployment_options()
    options["ray_actor_options"] = options["ray_actor_options"] | {
        "runtime_env": {"env_vars": engine_environment(pool)}
    }
    bounds = pool.markets[deployed.market]
    deployment = serve.deployment(EngineReplica).options(
        name=deployed.name,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER_CLASS),
        graceful_shutdown_timeout_s=pool.graceful_shutdown_timeout_s,
        health_check_period_s=pool.health_check_period_s,
        health_check_timeout_s=pool.health_check_timeout_s,
        autoscaling_config=_scaling(bounds, config.recycling),
        **options,
    )
    return deployment.bind(config, deployed, keeper)


def _scaling(bounds: MarketConfig, recycling: RecyclingConfig) -> AutoscalingConfig:
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
        policy=AutoscalingPolicy(policy_function="deployments.scaling:PlanPolicy"),
    )
