"""vLLM's scheduler with Tidegate's waiting queue, its gate and its check of every batch.

vLLM fills a step from `self.waiting` while the queue is true; so the queue is fair, and it is true
while a request may start. Everything else (chunked prefill, preemption, asynchronous scheduling,
pipelines) stays vLLM's.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vllm.v1.core.kv_cache_utils import get_max_concurrency_for_kv_cache_config
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from app.admission.fair_queue import FairQueue, Ticket
from app.admission.giving_way import Holding, Room, who_gives_way
from app.admission.isolation import BatchWatch, Claim, Headroom, Salts, Tenure
from app.errors import IsolationViolated
from deployments.isolation import EnginePolicy, claim_of

SCHEDULER = "deployments.scheduler.make_scheduler"

Batchmates = dict[str, list[str]]
"""Tenants that shared a batch with a request, by its id; those not named before."""


class WaitingQueue(RequestQueue):
    """vLLM's waiting queue over `FairQueue`, open to what the scheduler lets start.

    Args:
        core: the order.
        headroom: what has been promised of the KV cache.
    """

    def __init__(self, core: FairQueue, headroom: Headroom) -> None:
        self.core = core
        self._headroom = headroom
        self._requests: dict[str, Request] = {}
        self._now = 0.0
        self._only: str | None = None
        self._resumed_only = False
        self._closed = False
        self._head: Request | None = None
        self._making_room = False

    def open(
        self,
        now: float,
        *,
        only: str | None = None,
        resumed_only: bool = False,
        closed: bool = False,
    ) -> None:
        """Says what may start in the step that begins.

        Args:
            now: the step's time.
            only: the one tenant whose requests may start; by default all.
            resumed_only: whether only requests may go on that had started before.
            closed: whether nothing may start.
        """
        self._now, self._only = now, only
        self._resumed_only, self._closed = resumed_only, closed
        self._head = None

    def next_tenant(self, now: float, without: set[str]) -> str | None:
        """The tenant that is due and has a request that is ready; None if there is none."""
        skipped = set(without)
        while (key := self.core.head(now, without=skipped)) is not None:
            request = self._requests[key]
            tenant = claim_of(request).tenant
            if not _waits_for_grammar(request):
                return tenant
            skipped.add(tenant)
        return None

    def blocked(self) -> Request | None:
        """The request that is due, if it could start but for the KV cache or a free place."""
        self._due()
        head = self._head
        return None if head is None or _waits_for_grammar(head) else head

    @contextmanager
    def making_room(self) -> Iterator[None]:
        """Requests that are preempted in here are set aside: they go back to where they waited."""
        self._making_room = True
        try:
            yield
        finally:
            self._making_room = False

    def need(self, request: Request) -> int:
        """Tokens of KV cache that a request is expected to occupy."""
        expected = request.num_prompt_tokens + claim_of(request).expected_tokens
        return self._headroom.need(expected, request.num_tokens)

    # vLLM's interface.

    def add_request(self, request: Request) -> None:
        """Takes a new request in."""
        claim = claim_of(request)
        ticket = Ticket(
            claim.tenant,
            claim.tier,
            request.num_prompt_tokens,
            claim.expected_tokens,
            claim.weight,
        )
        self.core.add(request.request_id, ticket, time.monotonic())
        self._requests[request.request_id] = request
        self._head = None

    def peek_request(self) -> Request:
        """The request that is due."""
        head = self._due()
        if head is None:
            raise IndexError("no request may start")
        return head

    def pop_request(self) -> Request:
        """Takes out the request that is due, and charges it."""
        request = self.peek_request()
        self.core.start(request.request_id)
        del self._requests[request.request_id]
        self._headroom.promised += self.need(request)
        self._head = None
        return request

    def prepend_request(self, request: Request) -> None:
        """Takes back a request that was preempted: it goes before all others, unless set aside."""
        if self._making_room:
            self.core.set_aside(request.request_id)
        else:
            self.core.preempt(request.request_id)
        self._requests[request.request_id] = request
        self._headroom.promised -= self.need(request)
        self._head = None

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """Takes back requests that were popped in this step and could not start."""
        for request in requests:
            self.core.take_back(request.request_id)
            self._requests[request.request_id] = request
            self._headroom.promised -= self.need(request)
        self._head = None

    def remove_request(self, request: Request) -> None:
        """Forgets a request that will not start."""
        if self._requests.pop(request.request_id, None) is not None:
            self.core.leave(request.request_id, claim_of(request).generated)
            self._head = None

    def remove_requests(self, requests: Iterable[Request]) -> None:
        """Forgets requests, those it does not have passed over."""
        for request in requests:
            self.remove_request(request)

    def __bool__(self) -> bool:
        """Whether a request may start now; `len` says how many wait."""
        return self._due() is not None

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        """All that wait."""
        return (self._requests[key] for key in self.core)

    def _due(self) -> Request | None:
        if self._closed or not self._requests:
            return None
        if self._head is None:
            key = self.core.head(self._now, only=self._only, resumed_only=self._resumed_only)
            if key is None:
                return None
            self._head = self._requests[key]
        # What is due but does not fit is waited for: passing it by would starve long requests.
        return self._head if self._headroom.fits(self.need(self._head)) else None


class TidegateScheduler(Scheduler):
    """Starts requests fairly and keeps apart what must be kept apart.

    Attributes:
        salts: set by the core before the first request: the engine's own salts.
        erase: set by the core: overwrites the KV cache and resets every cache.
        batchmates: what the last outputs' requests shared batches with, by client.
        erasures: how often the engine was erased between two tenants.
        erasing_s: seconds that it took, in all.
        asides: how often a request was set aside for another tenant.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policy = EnginePolicy.read(self.vllm_config)
        self.rules = policy.rules
        if not self.rules.prefix_cache and self.cache_config.enable_prefix_caching:
            raise IsolationViolated("the prefix cache must be off at this level of isolation")
        self.salts: Salts | None = None
        self.erase: Callable[[], None] = _cannot_erase
        self.batchmates: dict[int, Batchmates] = {}
        self.erasures = 0
        self.erasing_s = 0.0
        self.asides = 0
        self._most_asides = policy.set_aside
        self._tenure = Tenure(policy.hold_s)
        self._watch = BatchWatch(policy.zone, self.rules)
        concurrency = get_max_concurrency_for_kv_cache_config(
            self.vllm_config, self.kv_cache_config
        )
        blocks = self.kv_cache_config.num_blocks
        # vLLM counts its null block in, which holds nobody's tokens.
        capacity = round(concurrency * self.max_model_len * (blocks - 1) / blocks)
        self._headroom = Headroom(capacity, self.block_size, self.rules.headroom)
        self.waiting = WaitingQueue(FairQueue(policy.queue), self._headroom)
        self._claims: dict[str, Claim] = {}
        # Steps that have been scheduled and not yet come back: with pipelines and asynchronous
        # scheduling, requests that have left may still be computed.
        self._in_flight = 0

    def add_request(self, request: Request) -> None:
        """Takes a request in, if it is salted as its claim says."""
        claim = claim_of(request)
        if self.salts is None or claim.salt != self.salts.of(claim.zone, claim.tenant, claim.user):
            raise IsolationViolated("a request reached the scheduler with a salt of its own")
        self._claims[request.request_id] = claim
        super().add_request(request)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """Plans a step, and checks it before it is computed.

        Raises:
            IsolationViolated: the step would compute together what must be apart.
        """
        now = time.monotonic()
        if len(self.waiting):
            self._headroom.promised = sum(self.waiting.need(each) for each in self._holders())
        if self.rules.one_tenant:
            self._take_turns(now)
        else:
            self.waiting.open(now)
            if self._most_asides and len(self.waiting):
                self._make_room(now)
        output = super().schedule(throttle_prefills)
        if output.total_num_scheduled_tokens:
            self._inspect(output)
            self._in_flight += 1
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: ModelRunnerOutput
    ) -> dict[int, EngineCoreOutputs]:
        """Takes a step's tokens, and charges them to who generated them."""
        if scheduler_output.total_num_scheduled_tokens:
            self._in_flight -= 1
        outputs: dict[int, EngineCoreOutputs] = super().update_from_output(
            scheduler_output, model_runner_output
        )
        core = self.waiting.core
        for client, message in outputs.items():
            news: Batchmates = {}
            for output in message.outputs:
                key = output.request_id
                claim = self._claims.get(key)
                if claim is None:
                    continue
                claim.generated += len(output.new_token_ids)
                if claim.generated > claim.expected_tokens:
                    core.generated(key, claim.generated)
                if unreported := claim.unreported():
                    news[key] = unreported
                if output.finish_reason is not None:
                    del self._claims[key]
                    core.leave(key, claim.generated)
            if news:
                self.batchmates[client] = news
        return outputs

    def finish_requests(
        self, request_ids: str | Iterable[str] | None, finished_status: RequestStatus
    ) -> list[Request]:
        """Ends requests from outside, whatever they were at."""
        ended: list[Request] = super().finish_requests(request_ids, finished_status)
        for request in ended:
            claim = self._claims.pop(request.request_id, None)
            if claim is not None:
                self.waiting.core.leave(request.request_id, claim.generated)
        return ended

    def _holders(self) -> Iterator[Request]:
        """Requests that hold KV blocks."""
        yield from self.running
        yield from self.kv_holding_waiting

    def _take_turns(self, now: float) -> None:
        """Decides which one tenant may start requests in this step."""
        holder, core = self._tenure.holder, self.waiting.core
        expired = self._tenure.expired(now, core.others_wait(holder))
        busy = bool(self.running or self._in_flight or len(self.kv_holding_waiting))
        if holder is not None and (busy or core.resumes(holder)):
            self.waiting.open(now, only=holder, resumed_only=expired)
            return
        without = {holder} if expired and holder is not None else set()
        tenant = self.waiting.next_tenant(now, without)
        if tenant is not None and self._tenure.hand_over(tenant):
            began = time.perf_counter()
            self.erase()
            self.erasures += 1
            self.erasing_s += time.perf_counter() - began
        self.waiting.open(now, only=tenant, closed=tenant is None)

    def _make_room(self, now: float) -> None:
        """Sets requests aside for one of another tenant that would have to wait."""
        newcomer = self.waiting.blocked()
        full = len(self.running) >= self.max_num_active_reqs
        if newcomer is None or not (full or not self.waiting):
            return
        core = self.waiting.core
        asides = who_gives_way(
            self._holding(newcomer),
            [self._holding(each) for each in self._holders()],
            core.wanting(),
            Room(self.max_num_active_reqs, self._headroom.limit),
            lambda key: core.behind(newcomer.request_id, key),
        )
        for key in asides:
            request = self.requests[key]
            claim_of(request).set_aside += 1
            self.asides += 1
            self.running.remove(request)
            # Should it start again in this very step, it is as new to the model runner.
            self.prev_step_scheduled_req_ids.discard(key)
            with self.waiting.making_room():
                self._preempt_request(request, now)

    def _holding(self, request: Request) -> Holding:
        claim = claim_of(request)
        return Holding(
            request.request_id,
            claim.tenant,
            claim.weight,
            self.waiting.need(request),
            self.waiting.core.cost(request.request_id),
            request.num_computed_tokens,
            request.status == RequestStatus.RUNNING
            and claim.set_aside < self._most_asides
            and self._request_blocks_can_be_freed(request),
        )

    def _inspect(self, output: SchedulerOutput) -> None:
        if self.rules.one_tenant:
            batch = list(self._holders())
            holder = self._tenure.holder
            if any(claim_of(request).tenant != holder for request in batch):
                raise IsolationViolated("a tenant runs in an engine that is another's")
        else:
            batch = [self.requests[key] for key in output.num_scheduled_tokens]
        self._watch.look((claim_of(request), request.cache_salt) for request in batch)


class TidegateAsyncScheduler(TidegateScheduler, AsyncScheduler):
    """The same, one step ahead of the device."""


def make_scheduler(*, vllm_config: Any, **kwargs: Any) -> TidegateScheduler:
    """The scheduler that vLLM's own choice between the two corresponds to."""
    ahead = vllm_config.scheduler_config.async_scheduling
    cls = TidegateAsyncScheduler if ahead else TidegateScheduler
    return cls(vllm_config=vllm_config, **kwargs)


def _waits_for_grammar(request: Request) -> bool:
    structured = request.structured_output_request
    return (
        request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        and structured is not None
        and structured.grammar is None
    )


def _cannot_erase() -> None:
    raise IsolationViolated("the engine cannot be erased between two tenants")
