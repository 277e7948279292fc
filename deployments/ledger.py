"""The Serve deployment of one ledger shard, over a stream like the engines'."""

from typing import Any

import ray
import structlog
from ray import serve
from ray.serve.config import RequestRouterConfig

from app.config import FleetConfig
from deployments.forecaster_client import ForecasterClient
from deployments.ledger_shard import LedgerShard
from deployments.membership import ROUTER_CLASS, endpoint_metadata
from deployments.nodes import off_spot

HEALTH_PERIOD_S = 1.0
HEALTH_TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


class Ledger:
    """Carries a `LedgerShard`. There is one replica a shard; one that replaces it shuts it out.

    Args:
        config: the fleet's configuration.
        shard: its number, from 0.
    """

    async def __init__(self, config: FleetConfig, shard: int) -> None:  # type: ignore[misc]
        self._shard = LedgerShard(config, shard, ForecasterClient().view)
        self._endpoint = await self._shard.start(ray.util.get_node_ip_address())
        if self._shard.admin_key_file is not None:
            log.info("first admin key", file=self._shard.admin_key_file)

    def record_replica_metadata(self) -> dict[str, Any]:
        """Where the stream listens; Serve passes it to the gateways."""
        return endpoint_metadata(self._endpoint)

    def check_health(self) -> None:
        """Raises once the ledger has died or was shut out, so that Serve replaces the replica."""
        self._shard.check()

    # What the keeper asks for, see `LedgerModels`.

    async def recall_starts(self, model: str, hardware: str) -> list[dict[str, Any]]:
        """The stages of a model's last starts on some hardware, oldest first."""
        return await self._shard.models.recall_starts(model, hardware)

    async def remember_starts(self, rows: list[dict[str, Any]]) -> None:
        """Stores stages of a start."""
        await self._shard.models.remember_starts(rows)

    async def model_versions(self) -> dict[str, int]:
        """The highest signed version of each model that was ever loaded."""
        return await self._shard.models.model_versions()

    async def raise_version(self, model: str, version: int) -> int:
        """Stores that a version was loaded."""
        return await self._shard.models.raise_version(model, version)

    async def security_event(self, kind: str, detail: dict[str, str | int | float | bool]) -> None:
        """Adds an event of kind `model` or `replica` to the audit log."""
        await self._shard.models.security_event(kind, detail)

    # What the forecaster asks for.

    async def save_forecasts(self, parts: list[tuple[str, float, bytes]]) -> None:
        """Stores parts of what the forecaster is to go on with."""
        await self._shard.models.save_forecasts(parts)

    async def load_forecasts(self, after: str) -> list[tuple[str, float, bytes]]:
        """What was stored, a page of it."""
        return await self._shard.models.load_forecasts(after)

    async def forget_forecasts(self, before: float) -> int:
        """Removes parts that are older than a Unix time."""
        return await self._shard.models.forget_forecasts(before)

    async def __del__(self) -> None:
        shard = getattr(self, "_shard", None)
        if shard is not None:
            await shard.close()


def ledger_name(shard: int) -> str:
    """The deployment's name."""
    return f"ledger--{shard}"


def ledger_application(config: FleetConfig, shard: int) -> serve.Application:
    """Binds the deployment of one shard."""
    deployment = serve.deployment(Ledger).options(
        name=ledger_name(shard),
        num_replicas=1,
        ray_actor_options={"num_cpus": config.ledger.cpus} | off_spot(config),
        request_router_config=RequestRouterConfig(request_router_class=ROUTER_CLASS),
        health_check_period_s=HEALTH_PERIOD_S,
        health_check_timeout_s=HEALTH_TIMEOUT_S,
    )
    return deployment.bind(config, shard)
