"""What waits busily in vLLM and NIXL, made to wait for something to happen.

They take for granted that a machine with GPUs has cores to spare: each rank and the engine core
spin on a core for a second after every message, and NIXL's progress thread for as long as it
lives. Where models are computed on those cores, a hand-off that takes milliseconds takes seconds.
"""

import importlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vllm.distributed.device_communicators.shm_broadcast import SpinCondition
from vllm.platforms import current_platform

PROGRESS_US = 10_000
BUSY_S = 1.0
SPIN_S, BUSY_WAIT_MS, IDLE_WAIT_MS = 0.002, 1, 50


def spare_cores() -> None:
    """Has readers of vLLM's message queues soon sleep instead of asking for a second.

    Only on a CPU; to be called in the engine core's process and in each rank's.
    """
    if not current_platform.is_cpu() or getattr(SpinCondition, "spares_cores", False):
        return
    wait_long = SpinCondition.wait

    def wait(self: Any, timeout_ms: float | None = None) -> None:
        # Writers may drop a notification while the one before is on its way, so no wait is long.
        self.busy_loop_s = SPIN_S
        busy = time.monotonic() <= self.last_read + BUSY_S
        most = BUSY_WAIT_MS if busy else IDLE_WAIT_MS
        wait_long(self, most if timeout_ms is None else min(timeout_ms, most))

    SpinCondition.wait = wait
    SpinCondition.spares_cores = True


@contextmanager
def patient_progress() -> Iterator[None]:
    """Has NIXL agents that are made in here wait for the network. Only on a CPU."""
    if not current_platform.is_cpu():
        yield
        return
    bindings: Any = importlib.import_module("nixl._api").nixlBind
    make = bindings.nixlAgent

    def patient(name: str, config: Any) -> Any:
        config.pthrDelay = PROGRESS_US
        return make(name, config)

    bindings.nixlAgent = patient
    try:
        yield
    finally:
        bindings.nixlAgent = make
