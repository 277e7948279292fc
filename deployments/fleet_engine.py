"""The fleet as one engine: vLLM's front end, with every replica of the fleet behind it.

`generate` is the one way to a token, for each HTTP route and for the Python handle. It knows the
exact length of the prompt, so it is where a request gets its zone, its size class and its replica,
and where it is sent again if that replica dies before its first token.
"""

import asyncio
from collections.abc import AsyncGenerator
from copy import copy
from dataclasses import dataclass
from typing import Any

from vllm.config import VllmConfig
from vllm.outputs import RequestOutput
from vllm.renderers import renderer_from_config
from vllm.renderers.inputs.preprocess import extract_prompt_components
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest
from vllm.v1.engine.input_processor import InputProcessor
from vllm.v1.engine.output_processor import OutputProcessor, RequestOutputCollector
from vllm.v1.engine.parallel_sampling import ParentRequest

from app.api.context import Placed, RequestContext, current_request
from app.api.openai import translated
from app.errors import (
    ContextLengthExceeded,
    EngineLost,
    InternalError,
    NoCapacity,
    ReplicaUnreachable,
    TidegateError,
)
from app.routing.router import Route
from app.routing.size_class import SizeClass
from app.usage.meter import UsageKey
from deployments.fleet import Fleet
from deployments.front_end import FrontEnd
from deployments.links import Flight
from deployments.messages import Submission

