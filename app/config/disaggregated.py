"""Pools whose prompts are computed by some engines and whose answers by others."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from app.config.engines import EngineConfig, MarketConfig, ResourceConfig
from app.config.types import (
    Bytes,
    Count,
    CountOrZero,
    Executor,
    Flag,
    Market,
    Role,
    Seconds,
    Section,
    Text,
)

CONNECTOR = "NixlPushConnector"
"""The one of vLLM's connectors that takes KV caches from a pipeline to tensor parallel ranks."""


class SideConfig(Section):
    """The engines of one half of a disaggregated pool.

    Says where they differ from the pool's `engine`, how many there are, and where. What decides on
    the layout of the KV cache (`dtype`, `block_size`, `quantization`, `max_model_len`) is the
    pool's, the same on both sides.
    """

    tensor_parallel_size: Count = 1
    """Ranks that share every layer (TP)."""
    pipeline_parallel_size: Count = 1
    """Stages that the layers are split into (PP); 1 for decode."""
    executor: Executor | None = None
    """How ranks are run; by default as in `engine`."""
    max_num_seqs: Count | None = None
    """Most requests in one batch; by default as in `engine`."""
    max_num_batched_tokens: Count | None = None
    """Most tokens computed in one step; by default as in `engine`."""
    enforce_eager: Flag | None = None
    """Skip compilation; by default as in `engine`."""
    kv_cache_memory: Bytes | None = None
    """Size of the KV cache of each rank; by default as in `engine`. A rank holds the KV of its
    share of the model only: half of each token's under TP 2 or PP 2."""
    gpu_memory_utilization: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    """Share of each GPU's memory that the engine may use; by default as in `engine`."""
    omp_threads: Count | None = None
    """OpenMP threads of each rank on a CPU; by default as in `engine`."""
    env: dict[Text, str] = Field(default={})
    """Further environment variables, on top of those of `engine`. `UCX_TLS` and others of UCX and
    NIXL say how KV caches travel."""
    extra: dict[Text, Any] = Field(default={})
    """Further vLLM engine arguments, on top of those of `engine`."""
    markets: dict[Market, MarketConfig] = Field(default={Market.ON_DEMAND: MarketConfig()})
    """Where the replicas run, a deployment for each market."""
    resources: ResourceConfig | None = None
    """What each replica takes; by default the pool's `resources`."""

    @field_validator("markets")
    @classmethod
    def _at_least_one(cls, value: dict[Market, MarketConfig]) -> dict[Market, MarketConfig]:
        if not value:
            raise ValueError(f"is empty: name at least one of {', '.join(Market)}")
        return value

    def overrides(self, field: str, entry: str = "") -> bool:
        """Whether this side has a value of its own for a field of `engine`.

        Args:
            field: A field of `EngineConfig`.
            entry: A key of it, where the field is a mapping.
        """
        if field not in type(self).model_fields:
            return False
        value = getattr(self, field)
        return entry in value if isinstance(value, dict) else value is not None

    def engine(self, base: EngineConfig) -> EngineConfig:
        """The settings of this side's engines.

        Args:
            base: The pool's `engine`.
        """
        own = {
            field: getattr(self, field)
            for field in EngineConfig.model_fields
            if self.overrides(field)
        }
        own |= {"env": base.env | self.env, "extra": base.extra | self.extra}
        return base.model_copy(update=own)


class DisaggregatedConfig(Section):
    """Two kinds of engines in place of one.

    `prefill` computes prompts and hands their KV caches over, `decode` generates. Either is
    deployed, placed and scaled by itself.
    """

    prefill: SideConfig
    """The engines that compute prompts. Their ranks may spread over nodes."""
    decode: SideConfig
    """The engines that generate, and that compute short prompts themselves. All ranks of one are
    on one node."""
    connector: Text = CONNECTOR
    """vLLM's connector that moves KV caches."""
    handoff_from: CountOrZero | None = None
    """Prompt tokens from which on a prompt is computed by `prefill` and handed over; shorter ones
    are computed where the answer is generated. 0 hands all of them over. By default it is learned
    from how fast either side is found to be."""
    handoff_timeout_s: Seconds = 5.0
    """How long a decode engine waits for a KV cache before the hand-off counts as failed and the
    request is routed again."""
    lease_s: Annotated[int, Field(strict=True, ge=6)] = 10
    """Whole seconds for which a prefill engine keeps a finished KV cache for a decode engine that
    gives no sign of life; it is renewed every sixth of it while the decode engine does. KV memory
    of requests whose decode engine died is free again after it."""

    def side(self, role: Role) -> SideConfig:
        """The configuration of one side.

        Args:
            role: `prefill` or `decode`.

        Raises:
            KeyError: It is neither.
        """
        return {Role.PREFILL: self.prefill, Role.DECODE: self.decode}[role]
