"""vLLM's engine arguments, from a model's and a pool's configuration."""

from typing import TYPE_CHECKING, Any

from vllm.config import KVTransferConfig, VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs

from app.config import Device, FairnessConfig, ModelConfig, PoolConfig, Role, ZoneConfig
from app.errors import ConfigError
from app.placement import engine_executor
from deployments.isolation import EnginePolicy
from deployments.kv_group import GROUP_KEY, HOST_KEY, RECEIVE_KEY, kv_group, new_engine_id
from deployments.loader import LOAD_FORMAT, loader_config
from deployments.pipeline_worker import RANKED_CPU_WORKER
from deployments.scheduler import SCHEDULER
from deployments.worker_extension import WORKER_EXTENSION

if TYPE_CHECKING:
    from app.weights.prepare import Prepared

CONNECTOR_MODULE = "deployments.kv_connector"
RECEIVE_MARGIN_S = 2.0


def engine_args(
    model: ModelConfig,
    pool: PoolConfig,
    zone: ZoneConfig,
    fairness: FairnessConfig,
    role: Role = Role.WHOLE,
    host: str = "127.0.0.1",
    prepared: "Prepared | None" = None,
) -> AsyncEngineArgs:
    """The arguments of one engine of a pool.

    Args:
        model: the model's configuration.
        pool: the pool's configuration, of the side that the engine is on.
        zone: the configuration of the pool's zone.
        fairness: the order in which requests are started.
        role: what the engine does of a request.
        host: the address of this node that engines of the pool's other side reach.
        prepared: the model as it was verified; without it, vLLM loads whatever `source` names.
    """
    engine = pool.engine
    policy = EnginePolicy.of(pool, role, zone, fairness)
    executor = engine_executor(engine, pool.resources)
    args: dict[str, Any] = {
        **_model_args(model, prepared),
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
    args["worker_extension_cls"] = WORKER_EXTENSION
    if prepared is not None:
        args["load_format"] = LOAD_FORMAT
        args["model_loader_extra_config"] = loader_config(prepared)
    if sleeps(pool):
        args["enable_sleep_mode"] = True
    if role is not Role.WHOLE:
        args["kv_transfer_config"] = _kv_transfer(pool, role, host)
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
    if pool.resources.device is Device.CPU and engine.world_size > 1:
        args["worker_cls"] = RANKED_CPU_WORKER
    return AsyncEngineArgs(**args)


def sleeps(pool: PoolConfig) -> bool:
    """Whether a pool's engines give their GPUs' memory back while they are on standby.

    Args:
        pool: the pool's configuration, of the side that the engine is on.
    """
    standby = any(market.standby_replicas for market in pool.markets.values())
    return standby and pool.resources.device is not Device.CPU


def _kv_transfer(pool: PoolConfig, role: Role, host: str) -> KVTransferConfig:
    halves = pool.disaggregated
    assert halves is not None
    return KVTransferConfig(
        kv_connector=halves.connector,
        kv_connector_module_path=CONNECTOR_MODULE,
        engine_id=new_engine_id(pool.zone, pool.name),
        kv_role="kv_producer" if role is Role.PREFILL else "kv_consumer",
        kv_buffer_device="cpu" if pool.resources.device is Device.CPU else "cuda",
        kv_load_failure_policy="recompute",
        kv_connector_extra_config={
            "kv_lease_duration": halves.lease_s,
            # Engines that have been idle stay known: a handshake is nothing for a request to wait
            # for. Those that are gone are forgotten by their name.
            "engine_ttl": 0,
            HOST_KEY: host,
            GROUP_KEY: kv_group(pool.zone, pool.name),
            RECEIVE_KEY: halves.handoff_timeout_s + halves.lease_s + RECEIVE_MARGIN_S,
        },
    )


def check_sides(config: VllmConfig, pool: PoolConfig) -> None:
    """Looks at what only vLLM's view of the model tells of a disaggregated pool.

    Args:
        config: the configuration of an engine of the pool.
        pool: the pool's configuration.

    Raises:
        ConfigError: KV caches of this model cannot be moved between engines so divided.
    """
    halves = pool.disaggregated
    if halves is None:
        return
    prefill, decode = halves.prefill, halves.decode
    text = config.model_config.hf_text_config
    kinds = set(getattr(text, "layer_types", None) or ())
    hybrid = config.model_config.is_hybrid or len(kinds) > 1
    tensor, most = decode.tensor_parallel_size, prefill.tensor_parallel_size
    if hybrid and prefill.pipeline_parallel_size > 1 and tensor > most:
        path = f"pools[{pool.name}].disaggregated.decode.tensor_parallel_size"
        message = (
            f"{tensor} is above the {most} of `prefill`, which a pipeline cannot hand over for "
            f"{config.model_config.model!r}, whose layers are of several kinds: lower it to "
            f"{most}, or set `prefill.pipeline_parallel_size` to 1"
        )
        raise ConfigError([(path, message)])


def front_end_args(
    model: ModelConfig, longest: int, prepared: "Prepared | None" = None
) -> AsyncEngineArgs:
    """The arguments a gateway renders and detokenises with.

    Args:
        model: the model's configuration.
        longest: the longest sequence that any pool serves, in tokens.
        prepared: the model as it was verified; its weights are not needed.
    """
    args = _model_args(model, prepared) | {"max_model_len": longest, "disable_log_stats": True}
    if model.reasoning_parser is not None:
        args["reasoning_parser"] = model.reasoning_parser
    return AsyncEngineArgs(**args)


def _model_args(model: ModelConfig, prepared: "Prepared | None") -> dict[str, Any]:
    args: dict[str, Any] = {
        "model": model.source,
        "served_model_name": [model.name],
        "trust_remote_code": False,
    }
    if prepared is not None:
        # The tokenizer as well: `model.tokenizer` would name one that nobody has signed.
        return args | {"model": str(prepared.folder), "tokenizer": str(prepared.folder)}
    if model.revision is not None:
        args["revision"] = model.revision
    if model.tokenizer is not None:
        args["tokenizer"] = model.tokenizer
    return args
