"""Prefill and decode engines as processes, and a gateway that is nothing but its streams."""

import asyncio
import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.config import Role, parse_config
from deployments.environment import engine_environment
from deployments.messages import Alert, KvPeer, Leaving, Refusal, Submission, encode
from deployments.wire import Connection, Endpoint, Kind, connect

START_S = 240.0
OFFER = {
    "do_remote_decode": True,
    "do_remote_prefill": False,
    "remote_engine_id": None,
    "remote_block_ids": None,
    "remote_host": None,
    "remote_port": None,
}
ARGS: dict[str, Any] = {
    "models": [{"name": "demo", "source": "models/demo", "max_model_len": 32768}],
    "weights": {"keys": [{"id": "demo", "public_key": "models/demo.pub"}]},
    "zones": {"public": {"isolation": "medium"}, "private": {"isolation": "high"}},
    "default_zone": "public",
    "access": {"keys": "off"},
    "size_classes_required": ["small", "medium"],
    "pools": [
        {
            "name": "halves",
            "model": "demo",
            "zone": "public",
            "size_classes": ["small", "medium"],
            "engine": {
                "dtype": "float32",
                "max_model_len": 2048,
                "max_num_seqs": 8,
                "max_num_batched_tokens": 512,
                "block_size": 32,
                "enforce_eager": True,
                "kv_cache_memory": "64MiB",
                "omp_threads": 1,
            },
            "resources": {"device": "cpu", "cpus": 2},
            "disaggregated": {
                "prefill": {"pipeline_parallel_size": 2},
                "decode": {"tensor_parallel_size": 2},
                "handoff_timeout_s": 5,
                "lease_s": 6,
            },
        },
        {
            "name": "private",
            "model": "demo",
            "zone": "private",
            "size_classes": ["small", "medium"],
            "engine": {"max_model_len": 2048, "kv_cache_memory": "64MiB"},
        },
    ],
}


class Engine:
    """One engine's process.

    Args:
        role: the side it is on.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        pool = parse_config(ARGS).pools[0].side(role)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.half_process", json.dumps(ARGS), role.value],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | engine_environment(pool) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
            text=True,
            # Its workers are of its group, so that all of an engine can die at once.
            start_new_session=True,
        )
        self._endpoint: Endpoint | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where its stream listens; waits until it does."""
        if self._endpoint is None:
            self._endpoint = Endpoint(**self._line(START_S))
        return self._endpoint

    def ask(self, line: str = "") -> dict[str, Any]:
        """Has it do something, and tell its counts."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return self._line(30.0)

    def until(self, what: str, value: float, within_s: float) -> dict[str, Any]:
        """Waits until something that it counts has a value."""
        deadline = time.monotonic() + within_s
        while (counts := self.ask())[what] != value and time.monotonic() < deadline:
            time.sleep(0.1)
        assert counts[what] == value, counts
        return counts

    def signal(self, number: signal.Signals) -> None:
        """Sends all of its processes a signal."""
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        """Ends it, and sees that nothing of it is left."""
        assert self.process.stdin is not None
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
            deadline = time.monotonic() + 10
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not self.alive, "its workers outlived it"
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait(5)
            assert self.process.stdout is not None
            self.process.stdout.close()

    @property
    def alive(self) -> bool:
        """Whether any of its processes is there."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _line(self, within_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], within_s)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError(f"the {self.role} engine says nothing: {self.process.poll()}")
        message: dict[str, Any] = json.loads(line)
        return message


@dataclass(slots=True)
class Answer:
    """What has come of one request."""

    outputs: list[EngineCoreOutput] = field(default_factory=list)
    refusal: Refusal | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tokens(self) -> list[int]:
        return [token for output in self.outputs for token in output.new_token_ids]

    async def whole(self, within_s: float = 30.0) -> list[int]:
        await asyncio.wait_for(self.done.wait(), within_s)
        assert self.refusal is None, self.refusal
        return self.tokens


class Stream:
    """A gateway's stream to one engine."""

    numbers = itertools.count()

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.peer: KvPeer | None = None
        self.warm: set[str] = set()
        self.leaving: Leaving | None = None
        self.alerts: list[Alert] = []
        self.lost = asyncio.Event()
        self._encoder = MsgpackEncoder()
        self._decoder = MsgpackDecoder(EngineCoreOutputs)
        self._connection: Connection | None = None

    async def open(self, endpoint: Endpoint) -> "Stream":
        self._connection = await connect(endpoint, self._frame, lambda _: self.lost.set())
        return self

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def send(self, kind: Kind, message: Any) -> None:
        assert self._connection is not None
        self._connection.send(kind, [encode(message)])

    def add(
        self,
        prompt: list[int],
        request_id: str | None = None,
        *,
        zone: str = "public",
        tenant: str = "acme",
        generated: Iterable[int] = (),
        transfer: Any = None,
        **params: Any,
    ) -> tuple[str, Answer]:
        """Sends a request; its id, and where its answer will be."""
        request_id = request_id or f"req{next(self.numbers):04}"
        given = {"temperature": 0.0, "max_tokens": 16} | params
        if transfer is not None:
            given["extra_args"] = {"kv_transfer_params": transfer}
        sampling = SamplingParams(output_kind=RequestOutputKind.DELTA, **given)
        request = EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=prompt,
            mm_features=None,
            sampling_params=sampling,
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        tokens = len(prompt) + int(given["max_tokens"])
        submission = Submission(zone, tokens, tenant, generated=list(generated))
        self.answers[request_id] = answer = Answer()
        assert self._connection is not None
        buffers = [encode(submission), *self._encoder.encode(request)]
        self._connection.send(Kind.ADD, buffers)
        return request_id, answer

    def send_peers(self, peers: list[KvPeer]) -> None:
        self.send(Kind.PEERS, peers)

    def abort(self, request_id: str) -> None:
        self.send(Kind.ABORT, [request_id])

    async def until_warm(self, engine_ids: set[str], within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while self.warm != engine_ids:
            assert time.monotonic() < deadline, (self.warm, engine_ids)
            await asyncio.sleep(0.02)

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.OUTPUTS:
            for output in self._decoder.decode(buffers).outputs:
                answer = self.answers[output.request_id]
                answer.outputs.append(output)
                if output.finish_reason is not None:
                    answer.done.set()
        elif kind is Kind.REFUSED:
            refusal = msgspec.msgpack.decode(buffers[0], type=Refusal)
            self.answers[refusal.request_id].refusal = refusal
            self.answers[refusal.request_id].done.set()
        elif kind is Kind.PEER:
            self.peer = msgspec.msgpack.decode(buffers[0], type=KvPeer)
        elif kind is Kind.WARM:
            self.warm = set(msgspec.msgpack.decode(buffers[0], type=list[str]))
        elif kind is Kind.LEAVING:
            self.leaving = msgspec.msgpack.decode(buffers[0], type=Leaving)
        elif kind is Kind.SECURITY:
            self.alerts.append(msgspec.msgpack.decode(buffers[0], type=Alert))
