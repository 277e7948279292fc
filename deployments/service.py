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

from app.api.admin import Call
from app.api.bodies import text_of
from app.api.context import Asked, RequestContext
from app.api.handle import ANYBODY, Caller
from app.api.http import ADMIN, GENERATING, HttpApi
from app.api.openai import ModelFrontend, OpenAIFrontend
from app.config import Deployed, FleetConfig, ModelConfig
from app.errors import TidegateError
from app.guards import personal
from app.security.identity import Identity
from app.security.paths import authorise
from app.security.tiers import tier_of
from app.weights.prepare import prepare
from deployments.admission import Admission
from deployments.classifying import ClassifierClient
from deployments.engine_args import front_end_args
from deployments.fleet import Fleet
from deployments.fleet_engine import FleetEngine
from deployments.membership import Members


class GatewayService:
    """Serves requests with whatever replicas it has been told of.

    Args:
        config: the fleet's configuration.
        admission: who may use how much.
        names_requests: see `HttpApi`.

    Attributes:
        starting: what replicas that are not there yet are doing, as the keeper last said.
    """

    def __init__(
        self, config: FleetConfig, admission: Admission, *, names_requests: bool = True
    ) -> None:
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._admission = admission
        self._classifier = (
            ClassifierClient(config.classifier) if config.classifier.enabled else None
        )
        self._engines: dict[str, FleetEngine] = {}
        self.starting: list[dict[str, Any]] = []
        self._openai = OpenAIFrontend({})
        self.fleet = Fleet(config, admission)
        self.api = HttpApi(self, config.gateway, names_requests=names_requests)

    async def start(self) -> None:
        """Loads tokenizers, chat templates and parsers of every model that a pool serves."""
        # The first answer that is filtered should not wait for the patterns to be compiled.
        personal.count("")
        frontends = {}
        for model in self._config.models:
            if any(pool.model == model.name for pool in self._config.pools):
                frontends[model.name] = await self._front_end(model)
        self._openai = OpenAIFrontend(frontends)

    async def _front_end(self, model: ModelConfig) -> ModelFrontend:
        pools = (pool for pool in self._config.pools if pool.model == model.name)
        prepared = None
        if not model.unverified:
            # A gateway reads what prompts are made with; the weights are the engines' business.
            weights = self._config.weights
            prepared = await asyncio.to_thread(prepare, model, weights, with_weights=False)
        longest = max(pool.engine.max_model_len for pool in pools)
        args = front_end_args(model, longest, prepared)
        engine = FleetEngine(
            model.name,
            args.create_engine_config(),
            self.fleet,
            reasons=model.reasoning_parser is not None,
        )
        self._engines[model.name] = engine
        frontend = ModelFrontend(model, engine, args)
        await frontend.start()
        return frontend

    def set_engines(self, deployed: Deployed, members: Members) -> None:
        """Takes the running replicas of one deployment of engines."""
        process = self._engines[deployed.pool.model].process
        self.fleet.links.set_members(deployed, members, process)

    def set_classifiers(self, members: Members) -> None:
        """Takes the running replicas of the classifier."""
        if self._classifier is not None:
            self._classifier.set_members(members)

    # What the HTTP layer asks for.

    async def identify(self, authorization: str | None) -> Identity:
        """Who shows this `Authorization` header."""
        return await self._admission.identify(authorization)

    def open(self, asked: Asked) -> RequestContext:
        """Begins a request in a zone and a tier that its identity may use."""
        now = self._loop.time()
        return RequestContext(
            request_id=asked.request_id,
            identity=asked.identity,
            route=asked.route,
            zone=self.fleet.gate.asked_zone(asked.zone, asked.identity),
            tier=tier_of(asked.identity, asked.priority),
            received_at=now,
            deadline=now + self._config.gateway.request_timeout_s,
        )

    def refused(self, asked: Asked, error: TidegateError) -> None:
        """Has a refusal recorded."""
        self._admission.refused(asked, error)

    async def generate(
        self, body: dict[str, Any], context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """Has the text judged while vLLM's layer renders it, and generates."""
        frontend = self._openai.model(body, context.identity.models)
        gate = self.fleet.gate
        gate.check(body, context)
        if self._classifier is not None:
            decoded = frontend.decode(body.get("prompt"))
            context.verdict = self._classifier.judge(text_of(body) + decoded)
            if gate.may_redact(context):
                # What is to be redacted must be known before it is rendered.
                body = await gate.redacted(body, context, decoded)
        call = getattr(frontend, context.route)
        answer: bytes | AsyncGenerator[str, None] = await call(body, context)
        return answer

    async def administer(self, call: Call, identity: Identity) -> dict[str, Any]:
        """Serves one call of the admin routes."""
        return await self._admission.administer(call, identity)

    def models(self, identity: Identity) -> dict[str, Any]:
        """The answer to `/v1/models`: what the identity may ask."""
        return self._openai.models(identity.models)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Ready once every pool has its least replicas, texts can be judged and work counted."""
        states = self.fleet.router.states(self._loop.time())
        classifier = self._classifier is None or self._classifier.ready
        ledger = self._admission.ready
        ready = ledger and classifier and all(state.ready >= state.wanted for state in states)
        return ready, {
            "status": "ready" if ready else "starting",
            "ledger": "ready" if ledger else "starting",
            "classifier": "ready" if classifier else "starting",
            "pools": [asdict(state) for state in states],
            # What replicas that are not there yet are doing.
            "starting": [] if ready else self.starting,
        }

    # For the Python handle.

    async def whole(
        self, call: str, request: dict[str, Any], caller: Caller = ANYBODY
    ) -> dict[str, Any]:
        """One of the HTTP layer's calls for a Python caller: the whole answer."""
        desk = self.api.desk
        async with desk.admit(await self._asked(call, caller)) as context:
            body = desk.parse(json.dumps(request | {"stream": False}).encode())
            answer = await self.generate(body, context)
            assert isinstance(answer, bytes)
            document: dict[str, Any] = json.loads(answer)
            return document

    async def chunks(
        self, call: str, request: dict[str, Any], caller: Caller = ANYBODY
    ) -> AsyncGenerator[dict[str, Any], None]:
        """One of the HTTP layer's calls for a Python caller: the chunks of the answer."""
        desk = self.api.desk
        async with desk.admit(await self._asked(call, caller)) as context:
            body = desk.parse(json.dumps(request | {"stream": True}).encode())
            events = await self.generate(body, context)
            assert not isinstance(events, bytes)
            async with contextlib.aclosing(events):
                async for event in events:
                    if context.error is not None:
                        raise context.error
                    data = event.removeprefix("data: ").strip()
                    if data != "[DONE]":
                        yield json.loads(data)

    async def administered(
        self, method: str, params: dict[str, Any], key: str | None
    ) -> dict[str, Any]:
        """A call of the administration for a Python caller."""
        identity = await self.identify(None if key is None else f"Bearer {key}")
        authorise(identity, "POST", f"{ADMIN}{method}")
        return await self.administer(Call(method, params, 200), identity)

    async def _asked(self, call: str, caller: Caller) -> Asked:
        key = None if caller.key is None else f"Bearer {caller.key}"
        identity = await self.identify(key)
        path = next(path for path, name in GENERATING.items() if name == call)
        authorise(identity, "POST", path)
        return Asked(secrets.token_hex(16), identity, call, caller.zone, caller.priority)

    def status(self) -> dict[str, Any]:
        """Open requests, requests in flight and the state of every pool."""
        return {
            "open_requests": self.api.desk.open_requests,
            "in_flight": self.fleet.links.in_flight,
            "handoffs": self.fleet.handoffs.statistics(),
            "moves": dict(self.fleet.carrier.moves),
            "cold_start_waits": dict(self.fleet.placing.waiting.cold_starts),
            **self.readiness()[1],
        }
