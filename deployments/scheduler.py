"""vLLM's scheduler with Tidegate's waiting queue, its gate and its check of every batch.

vLLM fills a step from `self.waiting` while the queue is true; so the queue is fair, and it is true
while a request may start. Everything else (chunked prefill, preemption, asynchronous scheduling,
pipelines) stays vLLM's.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.kv_cache_utils import get_max_concurrency_for_kv_cache_config
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request, RequestStatus

from app.admission.fair_queue import FairQueue
from app.admission.giving_way import Holding, Room, who_gives_way
from app.admission.isolation import BatchWatch, Claim, Headroom, Salts, Tenure
from app.errors import IsolationViolated
from deployments.isolation import EnginePolicy, claim_of
from deployments.waiting_queue import WaitingQueue
from deployments.worker_extension import GENERATED

SCHEDULER = "deployments.scheduler.make_scheduler"

MOST_BETWEEN_LOOKS_S = 0.25

Batchmates = dict[str, list[str]]
"""Tenants that shared a batch with a request, by its id; those not named before."""


@dataclass(slots=True)
class Counts:
    """What an engine has counted since it started.

    Attributes:
        computed: prompt tokens, and output generated elsewhere, computed here.
        cached: those found in the prefix cache.
        transferred: those whose KV came over from a prefill engine.
        leases_lapsed: ends of leases on a KV cache that nobody came for, by rank.
        handoffs_lapsed: requests that waited in vain for their KV cache.
    """

    computed: int = 0
    cached: int = 0
    transferred: int = 0
    leases_lapsed: int = 0
    handoffs_lapsed: int = 0


class TidegateScheduler(Scheduler):
    """Starts requests fairly and keeps apart what must be kept apart.

    Attributes:
        salts: set by the core before the first request: the engine's own salts.
        erase: set by the core: overwrites the KV cache and resets every cache.
        batchmates: what the last outputs' requests shared batches with, by client.
        erasures: how often the engine was erased between two tenants.
        erasing_s: seconds that it took, in all.
        asides: how often a request was set aside for another tenant.
        counts: tokens of prompts, and hand-offs that came to nothing.
        handoff_lapsed: set by whoever answers for requests: called with one that waited in vain for
            its KV cache, and has ended.
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
        self.counts = Counts()
        self.handoff_lapsed: Callable[[Request], None] = lambda request: None
        self._handoff_timeout_s = policy.handoff_timeout_s
        self._looked_at = 0.0
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
        if len(self.kv_holding_waiting):
            self._end_waiting_in_vain(now)
        needs: dict[str, int] = {}
        kept = 0
        if len(self.waiting):
            needs = {each.request_id: self.waiting.need(each) for each in self._holders()}
            kept = sum(self.waiting.need(each) for each in self._kept())
            self._headroom.promised = kept + sum(needs.values())
        if self.rules.one_tenant:
            self._take_turns(now)
        else:
            self.waiting.open(now)
            if self._most_asides and len(self.waiting):
                self._make_room(now, needs, kept)
        output = super().schedule(throttle_prefills)
        self._resume(output)
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
        transfers = model_runner_output.kv_connector_output
        if transfers and transfers.kv_connector_stats:
            lapsed = transfers.kv_connector_stats.data.get("num_kv_expired_reqs", ())
            self.counts.leases_lapsed += len(lapsed)
        core = self.waiting.core
        for client, message in outputs.items():
            news: Batchmates = {}
            for output in message.outputs:
                if output.prefill_stats is not None:
                    self._count(output.prefill_stats)
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
        """Requests that hold KV blocks and have not ended."""
        yield from self.running
        yield from self.kv_holding_waiting

    @property
    def keeps_for_others(self) -> bool:
        """Whether there are blocks that another engine may still read or write; on any thread."""
        return len(self.requests) > sum(self.get_request_counts())

    def _kept(self) -> list[Request]:
        """Requests that have ended, but whose blocks another engine may still read or write."""
        if not self.keeps_for_others:
            return []
        return [each for each in self.requests.values() if each.is_finished()]

    def _end_waiting_in_vain(self, now: float) -> None:
        """Ends requests whose KV cache does not come over."""
        vain = []
        # What an engine computes for seconds on end says nothing of the transfers meanwhile.
        passed, self._looked_at = min(now - self._looked_at, MOST_BETWEEN_LOOKS_S), now
        for request in self.kv_holding_waiting:
            if request.status != RequestStatus.WAITING_FOR_REMOTE_KVS:
                continue
            claim = claim_of(request)
            claim.waited_s = 0.0 if claim.waited_s is None else claim.waited_s + passed
            came = request.request_id in self.finished_recving_kv_req_ids
            if claim.waited_s > self._handoff_timeout_s and not came:
                vain.append(request)
        if vain:
            self.counts.handoffs_lapsed += len(vain)
            self.finish_requests([each.request_id for each in vain], RequestStatus.FINISHED_ERROR)
            for request in vain:
                self.handoff_lapsed(request)

    def _handle_blocked_waiting_request(self, request: Request) -> bool:
        waited = request.status == RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
        if not super()._handle_blocked_waiting_request(request):
            return False
        if waited and claim_of(request).resumed:
            # What was generated elsewhere has not gone through the grammar that is compiled here.
            generated = list(request.output_token_ids)
            if not self.structured_output_manager.accept_tokens(request, generated):
                request.status = RequestStatus.WAITING_FOR_STRUCTURED_OUTPUT_GRAMMAR
                request.structured_output_request.grammar = ValueError("output does not fit")
                self.grammar_compile_error_reqs.add(request.request_id)
                return False
        return True

    def _resume(self, output: SchedulerOutput) -> None:
        """Shows the model runner the output that new requests have already."""
        for new in output.scheduled_new_reqs:
            request = self.requests[new.req_id]
            count = claim_of(request).resumed
            if not count or request.num_preemptions:
                continue
            total, present = request.num_tokens, new.num_computed_tokens
            if claim_of(request).waited_s is not None and present:
                # All of it came; the last token is computed for what follows it.
                self.counts.transferred += total
            else:
                self.counts.cached += present
                self.counts.computed += total - present
            if not self.use_v2_model_runner:
                new.prompt_token_ids = list(request.all_token_ids)
                new.sampling_params = new.sampling_params.clone()
                extra = dict(new.sampling_params.extra_args or {})
                new.sampling_params.extra_args = extra | {GENERATED: count}

    def _count(self, stats: Any) -> None:
        self.counts.computed += stats.num_computed_tokens
        self.counts.cached += stats.num_local_cached_tokens
        self.counts.transferred += stats.num_external_cached_tokens

    def _take_turns(self, now: float) -> None:
        """Decides which one tenant may start requests in this step."""
        holder, core = self._tenure.holder, self.waiting.core
        expired = self._tenure.expired(now, core.others_wait(holder))
        busy = bool(self.running or self._in_flight or len(self.kv_holding_waiting) or self._kept())
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

    def _make_room(self, now: float, needs: dict[str, int], kept: int) -> None:
        """Sets requests aside for one of another tenant that would have to wait.

        Args:
            now: the step's time.
            needs: tokens of KV cache that each request needs that holds some, by its id.
            kept: tokens that others hold who have ended.
        """
        newcomer = self.waiting.blocked()
        full = len(self.running) >= self.max_num_active_reqs
        if newcomer is None or not (full or not self.waiting):
            return
        core = self.waiting.core
        asides = who_gives_way(
            self._holding(newcomer, self.waiting.need(newcomer)),
            [self._holding(each, needs[each.request_id]) for each in self._holders()],
            core.wanting(),
            Room(self.max_num_active_reqs, self._headroom.limit - kept),
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

    def _holding(self, request: Request, need: int) -> Holding:
        claim = claim_of(request)
        return Holding(
            request.request_id,
            claim.tenant,
            claim.weight,
            need,
            self.waiting.core.cost(request.request_id),
            request.num_computed_tokens,
            request.status == RequestStatus.RUNNING
            and claim.set_aside < self._most_asides
            and not _hands_over(request)
            and self._request_blocks_can_be_freed(request),
        )

    def _inspect(self, output: SchedulerOutput) -> None:
        if self.rules.one_tenant:
            batch = [*self._holders(), *self._kept()]
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


def _hands_over(request: Request) -> bool:
    """Whether its KV cache is about to be fetched by another engine."""
    return bool((request.kv_transfer_params or {}).get("do_remote_decode"))


def _cannot_erase() -> None:
    raise IsolationViolated("the engine cannot be erased between two tenants")
