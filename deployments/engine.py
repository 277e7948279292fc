"""The Serve deployment of a pool's engines in one market."""

import asyncio
from typing import Any

import ray
import structlog
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from app.config import (
    Deployed,
    Device,
    FairnessConfig,
    FleetConfig,
    ModelConfig,
    PoolConfig,
    Role,
    ZoneConfig,
)
from app.errors import ConfigError
from app.placement import engine_placement
from deployments.environment import engine_environment
from deployments.membership import ROUTER_CLASS, endpoint_metadata

CLOSE_MARGIN_S = 10.0
OUTSTANDING_TOKENS = "outstanding_tokens"

_NO_GPU = (
    "is 'gpu', but this node's vLLM sees no GPU: install the GPU profile on GPU nodes, or set the "
    "device to 'cpu'"
)

log = structlog.get_logger(__name__)


class EngineReplica:
    """One running engine.

    Gateways find it by its metadata and talk to it over its stream; Serve places it, watches its
    health and stops it. A replica that stops first finishes what it has.

    Args:
        model: the model's configuration.
        pool: the pool's configuration, of the side that the replica is on.
        zone: the configuration of the pool's zone.
        fairness: the order in which requests are started.
        role: what the replica does of a request.
    """

    async def __init__(  # type: ignore[misc]
        self,
        model: ModelConfig,
        pool: PoolConfig,
        zone: ZoneConfig,
        fairness: FairnessConfig,
        role: Role = Role.WHOLE,
    ) -> None:
        # Imported here: only a replica's process has the environment that vLLM is to start with,
        # and whoever merely builds the application is spared vLLM's seconds.
        from vllm.platforms import current_platform

        from deployments.engine_args import check_sides, engine_args
        from deployments.engine_host import EngineHost

        if pool.resources.device is Device.GPU and not current_platform.is_cuda_alike():
            raise ConfigError([(f"pools[{pool.name}].resources.device", _NO_GPU)])
        self._pool = pool
        self._violations = 0
        self._draining: asyncio.Task[bool] | None = None
        address = ray.util.get_node_ip_address()
        config = engine_args(model, pool, zone, fairness, role, address).create_engine_config()
        check_sides(config, pool)
        self._host = EngineHost(config, pool.zone, self._violated)
        self._endpoint = await self._host.start(address)
        log.info("engine ready", pool=pool.name, zone=pool.zone, role=role)

    def _violated(self, zone: str) -> None:
        self._violations += 1
        log.error("request of another zone refused", pool=self._pool.name, zone=zone)

    def record_replica_metadata(self) -> dict[str, Any]:
        """Where the stream listens; Serve passes it to the gateways."""
        return endpoint_metadata(self._endpoint)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What scaling goes by: work outstanding, the queue, the KV cache and token rates."""
        load = self._host.load()
        return {
            OUTSTANDING_TOKENS: float(load.foreign_tokens),
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
            "zone_violations": self._violations,
            "live_requests": self._host.live_requests,
        }

    async def drain(self, deadline_s: float) -> None:
        """Takes no new requests from now on, and has gateways move what would not end in time.

        Args:
            deadline_s: seconds from now after which the replica may be gone.
        """
        self._draining = asyncio.get_running_loop().create_task(self._host.drain(deadline_s))

    def check_health(self) -> None:
        """Raises once the engine has died, so that Serve replaces the replica."""
        self._host.check()

    async def __del__(self) -> None:
        host = getattr(self, "_host", None)
        if host is None:
            return
        await host.drain(max(0.0, self._pool.graceful_shutdown_timeout_s - CLOSE_MARGIN_S))
        await host.close()


def engine_application(config: FleetConfig, deployed: Deployed) -> serve.Application:
    """Binds the deployment of one pool, or one side of it, in one market."""
    pool, market, name, role = deployed
    options = engine_placement(pool, market).deployment_options()
    options["ray_actor_options"] = options["ray_actor_options"] | {
        "runtime_env": {"env_vars": engine_environment(pool)}
    }
    bounds = pool.markets[market]
    if bounds.max_replicas > bounds.min_replicas:
        options["autoscaling_config"] = AutoscalingConfig(
            min_replicas=bounds.min_replicas,
            max_replicas=bounds.max_replicas,
            initial_replicas=bounds.min_replicas,
            policy=AutoscalingPolicy(
                policy_function="deployments.scaling:TokenPolicy",
                policy_kwargs={"tokens_per_replica": pool.max_outstanding_tokens},
            ),
        )
    else:
        options["num_replicas"] = bounds.min_replicas
    deployment = serve.deployment(EngineReplica).options(
        name=name,
        request_router_config=RequestRouterConfig(request_router_class=ROUTER_CLASS),
        graceful_shutdown_timeout_s=pool.graceful_shutdown_timeout_s,
        health_check_period_s=pool.health_check_period_s,
        health_check_timeout_s=pool.health_check_timeout_s,
        **options,
    )
    return deployment.bind(
        config.model(pool.model), pool, config.zones[pool.zone], config.fairness, role
    )
