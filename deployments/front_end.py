"""The part of vLLM's `EngineClient` that a fleet has no single answer to."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any, NoReturn

from vllm.engine.protocol import EngineClient


def _per_engine(name: str) -> NoReturn:
    raise NotImplementedError(f"{name} is an act on one engine; the fleet has many")


class FrontEnd(EngineClient):
    """An `EngineClient` that only generates: engines are managed by their deployments."""

    @property
    def is_running(self) -> bool:
        """Always: a fleet without replicas answers requests with an error of its own."""
        return True

    @property
    def is_stopped(self) -> bool:
        """Never, see `is_running`."""
        return False

    @property
    def errored(self) -> bool:
        """Never: one engine's death is not the fleet's."""
        return False

    @property
    def dead_error(self) -> BaseException:
        """Not reached, since `errored` is never true."""
        return RuntimeError("the fleet does not die")

    async def check_health(self) -> None:
        """Engines have health checks of their own."""

    async def is_tracing_enabled(self) -> bool:
        """vLLM's tracing runs in the engines."""
        return False

    async def do_log_stats(self) -> None:
        """Engines report their own."""

    async def is_sleeping(self) -> bool:
        """A gateway's view holds only engines that are awake."""
        return False

    async def is_paused(self) -> bool:
        """A gateway's view holds only engines that run."""
        return False

    async def notify_kv_transfer_request_rejected(
        self,
        request_id: str,
        kv_transfer_params: dict[str, Any],
        *,
        data_parallel_rank: int | None = None,
    ) -> None:
        """Clients cannot set transfer parameters, so there is nothing to clean up."""

    def encode(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Pooling models are not served."""
        _per_engine("encode")

    async def abort(self, request_id: str | Iterable[str]) -> None:
        """Requests end with the generator that `generate` returned."""
        _per_engine("abort")

    async def start_profile(self, *args: Any, **kwargs: Any) -> None:
        """See the module."""
        _per_engine("start_profile")

    async def stop_profile(self) -> None:
        """See the module."""
        _per_engine("stop_profile")

    async def reset_mm_cache(self) -> None:
        """See the module."""
        _per_engine("reset_mm_cache")

    async def reset_encoder_cache(self) -> None:
        """See the module."""
        _per_engine("reset_encoder_cache")

    async def reset_prefix_cache(self, *args: Any, **kwargs: Any) -> bool:
        """See the module."""
        _per_engine("reset_prefix_cache")

    async def sleep(self, *args: Any, **kwargs: Any) -> None:
        """See the module."""
        _per_engine("sleep")

    async def wake_up(self, *args: Any, **kwargs: Any) -> bool:
        """See the module."""
        _per_engine("wake_up")

    async def release_kv_cache_memory(self) -> None:
        """See the module."""
        _per_engine("release_kv_cache_memory")

    async def add_lora(self, *args: Any, **kwargs: Any) -> bool:
        """See the module."""
        _per_engine("add_lora")

    async def pause_generation(self, *args: Any, **kwargs: Any) -> None:
        """See the module."""
        _per_engine("pause_generation")

    async def resume_generation(self) -> None:
        """See the module."""
        _per_engine("resume_generation")

    def shutdown(self, timeout: float | None = None) -> None:
        """Nothing of the fleet's life hangs on this process."""
