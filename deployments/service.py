"""A gateway without Ray: vLLM's front end for every model, over the fleet.

Serve's deployment carries one of these; so does a test, with engines of its own.
"""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Any

from app.api.bodies import text_of
from app.api.context import RequestContext
from app.api.http import HttpApi
from app.api.openai import ModelFrontend, OpenAIFrontend
from app.config import Deployed, FleetConfig, ModelConfig
from app.security.identity import Identity
from deployments.classifying import ClassifierClient
from deployments.engine_args import front_end_args
from deployments.fleet import Fleet
from deployments.fleet_engine import FleetEngine
from deployments.membership import Members


class GatewayService:
    """Serves requests with whatever replicas it has been told of.

    Args:
        config: the fleet's configuration.
        names_requests: see `HttpApi`.
    """

    def __init__(self, config: FleetConfig, *, names_requests: bool = True) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        access = config.access
        self._anonymous = Identity(
            access.tenant, access.user, access.max_zone or list(config.zones)[-1]
        )
        self._classifier = (
            ClassifierClient(config.classifier) if config.classifier.enabled else None
        )
        self._engines: dict[str, FleetEngine] = {}
        self._openai = OpenAIFrontend({})
        self.fleet = Fleet(config)
        self.api = HttpApi(self, config.gateway, names_requests=names_requests)

    async def start(self) -> None:
        """Loads tokenizers, chat templates and parsers of every model that a pool serves."""
        frontends = {}
        for model in self._config.models:
            if any(pool.model == model.name for pool in self._config.pools):
                frontends[model.name] = await self._front_end(model)
        self._openai = OpenAIFrontend(frontends)

    async def _front_end(self, model: ModelConfig) -> ModelFrontend:
        pools = (pool for pool in self._config.pools if pool.model == model.name)
        args = front_end_args(model, max(pool.engine.max_model_len for pool in pools))
        engine = FleetEngine(model.name, args.create_engine_config(), self.fleet)
        self._engines[model.name] = engine
        frontend = ModelFrontend(model, engine, args)
        await frontend.start()
        return frontend

    def set_engines(self, deployed: Deployed, members: Members) -> None:
        """Takes the running replicas of one deployment of engines."""
        process = self._engines[deployed.pool.model].process
        self.fleet.links.set_members(deployed.pool.name, deployed.market.value, members, process)

    def set_classifiers(self, members: Members) -> None:
        """Takes the running replicas of the classifier."""
        if self._classifier is not None:
            self._classifier.set_members(members)

    # What the HTTP layer asks for.

    def open(self, request_id: str, zone: str | None) -> RequestContext:
        """Begins a request for whoever has no key."""
        now = self._loop.time()
        return RequestContext(
            request_id=request_id,
            identity=self._anonymous,
            zone=self.fleet.asked_zone(zone, self._anonymous),
            received_at=now,
            deadline=now + self._config.gateway.request_timeout_s,
        )

    async def generate(
        self, call: str, body: dict[str, Any], context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """Has the text judged while vLLM's layer renders it, and generates."""
        frontend = self._openai.model(body)
        if self._classifier is not None:
            text = text_of(body) + frontend.decode(body.get("prompt"))
            context.verdict = self._classifier.judge(text)
        answer: bytes | AsyncGenerator[str, None] = await getattr(frontend, call)(body, context)
        return answer

    def models(self) -> dict[str, Any]:
        """The answer to `/v1/models`."""
        return self._openai.models()

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready once every pool has its least replicas and texts can be judged."""
        states = self.fleet.router.states(self._loop.time())
        classifier = self._classifier is None or self._classifier.ready
        ready = classifier and all(state.ready >= state.wanted for state in states)
        return ready, {
            "status": "ready" if ready else "starting",
            "classifier": "ready" if classifier else "starting",
            "pools": [asdict(state) for state in states],
        }

    # For the Python handle.

    async def whole(self, call: str, request: dict[str, Any], zone: str | None) -> dict[str, Any]:
        """One of the HTTP layer's calls for a Python caller: the whole answer."""
        desk = self.api.desk
        async with desk.admit(secrets.token_hex(16), zone) as context:
            body = desk.parse(json.dumps(request | {"stream": False}).encode())
            answer = await self.generate(call, body, context)
            assert isinstance(answer, bytes)
            document: dict[str, Any] = json.loads(answer)
            return document

    async def chunks(
        self, call: str, request: dict[str, Any], zone: str | None
    ) -> AsyncGenerator[dict[str, Any], None]:
        """One of the HTTP layer's calls for a Python caller: the chunks of the answer."""
        desk = self.api.desk
        async with desk.admit(secrets.token_hex(16), zone) as context:
            body = desk.parse(json.dumps(request | {"stream": True}).encode())
            events = await self.generate(call, body, context)
            assert not isinstance(events, bytes)
            async with contextlib.aclosing(events):
                async for event in events:
                    if context.error is not None:
                        raise context.error
                    data = event.removeprefix("data: ").strip()
                    if data != "[DONE]":
                        yield json.loads(data)

    def status(self) -> dict[str, Any]:
        """Open requests, requests in flight and the state of every pool."""
        return {
            "open_requests": self.api.desk.open_requests,
            "in_flight": self.fleet.links.in_flight,
            **self.readiness()[1],
        }
