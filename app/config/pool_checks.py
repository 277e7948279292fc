"""Rules that span fields of one pool, and the model that it serves."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from app.config.disaggregated_checks import check_disaggregated, side_path
from app.config.pools import PoolConfig
from app.config.types import Device, Executor
from app.errors import ConfigIssue

if TYPE_CHECKING:
    from app.config.fleet import ModelConfig

# Engine arguments that follow from other settings; elsewhere they would contradict them.
_SET_ELSEWHERE = {
    "model": "models[].source",
    "model_weights": "models[].source",
    "served_model_name": "models[].name",
    "revision": "models[].revision",
    "tokenizer": "models[].tokenizer",
    "tokenizer_revision": "models[].revision",
    "reasoning_parser": "models[].reasoning_parser",
    "kv_cache_memory_bytes": "engine.kv_cache_memory",
    "distributed_executor_backend": "engine.executor",
    "max_model_len": "engine.max_model_len",
    "dtype": "engine.dtype",
    "max_num_seqs": "engine.max_num_seqs",
    "max_num_batched_tokens": "engine.max_num_batched_tokens",
    "block_size": "engine.block_size",
    "enforce_eager": "engine.enforce_eager",
    "gpu_memory_utilization": "engine.gpu_memory_utilization",
    "tensor_parallel_size": "engine.tensor_parallel_size",
    "pipeline_parallel_size": "engine.pipeline_parallel_size",
    "quantization": "engine.quantization",
    "enable_prefix_caching": "engine.enable_prefix_caching",
    "stream_interval": "engine.stream_interval",
}
# Engine arguments that Tidegate sets itself, or that would open what a zone closes.
_OURS = {
    "scheduling_policy": "requests are ordered by Tidegate",
    "scheduler_cls": "requests are scheduled by Tidegate",
    "worker_cls": "the worker follows from the device",
    "worker_extension_cls": "the worker erases KV caches for Tidegate",
    "additional_config": "the zone's isolation travels in it",
    "stat_loggers": "Tidegate reads the engine's statistics",
    "disable_log_stats": "routing needs the engine's statistics",
    "enable_log_requests": "prompts must not reach the log",
    "kv_transfer_config": "the transfer of KV caches is set up by Tidegate",
    "kv_events_config": "KV events publish prompts in clear",
    "nnodes": "placement follows from TP, PP and `resources`",
    "node_rank": "placement follows from TP, PP and `resources`",
    "master_addr": "placement follows from TP, PP and `resources`",
    "master_port": "placement follows from TP, PP and `resources`",
    "device_ids": "placement follows from TP, PP and `resources`",
    "skip_tokenizer_init": "the gateway needs the tokenizer",
    "trust_remote_code": "code that comes with a model is never run",
    "code_revision": "code that comes with a model is never run",
    "enable_sleep_mode": "standby replicas sleep where the device can",
    "runner": "pools generate text",
    "convert": "pools generate text",
}
_ENV_OURS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "the engine core runs in the replica's own process",
    "OMP_NUM_THREADS": "set `engine.omp_threads` instead",
    "CUDA_VISIBLE_DEVICES": "Ray assigns the devices",
    "VLLM_NIXL_SIDE_CHANNEL_PORT": "replicas of one node need a port each",
}

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?/)?{_LABEL}")
_LABEL_VALUE = re.compile(rf"!?(?:{_LABEL}|in\({_LABEL}(?:, ?{_LABEL})*\))")


At = Callable[[str], str]
"""Gives the path of a pool's setting, such as `engine.max_num_seqs`, as it stands in the file."""


def check_pool(path: str, pool: PoolConfig, model: "ModelConfig | None") -> Iterator[ConfigIssue]:
    """Everything that is wrong with one pool.

    Args:
        path: Where the pool stands, such as ``pools[2]``.
        pool: The pool.
        model: The model that it names; None if there is no such model.
    """
    if pool.disaggregated is None:
        yield from _engines(lambda setting: f"{path}.{setting}", pool, model)
        return
    issues = list(check_disaggregated(path, pool, model))
    for role in pool.roles:
        at = side_path(path, pool.disaggregated, role)
        issues += _engines(at, pool.side(role), model)
    found: dict[str, ConfigIssue] = {}
    for issue in issues:
        # What both sides take from `engine` or `resources` is wrong in one place only.
        found.setdefault(issue.path, issue)
    yield from found.values()


def _engines(at: At, pool: PoolConfig, model: "ModelConfig | None") -> Iterator[ConfigIssue]:
    yield from _lengths(at, pool, model)
    yield from _parallelism(at, pool)
    yield from _device(at, pool)
    yield from _markets(at, pool)
    yield from _passed_on(at, pool)


def _lengths(at: At, pool: PoolConfig, model: "ModelConfig | None") -> Iterator[ConfigIssue]:
    engine, largest = pool.engine, pool.size_classes[-1]
    if engine.max_model_len < largest.limit:
        yield ConfigIssue(
            at("engine.max_model_len"),
            f"{engine.max_model_len} is below the {largest.limit} tokens of size class "
            f"{largest.value!r}, which this pool serves: raise it to {largest.limit} or take "
            f"{largest.value!r} out of `size_classes`",
        )
    if model is not None and engine.max_model_len > model.max_model_len:
        yield ConfigIssue(
            at("engine.max_model_len"),
            f"{engine.max_model_len} is above the context of model {model.name!r}, "
            f"{model.max_model_len} tokens: lower it to {model.max_model_len}, or correct the "
            "model's `max_model_len`",
        )
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        yield ConfigIssue(
            at("engine.max_num_batched_tokens"),
            f"{engine.max_num_batched_tokens} is below `max_num_seqs` ({engine.max_num_seqs}), but "
            f"each request of a batch needs a token in every step: raise it to at least "
            f"{engine.max_num_seqs}",
        )


