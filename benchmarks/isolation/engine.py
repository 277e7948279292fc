"""One engine on a thread of this process, and a client of its stream."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import msgspec
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.admission.isolation import Salts
from app.config import FairnessConfig, Isolation, ModelConfig, PoolConfig, ZoneConfig
from deployments.engine_args import engine_args
from deployments.engine_host import EngineHost
from deployments.messages import Alert, Refusal, SharedBatch, Submission, encode, encode_ids
from deployments.scheduler import TidegateScheduler
from deployments.wire import Connection, Kind, connect

__all__ = ["Answer", "LoneEngine"]

T = TypeVar("T")

LOCALHOST = "127.0.0.1"
ZONE = "lone"
MODEL = "models/demo"
_ENGINE: dict[str, Any] = {
    "dtype": "float32",
    "max_model_len": 2048,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 512,
    "block_size": 32,
    "enforce_eager": True,
    "kv_cache_memory": "64MiB",
    "omp_threads": 1,
}


class _Host(EngineHost):
    """An engine host that shows what killed its engine."""

    def _died(self, error: BaseException) -> None:
        traceback.print_exception(error)
        super()._died(error)


@dataclass(eq=False)
class Answer:
    """What has come back for one request; times are those of `time.perf_counter`."""

    request_id: str
    tenant: str
    prompt_tokens: int
    sent_at: float
    tokens: list[int] = field(default_factory=list)
    first_at: float | None = None
    ended_at: float | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    batch_tenants: set[str] = field(default_factory=set)
    done: threading.Event = field(default_factory=threading.Event)
    on_end: Callable[[Answer], None] | None = None

    @property
    def ttft(self) -> float:
        """Seconds from sending to the first token."""
        assert self.first_at is not None
        return self.first_at - self.sent_at

    def wait(self, timeout_s: float = 60.0) -> Answer:
        """Waits for the end.

        Raises:
            TimeoutError: it did not come.
        """
        if not self.done.wait(timeout_s):
            raise TimeoutError(f"request {self.request_id} did not end in {timeout_s:g} s")
        return self


class LoneEngine:
    """A context in which one engine runs.

    Args:
        isolation: the level of its zone.
        fairness: settings of the queue that differ from the defaults.
        engine: settings of the engine that differ from this module's.
        change: called with vLLM's configuration before the engine starts.
    """

    def __init__(
        self,
        isolation: str = "medium",
        fairness: Mapping[str, Any] | None = None,
        engine: Mapping[str, Any] | None = None,
        change: Callable[[Any], None] | None = None,
    ) -> None:
        self._zone = ZoneConfig(isolation=Isolation(isolation))
        self._fairness = FairnessConfig.model_validate(fairness or {})
        self._pool = PoolConfig.model_validate(
            {
                "name": "lone",
                "model": "demo",
                "zone": ZONE,
                "size_classes": ["small", "medium"],
                "engine": _ENGINE | dict(engine or {}),
                "resources": {"device": "cpu"},
            }
        )
        self._change = change
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lone", daemon=True)
        self._answers: dict[str, Answer] = {}
        self._numbers = itertools.count()
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreOutputs)
        self._connection: Connection | None = None
        self.host: EngineHost
        self.alerts: list[Alert] = []
        self.refusals: list[Refusal] = []
        self.lost = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self._start(), 120)
        return self

    def __exit__(self, *args: object) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def scheduler(self) -> TidegateScheduler:
        """The engine's own scheduler: to be looked at, and in tests to be tampered with."""
        return self.host.scheduler

    def use_salts(self, salts: Salts) -> None:
        """Replaces the engine's own salts, before the first request."""
        core: Any = self.host._core  # noqa: SLF001 - nothing but an attack has use for it
        core._salts = core.scheduler.salts = salts  # noqa: SLF001

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        """Runs a coroutine on the engine's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def send(
        self,
        prompt: Sequence[int],
        tenant: str,
        *,
        user: str = "ada",
        max_tokens: int = 8,
        expected: int | None = None,
        tier: str = "standard",
        weight: float = 1.0,
        zone: str = ZONE,
        on_end: Callable[[Answer], None] | None = None,
        salt: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Sends a request.

        Args:
            prompt: token ids.
            tenant: who pays.
            user: who asks.
            max_tokens: length of the answer; it ends no sooner unless `params` say so.
            expected: output that the gateway expects; by default `max_tokens`.
            tier: band of the queue.
            weight: the tenant's share.
            zone: the zone it claims to be of.
            on_end: called on the engine's loop when the answer is whole.
            salt: a cache salt from outside, which the engine should overwrite.
            params: further sampling parameters.
        """
        request_id = f"r{next(self._numbers)}"
        options = {"temperature": 0.0, "ignore_eos": True, "detokenize": False} | dict(params or {})
        sampling = SamplingParams(
            max_tokens=max_tokens, output_kind=RequestOutputKind.DELTA, **options
        )
        request = EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=list(prompt),
            mm_features=None,
            sampling_params=sampling,
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=salt,
            data_parallel_rank=None,
        )
        tokens = len(prompt) + (max_tokens if expected is None else expected)
        submission = Submission(zone, tokens, tenant, user, tier, weight)
        buffers = [encode(submission), *self._encoder.encode(request)]
        answer = Answer(request_id, tenant, len(prompt), time.perf_counter(), on_end=on_end)
        self._answers[request_id] = answer
        self._loop.call_soon_threadsafe(self._write, Kind.ADD, buffers)
        return answer

    def cancel(self, answer: Answer) -> None:
        """Aborts a request."""
        self._loop.call_soon_threadsafe(self._write, Kind.ABORT, [encode_ids([answer.request_id])])

    # On the loop.

    def _write(self, kind: Kind, buffers: Sequence[Any]) -> None:
        if self._connection is not None:
            self._connection.send(kind, buffers)

    async def _start(self) -> None:
        model = ModelConfig(name="demo", source=MODEL, max_model_len=32768)
        args = engine_args(model, self._pool, self._zone, self._fairness)
        config = args.create_engine_config()
        if self._change is not None:
            self._change(config)
        self.host = _Host(config, ZONE)
        endpoint = await self.host.start(LOCALHOST)
        self._connection = await connect(endpoint, self._frame, self._lost)

    async def _stop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        await self.host.close()

    def _lost(self, connection: Connection) -> None:
        self.lost.set()

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.OUTPUTS:
            self._outputs(self._decoder.decode(buffers))
        elif kind is Kind.BATCHMATES:
            for request_id, tenants in msgspec.msgpack.decode(
                buffers[0], type=SharedBatch
            ).tenants.items():
                if (answer := self._answers.get(request_id)) is not None:
                    answer.batch_tenants.update(tenants)
        elif kind is Kind.SECURITY:
            self.alerts.append(msgspec.msgpack.decode(buffers[0], type=Alert))
        elif kind is Kind.REFUSED:
            refusal = msgspec.msgpack.decode(buffers[0], type=Refusal)
            self.refusals.append(refusal)
            self._end(self._answers[refusal.request_id], refusal.code)

    def _outputs(self, message: EngineCoreOutputs) -> None:
        now = time.perf_counter()
        for output in message.outputs:
            answer = self._answers.get(output.request_id)
            if answer is None:
                continue
            if output.new_token_ids and answer.first_at is None:
                answer.first_at = now
            answer.tokens.extend(output.new_token_ids)
            if output.prefill_stats is not None:
                answer.cached_tokens = output.prefill_stats.num_cached_tokens
            if output.finish_reason is not None:
                self._end(answer, str(output.finish_reason), now)

    def _end(self, answer: Answer, reason: str, now: float | None = None) -> None:
        del self._answers[answer.request_id]
        answer.ended_at = time.perf_counter() if now is None else now
        answer.finish_reason = reason
        answer.done.set()
        if answer.on_end is not None:
            answer.on_end(answer)
