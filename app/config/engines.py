"""What the engines of a pool are: vLLM's settings, how many, where, and what each takes."""

from typing import Annotated, Any

from pydantic import Field

from app.config.types import (
    Bytes,
    Count,
    CountOrZero,
    Cpus,
    Device,
    Executor,
    Flag,
    Section,
    Text,
)


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
    """How many replicas a pool has in one market, and on which nodes.

    In a pool with a `tier`, what is not set here follows from it.
    """

    min_replicas: CountOrZero = 1
    """Replicas that are always ready and take traffic."""
    max_replicas: Count = 1
    """Most replicas that scaling may start, those on standby among them."""
    standby_replicas: CountOrZero = 0
    """Replicas kept on standby beyond those that take traffic: started, verified and warm, woken in
    seconds. On a GPU they sleep, with their weights in host memory; on a CPU they are parked, which
    saves no memory."""
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
    On a CPU, as many as an engine has ranks, or a fraction below 1: Ray counts cores, it does not
    enforce them, so a fraction lets engines share them."""
    memory: Bytes | None = None
    """Memory that Ray sets aside alongside `cpus`."""
