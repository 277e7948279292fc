"""vLLM's EngineCore in a thread of the replica, its outputs handed to a callback.

vLLM parts a server into a front end (rendering, detokenising, the OpenAI API) and an engine core
behind a message queue. Tidegate keeps that seam and moves it onto the network: the front end runs
in the gateways, the core here. `EngineCoreProc` brings the busy loop, aborts, pausing, utilities
and executor failures; only its sockets are replaced.
"""

import contextlib
import queue
import secrets
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from vllm.config import VllmConfig
from vllm.platforms import current_platform
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest, EngineCoreRequestType
from vllm.v1.engine.core import EngineCoreProc, EngineShutdownState
from vllm.v1.engine.utils import EngineZmqAddresses
from vllm.v1.executor import Executor

from app.admission.isolation import Claim, Salts
from app.errors import IsolationViolated
from deployments.isolation import attach
from deployments.patience import spare_cores
from deployments.scheduler import Batchmates, TidegateScheduler

Emit = Callable[[int, EngineCoreOutputs, Batchmates], None]
T = TypeVar("T")
TRANSFER_POLL_S = 0.004


class _Outlet:
    """Stands where EngineCoreProc has a queue to its output socket's thread: emits at once."""

    def __init__(self, emit: Emit, batchmates: dict[int, Batchmates]) -> None:
        self._emit = emit
        self._batchmates = batchmates

    def put_nowait(self, item: tuple[int, EngineCoreOutputs] | bytes) -> None:
        if not isinstance(item, bytes):
            client, outputs = item
            self._emit(client, outputs, self._batchmates.pop(client, {}))