def _parallelism(at: At, pool: PoolConfig) -> Iterator[ConfigIssue]:
    engine, world = pool.engine, pool.engine.world_size
    size = f"TP {engine.tensor_parallel_size} x PP {engine.pipeline_parallel_size}"
    if engine.executor is Executor.UNI and world > 1:
        yield ConfigIssue(
            at("engine.executor"),
            f"'uni' runs one rank, but {size} needs {world}: write auto, or lower TP and PP to 1",
        )
    if pool.resources.device is Device.CPU:
        yield from _cpu_parallelism(at, pool, size)
    else:
        yield from _gpu_parallelism(at, pool, size)


def _cpu_parallelism(at: At, pool: PoolConfig, size: str) -> Iterator[ConfigIssue]:
    world, cpus = pool.engine.world_size, pool.resources.cpus
    if pool.engine.executor is Executor.RAY:
        yield ConfigIssue(
            at("engine.executor"),
            "'ray' spreads ranks over GPU nodes and does not work on a CPU: write auto, or set "
            "`resources.device` to gpu",
        )
    # A fraction says that the cores are shared, with whatever else they are claimed by.
    if 1 <= cpus < world:
        tensor = pool.engine.tensor_parallel_size > 1
        yield ConfigIssue(
            at("engine.tensor_parallel_size" if tensor else "engine.pipeline_parallel_size"),
            f"{size} needs {world} processes that compute at the same time, but `resources.cpus` "
            f"is {cpus:g}: raise it to {world}, lower TP or PP, or write a fraction below 1 for an "
            "engine that shares its cores",
        )


def _gpu_parallelism(at: At, pool: PoolConfig, size: str) -> Iterator[ConfigIssue]:
    engine, world, node = pool.engine, pool.engine.world_size, pool.resources.gpus_per_node
    if world <= node:
        return
    if engine.executor is Executor.MP:
        yield ConfigIssue(
            at("engine.executor"),
            f"'mp' keeps all ranks on one node, but {size} needs {world} GPUs and "
            f"`resources.gpus_per_node` is {node}: write auto, or lower TP or PP",
        )
    tensor = engine.tensor_parallel_size
    if node % tensor and tensor % node:
        fitting = [n for n in range(1, node + 1) if node % n == 0]
        fitting.append((tensor // node + 1) * node)
        below = max((n for n in fitting if n < tensor), default=1)
        above = min(n for n in fitting if n > tensor)
        yield ConfigIssue(
            at("engine.tensor_parallel_size"),
            f"{tensor} neither divides `resources.gpus_per_node` ({node}) nor is a multiple of "
            f"it, so the {world} ranks of {size} would be spread unevenly over nodes: take "
            f"{below} or {above}",
        )


def _device(at: At, pool: PoolConfig) -> Iterator[ConfigIssue]:
    if pool.resources.device is not Device.CPU:
        return
    if pool.resources.accelerator_type is not None:
        yield ConfigIssue(
            at("resources.accelerator_type"),
            f"{pool.resources.accelerator_type!r} has no meaning on a CPU: remove it, or set "
            "`resources.device` to gpu",
        )
    if pool.engine.kv_cache_memory is None:
        yield ConfigIssue(
            at("engine.kv_cache_memory"),
            "is missing: on a CPU vLLM would claim most of the node's memory. Set it, to 64MiB "
            "for example, or set `resources.device` to gpu",
        )


def _markets(at: At, pool: PoolConfig) -> Iterator[ConfigIssue]:
    for market, config in pool.markets.items():
        here = at(f"markets.{market}")
        if config.min_replicas > config.max_replicas:
            yield ConfigIssue(
                f"{here}.min_replicas",
                f"{config.min_replicas} is above `max_replicas` ({config.max_replicas}): lower it "
                f"to {config.max_replicas}, or raise `max_replicas`",
            )
        elif config.min_replicas + config.standby_replicas > config.max_replicas:
            room = config.max_replicas - config.min_replicas
            yield ConfigIssue(
                f"{here}.standby_replicas",
                f"{config.standby_replicas} leave no room beside {config.min_replicas} that take "
                f"traffic (`max_replicas` is {config.max_replicas}): lower it to {room}, or raise "
                "`max_replicas`",
            )
        for key, value in (config.label_selector or {}).items():
            if not _LABEL_KEY.fullmatch(key):
                yield ConfigIssue(
                    f"{here}.label_selector",
                    f"{key!r} is not the name of a label: write letters, digits, `-`, `_` and "
                    "`.`, after a prefix and `/` if there is one",
                )
            if not _LABEL_VALUE.fullmatch(value):
                yield ConfigIssue(
                    f"{here}.label_selector.{key}",
                    f"{value!r} is not a selector: write spot, !spot, in(a, b) or !in(a, b)",
                )


def _passed_on(at: At, pool: PoolConfig) -> Iterator[ConfigIssue]:
    for key in pool.engine.extra:
        name = key.lstrip("-").replace("-", "_")
        here = at(f"engine.extra.{key}")
        if name in _SET_ELSEWHERE:
            yield ConfigIssue(here, f"has a place of its own: set `{_SET_ELSEWHERE[name]}` instead")
        elif name in _OURS or name.startswith("data_parallel"):
            reason = _OURS.get(name, "raise the pool's replicas instead")
            yield ConfigIssue(here, f"cannot be set: {reason}")
        elif name != key or not name.isidentifier():
            yield ConfigIssue(
                here, "is not the Python name of an engine argument: write it like `max_logprobs`"
            )
    for key in pool.engine.env:
        if key in _ENV_OURS:
            yield ConfigIssue(at(f"engine.env.{key}"), f"cannot be set: {_ENV_OURS[key]}")
