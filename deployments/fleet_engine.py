"""The fleet as one engine: vLLM's front end, with every replica of the fleet behind it.

`generate` is the one way to a token, for each HTTP route and for the Python handle. It knows the
exact length of the prompt, so it is where a request gets its zone and its size class. The replicas
that it then goes to, one after the other if need be, are the carrier's to find.
"""

import time
from collections.abc import AsyncGenerator
from copy import copy
from functools import partial
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

from app.api.context import RequestContext, current_request
from app.api.openai import translated
from app.errors import (
    ContentRefused,
    ContextLengthExceeded,
    InternalError,
    RequestTimeout,
    TidegateError,
)
from app.routing.size_class import SizeClass
from app.usage.meter import UsageKey
from deployments.admission import Outcome, Work
from deployments.fleet import Fleet
from deployments.flight import Flight
from deployments.front_end import FrontEnd
from deployments.gate import Passed
from deployments.job import Admitted, Job
from deployments.sampling import prompt_can_move, traits_of

_SUPPORTED_TASKS = ("generate",)
_FINISHED = "finished"
# Ends of a request that are not our failure.
_CHARGED = frozenset({_FINISHED, "cancelled", RequestTimeout.code, ContentRefused.code})


class FleetEngine(FrontEnd):
    """One model's front end over the fleet.

    Args:
        model: the model's name, as clients know it.
        vllm_config: the model's configuration, with the longest context any pool serves.
        fleet: routing, streams and accounts, shared by all models.
        reasons: whether the model's reasoning is parsed.
    """

    def __init__(
        self, model: str, vllm_config: VllmConfig, fleet: Fleet, *, reasons: bool = False
    ) -> None:
        self.vllm_config = vllm_config
        self.model_config = vllm_config.model_config
        self.renderer = renderer_from_config(vllm_config)
        self.input_processor = InputProcessor(vllm_config, self.renderer)
        self._model = model
        self._reasons = reasons
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
        job = Job(current_request.get())
        carrier = self._fleet.carrier
        try:
            queue = await self._begin(job, prompt, sampling_params, request_id, options)
            await carrier.carry(job)
            while True:
                output = queue.get_nowait() or await queue.get()
                self._came(job, output)
                if output.finished:
                    # Before the client can know that it is over.
                    await self._settle(job)
                    yield output
                    return
                yield output
        except TidegateError as error:
            job.fail(error)
            raise
        except Exception as error:
            # What is wrong with a request may show only here, such as a grammar that is none.
            job.fail(translated(error))
            raise translated(error) from error
        finally:
            # Also when the client has left: nothing may go on for nobody, and what was generated
            # counts as used.
            carrier.drop(job)
            if job.registered is not None:
                # The id of several answers' parent stands for them all, and ends with them.
                self._outputs.abort_requests([job.registered], internal=True)
            await self._settle(job)

    async def _begin(
        self,
        job: Job,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        options: dict[str, Any],
    ) -> RequestOutputCollector:
        """Admits a request, reserves what it can cost, and opens the queue of its outputs."""
        context, fleet = job.context, self._fleet
        passed = await fleet.gate.passed(context)
        request, admitted = self._admit(prompt, params, request_id, options, context, passed)
        job.admitted = admitted
        job.reservation = await fleet.admission.reserve(context, admitted.work)
        fleet.demand.arrived(job, time.monotonic())
        job.filters = fleet.gate.filters(passed, context)
        queue = RequestOutputCollector(params.output_kind, request.request_id)
        text = extract_prompt_components(self.model_config, prompt).text
        self._register(job, request, text, queue)
        job.give_up = queue.put
        job.begin_anew = partial(self._begin_anew, job, request, text, queue)
        fleet.carrier.take(job)
        return queue

    def _begin_anew(
        self,
        job: Job,
        request: EngineCoreRequest,
        text: str | None,
        queue: RequestOutputCollector,
    ) -> None:
        """Forgets what has come of a request that nobody has seen anything of."""
        assert job.registered is not None
        shared = set().union(*(flight.batch_tenants for flight in job.flights))
        self._outputs.abort_requests([job.registered], internal=True)
        # What ending it has put there.
        queue.output = None
        queue.ready.clear()
        again = copy(request)
        again.request_id, again.external_req_id = again.external_req_id, None
        self.input_processor.assign_request_id(again)
        self._register(job, again, text, queue)
        for flight in job.flights:
            flight.batch_tenants |= shared

    def _came(self, job: Job, output: RequestOutput) -> None:
        """Takes what has come from the engine, and filters it."""
        job.context.started = True
        assert job.filters is not None
        for each in output.outputs:
            if each.finish_reason == "error":
                raise InternalError("the engine failed at this request")
            job.filters.apply(each)
        if output.finished:
            job.outcome = _FINISHED

    def _admit(
        self,
        prompt: Any,
        params: SamplingParams,
        request_id: str,
        options: dict[str, Any],
        context: RequestContext,
        passed: Passed,
    ) -> tuple[EngineCoreRequest, Admitted]:
        """Makes vLLM's request of a prompt, and finds its class."""
        request = self.input_processor.process_inputs(
            request_id, prompt, params, supported_tasks=_SUPPORTED_TASKS
        )
        request.reasoning_ended = options.get("reasoning_ended")
        request.reasoning_parser_kwargs = options.get("reasoning_parser_kwargs")
        request.cache_salt = None
        self.input_processor.assign_request_id(request)
        prompt_tokens = len(request.prompt_token_ids or ())
        assert request.sampling_params is not None
        return request, self._measure(prompt_tokens, request.sampling_params, passed, context)

    def _measure(
        self,
        prompt_tokens: int,
        params: SamplingParams,
        passed: Passed,
        context: RequestContext,
    ) -> Admitted:
        asked, task = context.max_tokens, passed.task
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
        most = expected if asked is None else asked
        return Admitted(
            model=self._model,
            zone=passed.zone,
            isolated=passed.isolated,
            task=task,
            prompt_tokens=prompt_tokens,
            expected_tokens=expected,
            answers=params.n,
            size_class=size_class,
            need_tokens=prompt_tokens + most,
            work=Work(self._model, passed.zone, size_class, prompt_tokens, params.n * most),
            traits=traits_of(params, reasons=self._reasons),
            movable_prompt=prompt_can_move(params),
        )

    def _register(
        self,
        job: Job,
        request: EngineCoreRequest,
        text: str | None,
        queue: RequestOutputCollector,
    ) -> None:
        """Makes one flight an answer (`n`), each known to the output processor."""
        params = request.sampling_params
        assert params is not None
        failed = self._fleet.carrier.failed
        job.registered = request.request_id
        if params.n == 1:
            self._outputs.add_request(request, text, None, 0, queue)
            job.flights = [Flight(request, failed)]
            return
        parent = ParentRequest(request)
        job.flights = []
        for index in range(params.n):
            child_id, child_params = parent.get_child_info(index)
            child = copy(request)
            child.request_id = child_id
            child.sampling_params = child_params
            self._outputs.add_request(child, text, parent, index, queue)
            job.flights.append(Flight(child, failed))

    async def _settle(self, job: Job) -> None:
        """Accounts for a request that has ended, however it has; once."""
        if job.filters is not None:
            job.filters.report()
        self._fleet.demand.ended(job, time.monotonic())
        reservation, job.reservation = job.reservation, None
        admitted, route = job.admitted, job.route
        if reservation is None or admitted is None:
            return
        fleet, context = self._fleet, job.context
        if route is None:
            fleet.admission.release(reservation)
            return
        tenant = context.identity.tenant
        generated = 0
        batch_tenants: set[str] = set()
        for flight in job.flights:
            generated += flight.tokens
            batch_tenants.update(flight.batch_tenants)
            params = flight.request.sampling_params
            limited = params is not None and flight.tokens == params.max_tokens
            if flight.tokens:
                cut = limited or job.outcome != _FINISHED
                fleet.expected.observe(tenant, self._model, admitted.task, flight.tokens, cut)
        # Our own failure before the first token is not the client's to pay.
        read = admitted.prompt_tokens if generated or job.outcome in _CHARGED else 0
        key = UsageKey(tenant, self._model, route.pool, admitted.zone)
        fleet.usage.add(key, read, generated)
        outcome = Outcome(route.pool, read, generated, job.outcome, tuple(sorted(batch_tenants)))
        await fleet.admission.settle(context, reservation, admitted.work, outcome)
