"""The Serve deployment that clients speak to, over HTTP and as a Python handle."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from ray import serve
from ray.serve.handle import DeploymentHandle

from app.api.handle import (
    Caller,
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
)
from app.config import FleetConfig
from autoscaling.demand.terms import Message
from deployments.demand_telling import tell_forever
from deployments.environment import front_end_environment
from deployments.membership import Members, subscribe
from deployments.nodes import off_spot

NAME = "gateway"
METRICS_INTERVAL_S = 5.0
KEEPER_INTERVAL_S = 1.0

log = structlog.get_logger(__name__)


class Gateway:
    """Carries a `GatewayService`, and tells it what Serve knows of the replicas.

    Args:
        config: the fleet's configuration.
        engines: handles of the engine deployments, by deployment name.
        keeper: handle of the keeper, to be told what waits for a replica.
        forecaster: handle of the forecaster, to be told of demand; None where nothing is forecast.
        classifier: handle of the classifier; None where it is switched off.
        ledgers: handles of the ledger's shards, in their order; none where keys are off.
    """

    async def __init__(  # type: ignore[misc]
        self,
        config: FleetConfig,
        engines: Mapping[str, DeploymentHandle],
        keeper: DeploymentHandle,
        forecaster: DeploymentHandle | None,
        classifier: DeploymentHandle | None,
        ledgers: Sequence[DeploymentHandle],
    ) -> None:
        # Imported here: whoever merely builds the application is spared vLLM's seconds.
        from deployments.admission import open_admission
        from deployments.metrics import GatewayMetrics
        from deployments.service import GatewayService

        self._loop = asyncio.get_running_loop()
        self._admission, ledger = await open_admission(config)
        self._service = GatewayService(config, self._admission, names_requests=False)
        await self._service.start()
        self._metrics = GatewayMetrics()
        self._id = serve.get_replica_context().replica_id.unique_id
        self._tasks = [
            self._loop.create_task(self._report_forever()),
            self._loop.create_task(self._tell_keeper_forever(keeper)),
        ]
        if forecaster is not None:
            tell = partial(_told, forecaster)
            self._tasks.append(
                self._loop.create_task(tell_forever(self._service.fleet.demand, tell))
            )
        for deployed in config.deployments():
            self._subscribe(engines[deployed.name], partial(self._service.set_engines, deployed))
        if classifier is not None:
            self._subscribe(classifier, self._service.set_classifiers)
        if ledger is not None:
            for shard, handle in enumerate(ledgers):
                self._subscribe(handle, partial(ledger.set_members, shard))

    def _subscribe(self, handle: DeploymentHandle, tell: Callable[[Members], None]) -> None:
        def told(members: Members) -> None:
            # Serve's routers may run on a thread of their own.
            self._loop.call_soon_threadsafe(tell, members)

        subscribe(handle, told)

    def __serve_build_asgi_app__(self) -> Any:
        """The HTTP application, for Serve's ingress."""
        return self._service.api

    # The Python handle. Keys, zones and priorities are those of HTTP's headers.

    async def chat(
        self,
        request: ChatRequest,
        *,
        key: str | None = None,
        zone: str | None = None,
        priority: str | None = None,
    ) -> ChatCompletion:
        """A chat completion, see `app.api.handle`."""
        caller = Caller(key, zone, priority)
        return await self._service.whole("chat", dict(request), caller)  # type: ignore[return-value]

    async def chat_stream(
        self,
        request: ChatRequest,
        *,
        key: str | None = None,
        zone: str | None = None,
        priority: str | None = None,
    ) -> AsyncIterator[ChatChunk]:
        """A chat completion in chunks; call the handle with `.options(stream=True)`."""
        caller = Caller(key, zone, priority)
        async for chunk in self._service.chunks("chat", dict(request), caller):
            yield chunk  # type: ignore[misc]

    async def complete(
        self,
        request: CompletionRequest,
        *,
        key: str | None = None,
        zone: str | None = None,
        priority: str | None = None,
    ) -> Completion:
        """A text completion, see `app.api.handle`."""
        caller = Caller(key, zone, priority)
        return await self._service.whole("complete", dict(request), caller)  # type: ignore[return-value]

    async def complete_stream(
        self,
        request: CompletionRequest,
        *,
        key: str | None = None,
        zone: str | None = None,
        priority: str | None = None,
    ) -> AsyncIterator[CompletionChunk]:
        """A text completion in chunks; call the handle with `.options(stream=True)`."""
        caller = Caller(key, zone, priority)
        async for chunk in self._service.chunks("complete", dict(request), caller):
            yield chunk  # type: ignore[misc]

    async def status(self) -> dict[str, Any]:
        """Open requests, requests in flight and the state of every pool."""
        return self._service.status()

    async def administer(
        self, method: str, params: dict[str, Any], *, key: str | None = None
    ) -> dict[str, Any]:
        """One call of the administration, such as `keys.create`; see `app.admin`."""
        return await self._service.administered(method, params, key)

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(METRICS_INTERVAL_S)
            service = self._service
            fleet = service.fleet
            self._metrics.publish(fleet.usage.take(), service.api.desk.open_requests)
            self._metrics.publish_moves(fleet.carrier.moves, fleet.handoffs.statistics())
            self._metrics.publish_cold_starts(fleet.placing.waiting.cold_starts)

    async def _tell_keeper_forever(self, keeper: DeploymentHandle) -> None:
        """Tells what waits for a replica, and learns how far those are that start."""
        told = False
        while True:
            await asyncio.sleep(KEEPER_INTERVAL_S)
            demand = self._service.fleet.placing.waiting.demand
            ready = self._service.readiness()[0]
            if ready and not demand and not told:
                continue
            try:
                answer = keeper.waiting.remote(self._id, demand)
                self._service.starting = await asyncio.wait_for(answer, 5 * KEEPER_INTERVAL_S)
                told = bool(demand) or not ready
            except Exception as error:  # noqa: BLE001 - Ray raises what it likes; it is asked again
                log.warning("the keeper did not answer", error=type(error).__name__)

    async def __del__(self) -> None:
        tasks = getattr(self, "_tasks", None)
        if tasks is not None:
            for task in tasks:
                task.cancel()
            self._service.fleet.close()
            await self._admission.close()


async def _told(forecaster: DeploymentHandle, message: Message) -> bool:
    counted: bool = await forecaster.demand.remote(message)
    return counted


def gateway_application(
    config: FleetConfig,
    engines: Mapping[str, serve.Application],
    keeper: serve.Application,
    forecaster: serve.Application | None,
    classifier: serve.Application | None,
    ledgers: Sequence[serve.Application],
) -> serve.Application:
    """Binds the gateway's deployment, the application's ingress."""
    gateway = config.gateway
    deployment = serve.deployment(serve.ingress()(Gateway)).options(
        name=NAME,
        num_replicas=gateway.replicas,
        # The gateway itself says no, with a reason, before Serve would queue.
        max_ongoing_requests=2 * gateway.max_open_requests,
        graceful_shutdown_timeout_s=gateway.graceful_shutdown_timeout_s,
        ray_actor_options={
            "num_cpus": gateway.cpus,
            "runtime_env": {"env_vars": front_end_environment()},
        }
        | off_spot(config),
    )
    return deployment.bind(config, dict(engines), keeper, forecaster, classifier, list(ledgers))
