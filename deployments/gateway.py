"""The Serve deployment that clients speak to, over HTTP and as a Python handle."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from app.api.handle import (
    ChatChunk,
    ChatCompletion,
    ChatRequest,
    Completion,
    CompletionChunk,
    CompletionRequest,
)
from app.config import FleetConfig
from deployments.environment import front_end_environment
from deployments.membership import Members, subscribe

NAME = "gateway"
METRICS_INTERVAL_S = 5.0


class Gateway:
    """Carries a `GatewayService`, and tells it what Serve knows of the replicas.

    Args:
        config: the fleet's configuration.
        engines: handles of the engine deployments, by deployment name.
        classifier: handle of the classifier; None where it is switched off.
    """

    async def __init__(  # type: ignore[misc]
        self,
        config: FleetConfig,
        engines: Mapping[str, DeploymentHandle],
        classifier: DeploymentHandle | None,
    ) -> None:
        # Imported here: whoever merely builds the application is spared vLLM's seconds.
        from deployments.metrics import GatewayMetrics
        from deployments.service import GatewayService

        self._loop = asyncio.get_running_loop()
        self._service = GatewayService(config, names_requests=False)
        await self._service.start()
        self._metrics = GatewayMetrics()
        self._reporter = self._loop.create_task(self._report_forever())
        for deployed in config.deployments():
            self._subscribe(engines[deployed.name], partial(self._service.set_engines, deployed))
        if classifier is not None:
            self._subscribe(classifier, self._service.set_classifiers)

    def _subscribe(self, handle: DeploymentHandle, tell: Callable[[Members], None]) -> None:
        def told(members: Members) -> None:
            # Serve's routers may run on a thread of their own.
            self._loop.call_soon_threadsafe(tell, members)

        subscribe(handle, told)

    def __serve_build_asgi_app__(self) -> Any:
        """The HTTP application, for Serve's ingress."""
        return self._service.api

    # The Python handle.

    async def chat(self, request: ChatRequest, *, zone: str | None = None) -> ChatCompletion:
        """A chat completion, see `app.api.handle`."""
        return await self._service.whole("chat", dict(request), zone)  # type: ignore[return-value]

    async def chat_stream(
        self, request: ChatRequest, *, zone: str | None = None
    ) -> AsyncIterator[ChatChunk]:
        """A chat completion in chunks; call the handle with `.options(stream=True)`."""
        async for chunk in self._service.chunks("chat", dict(request), zone):
            yield chunk  # type: ignore[misc]

    async def complete(self, request: CompletionRequest, *, zone: str | None = None) -> Completion:
        """A text completion, see `app.api.handle`."""
        return await self._service.whole("complete", dict(request), zone)  # type: ignore[return-value]

    async def complete_stream(
        self, request: CompletionRequest, *, zone: str | None = None
    ) -> AsyncIterator[CompletionChunk]:
        """A text completion in chunks; call the handle with `.options(stream=True)`."""
        async for chunk in self._service.chunks("complete", dict(request), zone):
            yield chunk  # type: ignore[misc]

    async def status(self) -> dict[str, Any]:
        """Open requests, requests in flight and the state of every pool."""
        return self._service.status()

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(METRICS_INTERVAL_S)
            service = self._service
            self._metrics.publish(service.fleet.usage.take(), service.api.desk.open_requests)

    async def __del__(self) -> None:
        reporter = getattr(self, "_reporter", None)
        if reporter is not None:
            reporter.cancel()
            self._service.fleet.links.close()


def gateway_application(
    config: FleetConfig,
    engines: Mapping[str, serve.Application],
    classifier: serve.Application | None,
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
        },
    )
    return deployment.bind(config, dict(engines), classifier)