_SUPPORTED_TASKS = ("generate",)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A request whose length, zone and class are known."""

    zone: str
    task: str
    prompt_tokens: int
    expected_tokens: int
    size_class: SizeClass
    need_tokens: int


class FleetEngine(FrontEnd):
    """One model's front end over the fleet.

    Args:
        model: the model's name, as clients know it.
        vllm_config: the model's configuration, with the longest context any pool serves.
        fleet: routing, streams and accounts, shared by all models.
    """

    def __init__(self, model: str, vllm_config: VllmConfig, fleet: Fleet) -> None:
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.renderer = renderer_from_config(vllm_config)
        self.input_processor = InputProcessor(vllm_config, self.renderer)
        self._model = model
        self._fleet = fleet
        self._outputs = OutputProcessor(self.renderer.tokenizer, log_stats=False)

    def process(self, message: EngineCoreOutputs) -> list[str]:
        """Turns an engine's tokens into text and wakes those who wait for them.

        Returns:
            Ids of requests that a stop string has ended, and that the engine still works on.
        """
        processed = self._outputs.process_outputs(message.outputs, message.timestamp)
        return processed.reqs_to_abort

    async def generate(
        self,
        prompt: Any,
        sampling_params: SamplingParams,
        request_id: str,
        **options: Any,
    ) -> AsyncGenerator[RequestOutput, None]:
        """Generates for a rendered prompt.

        Args:
            prompt: vLLM's rendered prompt (token ids; its text stays in this process).
            sampling_params: as vLLM's layer made them.
            request_id: vLLM's id of the answer.
            options: of vLLM's other options only those that steer structured output are heeded;
                priority, data-parallel rank, session and tracing are ours to set.

        Raises:
            TidegateError: the request was refused, could not be placed, or lost its replica.
        """
        context = current_request.get()
        flights: list[Flight] = []
        registered: str | None = None
        route: Route | None = None
        whole = False
        try:
            request, admitted = await self._admit(
                prompt, sampling_params, request_id, options, context
            )
            queue = RequestOutputCollector(sampling_params.output_kind, request.request_id)
            text = extract_prompt_components(self.model_config, prompt).text
            registered = request.request_id
            flights = self._register(request, text, queue)
            failed: set[str] = set()
            losses = 0
            while True:
                route = await self._place(admitted, flights, context, failed)
                try:
                    while True:
                        output = queue.get_nowait() or await queue.get()
                        context.started = True
                        if any(each.finish_reason == "error" for each in output.outputs):
                            raise InternalError("the engine failed at this request")
                        yield output
                        if output.finished:
                            whole = True
                            return
                except ReplicaUnreachable as error:
                    if any(flight.tokens for flight in flights):
                        raise EngineLost(
                            "the replica that served this request was lost; send it again"
                        ) from error
                    self._fleet.links.drop(flights)
                    failed.add(route.replica_id)
                    losses += 1
                    if losses > self._fleet.retries:
                        raise NoCapacity(
                            f"{losses} replicas were lost before the first token"
                        ) from error
        except TidegateError as error:
            context.error = error
            raise
        except Exception as error:
            # What is wrong with a request may show only here, such as a grammar that is none.
            context.error = translated(error)
            raise context.error from error
        finally:
            # Also when the client has left: nothing may go on for nobody, and what was generated
            # counts as used.
            if route is not None:
                self._settle(admitted, flights, context, route, whole)
            self._fleet.links.drop(flights)
            if registered is not None:
                # The id of several answers' parent stands for them all, and ends with them.
                self._outputs.abort_requests([registered], internal=True)

    async def _admit(
        self,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        options: dict[str, Any],
        context: RequestContext,
    ) -> tuple[EngineCoreRequest, _Admitted]:
        """Makes vLLM's request of a prompt, and finds its zone and its class."""
        verdict = await context.verdict if context.verdict is not None else None
        zone = self._fleet.zone_of(context, verdict)
        request = self.input_processor.process_inputs(
            request_id, prompt, params, supported_tasks=_SUPPORTED_TASKS
        )
        request.reasoning_ended = options.get("reasoning_ended")
        request.reasoning_parser_kwargs = options.get("reasoning_parser_kwargs")
        request.cache_salt = None
        self.input_processor.assign_request_id(request)
        task = verdict.task if verdict is not None else "unknown"
        return request, self._measure(len(request.prompt_token_ids or ()), zone, task, context)

    def _measure(
        self, prompt_tokens: int, zone: str, task: str, context: RequestContext
    ) -> _Admitted:
        asked = context.max_tokens
        expected = self._fleet.expected.predict(context.identity.tenant, self._model, task, asked)
        room = self.model_config.max_model_len - prompt_tokens
        if room < (1 if asked is None else asked):
            raise ContextLengthExceeded(
                prompt_tokens=prompt_tokens,
                max_tokens=asked,
                limit=self.model_config.max_model_len,
            )
        expected = min(expected, room)
        size_class = SizeClass.of(prompt_tokens + expected) or SizeClass.XL
        need = prompt_tokens + (expected if asked is None else asked)
        return _Admitted(zone, task, prompt_tokens, expected, size_class, need)

    def _register(
        self, request: EngineCoreRequest, text: str | None, queue: RequestOutputCollector
    ) -> list[Flight]:
        """Makes one flight an answer (`n`), each known to the output processor."""
        params = request.sampling_params
        assert params is not None
        if params.n == 1:
            self._outputs.add_request(request, text, None, 0, queue)
            return [Flight(request, queue.put)]
        parent = ParentRequest(request)
        flights = []
        for index in range(params.n):
            child_id, child_params = parent.get_child_info(index)
            child = copy(request)
            child.request_id = child_id
            child.sampling_params = child_params
            self._outputs.add_request(child, text, parent, index, queue)
            flights.append(Flight(child, queue.put))
        return flights

    async def _place(
        self,
        admitted: _Admitted,
        flights: list[Flight],
        context: RequestContext,
        failed: set[str],
    ) -> Route:
        """Finds a replica, waiting for one if need be, and sends it all flights."""
        while True:
            route = await self._fleet.route(self._model, admitted, context.deadline, failed)
            pool = self._fleet.pool(route.pool)
            submission = Submission(
                admitted.zone,
                admitted.prompt_tokens + admitted.expected_tokens,
                context.identity.tenant,
            )
            overhead = (asyncio.get_running_loop().time() - context.received_at) * 1e3
            context.placement = Placed(
                admitted.zone, route.pool, route.market, admitted.size_class, overhead
            )
            room = pool.engine.max_model_len - admitted.prompt_tokens
            try:
                for flight in flights:
                    params = flight.request.sampling_params
                    assert params is not None
                    params.max_tokens = min(params.max_tokens or room, room)
                    self._fleet.links.send(route, flight, submission)
            except ReplicaUnreachable:
                self._fleet.links.drop(flights)
                failed.add(route.replica_id)
                continue
            return route

    def _settle(
        self,
        admitted: _Admitted,
        flights: list[Flight],
        context: RequestContext,
        route: Route,
        whole: bool,
    ) -> None:
        tenant = context.identity.tenant
        generated = 0
        for flight in flights:
            generated += flight.tokens
            params = flight.request.sampling_params
            limited = params is not None and flight.tokens == params.max_tokens
            if flight.tokens:
                self._fleet.expected.observe(
                    tenant, self._model, admitted.task, flight.tokens, limited or not whole
                )
        key = UsageKey(tenant, self._model, route.pool, admitted.zone)
        self._fleet.usage.add(key, admitted.prompt_tokens, generated)