class StreamedEngineCore(EngineCoreProc):
    """An EngineCore that is fed by method calls and emits its outputs from its own thread.

    Args:
        vllm_config: the engine's configuration.
        executor_class: vLLM's executor for it (in-process, multiprocess or Ray).
        emit: called on the engine's thread with (client index, outputs, tenants that their
            requests shared batches with) after each step.
    """

    def __init__(self, vllm_config: VllmConfig, executor_class: type[Executor], emit: Emit) -> None:
        spare_cores()
        self._on_cpu = current_platform.is_cpu()
        super().__init__(
            vllm_config,
            local_client=True,
            handshake_address="",
            executor_class=executor_class,
            log_stats=False,
        )
        scheduler = self.scheduler
        if not isinstance(scheduler, TidegateScheduler):
            raise IsolationViolated("the engine was configured with a scheduler that isolates not")
        self._salts = scheduler.salts = Salts(secrets.token_bytes(32), scheduler.rules)
        scheduler.erase = self._erase
        if not vllm_config.use_v2_model_runner:
            self.model_executor.collective_rpc("let_requests_resume")
        self.output_queue = _Outlet(emit, scheduler.batchmates)

    def _erase(self) -> None:
        """Leaves nothing of one tenant for the next; on the engine's thread, with nothing running.

        Raises:
            IsolationViolated: something still holds on to the caches.
        """
        self.model_executor.collective_rpc("erase_kv_cache")
        if not self.scheduler.reset_prefix_cache(reset_connector=True):
            raise IsolationViolated("the KV cache is still in use between two tenants")
        if self.mm_receiver_cache is not None:
            self.mm_receiver_cache.clear_cache()
        self.model_executor.reset_mm_cache()
        self.scheduler.reset_encoder_cache()
        self.model_executor.reset_encoder_cache()

    @contextmanager
    def _perform_handshakes(
        self, *args: Any, **kwargs: Any
    ) -> Generator[EngineZmqAddresses, None, None]:
        # There is no front end to shake hands with: gateways come and go while the core runs.
        yield EngineZmqAddresses(inputs=[], outputs=[])

    def process_input_sockets(
        self,
        input_addresses: list[str],
        coord_input_address: str | None,
        identity: bytes,
        ready_event: threading.Event,
    ) -> None:
        """Replaces the thread that reads ZMQ: requests arrive by `submit` and `cancel`."""
        ready_event.set()

    def process_output_sockets(self, *args: Any) -> None:
        """Replaces the thread that writes ZMQ: outputs leave by `emit`."""

    def submit(
        self, request: EngineCoreRequest, claim: Claim, generated: Sequence[int] = ()
    ) -> None:
        """Queues a request; safe from any one thread (it hashes blocks and compiles grammars).

        Args:
            request: what to generate; a salt or a priority that came with it is overwritten.
            claim: who it is for.
            generated: output that the request has already, from another engine. It goes on after
                it, as after a preemption.
        """
        claim.salt = self._salts.of(claim.zone, claim.tenant, claim.user)
        request.cache_salt = claim.salt
        request.priority = 0
        made, wave = self.preprocess_add_request(request)
        attach(made, claim)
        if generated:
            made.append_output_token_ids(list(generated))
            # They are about a prompt that is computed before any output; here there is output.
            made.prefill_stats = None
        self.input_queue.put_nowait((EngineCoreRequestType.ADD, (made, wave)))

    def cancel(self, request_ids: list[str]) -> None:
        """Aborts requests, whether queued, running or unknown."""
        # Both queues, as vLLM does: the first is read in the middle of a step, the second keeps
        # the order with requests not yet added.
        self.aborts_queue.put_nowait(request_ids)
        self.input_queue.put_nowait((EngineCoreRequestType.ABORT, request_ids))

    def call(self, work: Callable[["StreamedEngineCore"], T]) -> Future[T]:
        """Has something done on the engine's thread, between two steps."""
        answer: Future[T] = Future()

        def run() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(work(self))
            except Exception as error:  # noqa: BLE001 - raised where the answer is waited for
                answer.set_exception(error)

        self.input_queue.put_nowait((EngineCoreRequestType.UTILITY, run))
        return answer

    def _process_engine_step(self) -> bool:
        executed: bool = super()._process_engine_step()
        if not executed and self._on_cpu and self.scheduler.has_requests():
            # Nothing but transfers to ask about. Each question wakes every rank, which on a CPU
            # takes from those who compute.
            with contextlib.suppress(queue.Empty):
                self._handle_client_request(*self.input_queue.get(timeout=TRANSFER_POLL_S))
        return executed

    def _handle_client_request(self, request_type: EngineCoreRequestType, request: Any) -> None:
        if request_type is EngineCoreRequestType.UTILITY:
            request()
        else:
            super()._handle_client_request(request_type, request)

    def stop(self) -> None:
        """Asks the busy loop to end; what still runs is aborted."""
        self.shutdown_state = EngineShutdownState.REQUESTED
        self.input_queue.put_nowait((EngineCoreRequestType.WAKEUP, None))


class EngineThread:
    """Builds the core on a thread of its own and runs it there until it is stopped or dies.

    Args:
        vllm_config: the engine's configuration.
        emit: see `StreamedEngineCore`.
        on_death: called on the engine's thread with the error that ended the busy loop.
    """

    def __init__(
        self,
        vllm_config: VllmConfig,
        emit: Emit,
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._config = vllm_config
        self._emit = emit
        self._on_death = on_death
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._core: StreamedEngineCore | None = None
        self._thread = threading.Thread(target=self._run, name="engine-core", daemon=True)

    def start(self) -> StreamedEngineCore:
        """Blocks until the engine is loaded.

        Raises:
            BaseException: whatever kept the engine from loading.
        """
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        assert self._core is not None
        return self._core

    def _run(self) -> None:
        try:
            core = StreamedEngineCore(self._config, Executor.get_class(self._config), self._emit)
        except BaseException as error:  # noqa: BLE001 - raised again where `start` waits
            self._error = error
            self._ready.set()
            return
        self._core = core
        self._ready.set()
        try:
            core.run_busy_loop()
        except SystemExit:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it was, the engine is dead
            self._on_death(error)
        finally:
            core.shutdown()

    def stop(self, timeout_s: float) -> bool:
        """Ends the engine; True if its thread has ended within the time."""
        if self._core is not None:
            self._core.stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()
