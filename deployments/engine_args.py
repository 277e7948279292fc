"""vLLM's engine arguments, from a model's and a pool's configuration."""

from typing import Any

from vllm.engine.arg_utils import AsyncEngineArgs

from app.config import Device, FairnessConfig, ModelConfig, PoolConfig, ZoneConfig
from app.placement import engine_executor
from deployments.isolation import KV_CACHE_ERASER, EnginePolicy
from deployments.pipeline_worker import PIPELINE_CPU_WORKER
from deployments.scheduler import SCHEDULER


def engine_args(
    model: ModelConfig, pool: PoolConfig, zone: ZoneConfig, fairness: FairnessConfig
) -> AsyncEngineArgs:
    """The arguments of one engine of a pool.

    Args:
        model: the model's configuration.
        pool: the pool's configuration.
        zone: the configuration of the pool's zone.
        fairness: the order in which requests are started.
    """
    engine = pool.engine
    policy = EnginePolicy.of(pool.zone, zone, fairness)
    executor = engine_executor(engine, pool.resources)
    args: dict[str, Any] = {
        **_model_args(model),
        "max_model_len": engine.max_model_len,
        "dtype": engine.dtype,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "enforce_eager": engine.enforce_eager,
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "tensor_parallel_size": engine.tensor_parallel_size,
        "pipeline_parallel_size": engine.pipeline_parallel_size,
        "distributed_executor_backend": executor.value,
        "enable_prefix_caching": engine.enable_prefix_caching,
        "stream_interval": engine.stream_interval,
        "disable_log_stats": True,
        **engine.extra,
    }
    # After `extra`, so that nothing there can loosen what the zone demands.
    args["scheduler_cls"] = SCHEDULER
    args["additional_config"] = policy.written(args.get("additional_config", {}))
    args["worker_extension_cls"] = KV_CACHE_ERASER
    if not policy.rules.prefix_cache:
        args["enable_prefix_caching"] = False
    if engine.block_size is not None:
        args["block_size"] = engine.block_size
    if engine.kv_cache_memory is not None:
        args["kv_cache_memory_bytes"] = engine.kv_cache_memory
    if engine.quantization is not None:
        args["quantization"] = engine.quantization
    if model.reasoning_parser is not None:
        args["reasoning_parser"] = model.reasoning_parser
    if pool.resources.device is Device.CPU and engine.pipeline_parallel_size > 1:
        args["worker_cls"] = PIPELINE_CPU_WORKER
    return AsyncEngineArgs(**args)


def front_end_args(model: ModelConfig, longest: int) -> AsyncEngineArgs:
    """The arguments a gateway renders and detokenises with.

    Args:
        model: the model's configuration.
        longest: the longest sequence that any pool serves, in tokens.
    """
    args = _model_args(model) | {"max_model_len": longest, "disable_log_stats": True}
    if model.reasoning_parser is not None:
        args["reasoning_parser"] = model.reasoning_parser
    return AsyncEngineArgs(**args)


def _model_args(model: ModelConfig) -> dict[str, Any]:
    args: dict[str, Any] = {
        "model": model.source,
        "served_model_name": [model.name],
        "trust_remote_code": False,
    }
    if model.revision is not None:
        args["revision"] = model.revision
    if model.tokenizer is not None:
        args["tokenizer"] = model.tokenizer
    return args
