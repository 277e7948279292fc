"""Pools: engines of one model, one zone and some size classes, with one engine configuration."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from app.config.types import (
    Bytes,
    Count,
    CountOrZero,
    Cpus,
    Device,
    Executor,
    Flag,
    Market,
    ModelName,
    PoolName,
    Seconds,
    Section,
    Text,
    ZoneName,
)
from app.routing.size_class import SizeClass

MARKET_LABEL = "ray.io/market-type"
"""The node label that tells spot from on-demand; Ray's own name for it."""


class EngineConfig(Section):
    """Settings of the vLLM engines of a pool; what is not set follows vLLM's defaults."""

    max_model_len: Count
    """Longest sequence, in tokens of prompt and output together."""
    dtype: Text = "auto"
    """Number format of weights and activations; `auto` takes the checkpoint's."""
    max_num_seqs: Count = 256
    """Most requests in one batch."""
    max_num_batched_tokens: Count = 8192
    """Most tokens computed in one step; longer prompts are prefilled in chunks of this size."""
    block_size: Count | None = None
    """Tokens in one block of the KV cache."""
    enforce_eager: Flag = False
    """Skip compilation: a faster start, slower tokens."""
    kv_cache_memory: Bytes | None = None
    """Size of the KV cache of each rank, such as `64MiB`. Required on a CPU, where vLLM would
    claim most of the node's memory; on a GPU it overrides `gpu_memory_utilization`."""
    gpu_memory_utilization: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.9
    """Share of each GPU's memory that the engine may use."""
    tensor_parallel_size: Count = 1
    """Ranks that share every layer (TP)."""
    pipeline_parallel_size: Count = 1
    """Stages that the layers are split into (PP)."""
    executor: Executor = Executor.AUTO
    """How ranks are run; `auto` takes `uni` for one rank, `mp` on one node, `ray` across nodes."""
    quantization: Text | None = None
    """vLLM's name of a quantization method; by default what the checkpoint says."""
    enable_prefix_caching: Flag = True
    """Reuse the KV cache of equal prompt beginnings, within one cache salt."""
    stream_interval: Count = 1
    """Tokens that the engine gathers before it sends them on."""
    omp_threads: Count | None = None
    """OpenMP threads of each rank on a CPU; by default as many as there are cores."""
    env: dict[Text, str] = Field(default={})
    """Further environment variables of the engine's process."""
    extra: dict[Text, Any] = Field(default={})
    """Further vLLM engine arguments by their Python names, such as `max_logprobs`. What Tidegate
    sets itself is refused."""

    @property
    def world_size(self) -> int:
        """Ranks of one engine: TP x PP."""
        return self.tensor_parallel_size * self.pipeline_parallel_size


class MarketConfig(Section):
    """How many replicas a pool has in one market, and on which nodes."""

    min_replicas: CountOrZero = 1
    """Replicas that are always there."""
    max_replicas: Count = 1
    """Most replicas that scaling may start."""
    label_selector: dict[Text, str] | None = None
    """Labels that a node must have. By default `ray.io/market-type` with the market's name; none
    where on-demand is the pool's only market."""


class ResourceConfig(Section):
    """What each replica of a pool takes."""

    device: Device = Device.CPU
    """What the engine computes on."""
    accelerator_type: Text | None = None
    """Ray's name of a GPU model, such as `H100`; any by default."""
    gpus_per_node: Count = 8
    """GPUs in one node of this pool's kind: an engine with more ranks spans nodes."""
    cpus: Cpus = 1.0
    """CPU cores that Ray sets aside for a replica, and for every rank where an engine spans nodes.
    A fraction lets more engines share the cores."""
    memory: Bytes | None = None
    """Memory that Ray sets aside alongside `cpus`."""


def _saturation(data: dict[str, Any]) -> int:
    engine: EngineConfig = data["engine"]
    shortest: SizeClass = data["size_classes"][0]
    return max(2 * engine.max_num_seqs * shortest.limit, engine.max_model_len)


class PoolConfig(Section):
    """Engines of one model, one zone and some size classes."""

    name: PoolName
    """Unique in the fleet; part of the names of its deployments."""
    model: ModelName
    """Name of one of `models`."""
    zone: ZoneName
    """Name of one of `zones`."""
    size_classes: tuple[SizeClass, ...]
    """Classes of requests that this pool is built for; kept shortest first."""
    engine: EngineConfig
    """Settings of the engines."""
    markets: dict[Market, MarketConfig] = Field(default={Market.ON_DEMAND: MarketConfig()})
    """Where the replicas run, a deployment for each market."""
    resources: ResourceConfig = ResourceConfig()
    """What each replica takes."""
    isolated: Flag = False
    """Set apart for requests whose risk is above `guards.isolate_above`; it gets no others."""
    max_outstanding_tokens: Count = Field(default_factory=_saturation)
    """Tokens of work (prompt and expected output) on one replica from which on it counts as
    saturated and requests spill to a larger class. By default two full batches of the pool's
    shortest class, one running and one waiting, and never less than `engine.max_model_len`."""
    graceful_shutdown_timeout_s: Seconds = 300.0
    """How long a stopping replica may go on with the requests it has."""
    health_check_period_s: Seconds = 5.0
    """Seconds between two health checks of a replica."""
    health_check_timeout_s: Seconds = 30.0
    """Seconds without an answer after which a health check has failed."""

    @field_validator("size_classes")
    @classmethod
    def _unique_and_sorted(cls, value: tuple[SizeClass, ...]) -> tuple[SizeClass, ...]:
        if not value:
            raise ValueError(f"is empty: list at least one of {', '.join(SizeClass)}")
        twice = {size_class for size_class in value if value.count(size_class) > 1}
        if twice:
            raise ValueError(f"lists {', '.join(sorted(twice))} more than once")
        return tuple(sorted(value, key=lambda size_class: size_class.limit))

    @field_validator("markets")
    @classmethod
    def _at_least_one(cls, value: dict[Market, MarketConfig]) -> dict[Market, MarketConfig]:
        if not value:
            raise ValueError(f"is empty: name at least one of {', '.join(Market)}")
        return value

    def label_selector(self, market: Market) -> dict[str, str]:
        """Labels that a node must have to run a replica of this market.

        Args:
            market: One of the pool's markets.

        Raises:
            KeyError: The pool has no such market.
        """
        configured = self.markets[market].label_selector
        if configured is not None:
            return dict(configured)
        if market is Market.ON_DEMAND and len(self.markets) == 1:
            return {}
        return {MARKET_LABEL: market.value}
