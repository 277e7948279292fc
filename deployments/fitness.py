"""Whether a replica's engine is fit to serve, and how much memory it has lost to fragments."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import structlog

from app.errors import EngineLost
from deployments.engine_core import StreamedEngineCore
from deployments.engine_host import EngineHost

PROBE_TOKENS = 4
PROBE_S = 60.0
MEASURE_S = 10.0
ANSWER_S = 2.0
GPU_SLEEP_LEVEL = 1

log = structlog.get_logger(__name__)


class Fitness:
    """Looks after one engine while it is on standby, and before it is woken.

    Args:
        host: the engine.
        prompt: a short prompt, for a first inference.
        kv_cache_bytes: size of its KV cache, of all ranks; on a CPU it becomes resident little by
            little, which is no fragmentation.
        sleeps: whether it can sleep: weights to host memory, KV cache freed. GPUs only.
    """

    def __init__(
        self, host: EngineHost, prompt: Sequence[int], *, kv_cache_bytes: int, sleeps: bool
    ) -> None:
        self._host = host
        self._prompt = list(prompt)
        self._kv_cache_bytes = kv_cache_bytes
        self.sleeps = sleeps
        self._asleep = False
        self._fingerprint: Any = None
        self._baseline: float | None = None
        self._fragmentation = 0.0
        self._measured_at = 0.0

    async def first_inference(self) -> float:
        """Seconds that a short request takes.

        Raises:
            EngineLost: the engine has died, or has not answered in time.
        """
        began = time.monotonic()
        try:
            await asyncio.wait_for(self._host.infer(self._prompt, PROBE_TOKENS), PROBE_S)
        except TimeoutError:
            raise EngineLost(f"no answer to a short request within {PROBE_S:.0f} s") from None
        return time.monotonic() - began

    async def rest(self) -> None:
        """Prepares for standby: notes what the weights are, and sleeps where that is possible."""
        if self._fingerprint is None:
            self._fingerprint = await self._host.call(_fingerprint)
        if self.sleeps and not self._asleep:
            self._asleep = True
            await self._host.call(_sleep)

    async def wake(self) -> None:
        """Wakes the engine, and looks whether it is what it was.

        Raises:
            EngineLost: it has died, its weights are not what they were, or it cannot compute.
        """
        self._host.check()
        if self._asleep:
            await self._host.call(_wake)
            self._asleep = False
        if self._fingerprint is not None:
            if await self._host.call(_fingerprint) != self._fingerprint:
                raise EngineLost("the weights in memory are not what was loaded")
            await self.first_inference()

    async def fragmentation(self) -> float:
        """Share of the memory that is held and not used, 0 to 1; measured now and then."""
        now = time.monotonic()
        if self._asleep or now - self._measured_at < MEASURE_S:
            return self._fragmentation
        self._measured_at = now
        try:
            use = await asyncio.wait_for(self._host.call(_memory), ANSWER_S)
        except Exception as error:  # noqa: BLE001 - health is not judged here
            log.warning("memory not measured", error=type(error).__name__)
            return self._fragmentation
        if "reserved" in use[0]:
            reserved = sum(rank["reserved"] for rank in use)
            allocated = sum(rank["allocated"] for rank in use)
            self._fragmentation = 1 - allocated / reserved if reserved else 0.0
        else:
            resident = sum(rank["rss"] for rank in use)
            if self._baseline is None:
                self._baseline = resident + self._kv_cache_bytes
            self._fragmentation = max(0.0, 1 - self._baseline / resident)
        return self._fragmentation


def _fingerprint(core: StreamedEngineCore) -> Any:
    return core.model_executor.collective_rpc("weights_fingerprint")


def _memory(core: StreamedEngineCore) -> list[dict[str, float]]:
    return list(core.model_executor.collective_rpc("memory_use"))


def _sleep(core: StreamedEngineCore) -> None:
    # Nothing runs: requests have gone, so the scheduler pauses at once.
    core.sleep(GPU_SLEEP_LEVEL)


def _wake(core: StreamedEngineCore) -> None:
    core.wake_up()
