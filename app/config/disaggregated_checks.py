"""Rules for the two sides of a disaggregated pool: what vLLM can hand over, and what it cannot."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config.attention import Layers, kv_heads, layers_of
from app.config.disaggregated import CONNECTOR, DisaggregatedConfig
from app.config.explain import did_you_mean
from app.config.pools import PoolConfig
from app.config.types import Device, Role
from app.errors import ConfigIssue

if TYPE_CHECKING:
    from app.config.fleet import ModelConfig

_PULLS = "has decode fetch KV caches, which fails where prefill is a pipeline"
_OFFLOADS = "moves KV caches out of a GPU and back, not to another engine"
_UNTRIED = "was never tried between a pipeline and tensor parallel ranks"
# All that vLLM has, so that a slip of the pen can be told from a choice.
_CONNECTORS = {
    "NixlConnector": _PULLS,
    "NixlPullConnector": _PULLS,
    "ExampleConnector": "crashes on long prompts",
    "ExampleHiddenStatesConnector": "is an example that moves no KV caches",
    "DecodeBenchConnector": "makes KV caches up, for benchmarks",
    "OffloadingConnector": _OFFLOADS,
    "SimpleCPUOffloadConnector": _OFFLOADS,
    "MooncakeConnector": "needs packages that are not installed with Tidegate, and " + _UNTRIED,
    "FlexKVConnectorV1": _UNTRIED,
    "HF3FSKVConnector": _UNTRIED,
    "HiSparseConnector": _UNTRIED,
    "LMCacheConnectorV1": _UNTRIED,
    "LMCacheMPConnector": _UNTRIED,
    "MoRIIOConnector": _UNTRIED,
    "MooncakeStoreConnector": _UNTRIED,
    "MultiConnector": _UNTRIED,
}
# Engine arguments that decide on what a KV cache looks like.
_SAME_ON_BOTH = ("hf_overrides", "kv_cache_dtype")
_RANKS = ("tensor_parallel_size", "pipeline_parallel_size")


def side_path(path: str, config: DisaggregatedConfig, role: Role) -> Callable[[str], str]:
    """Where in the file a setting of one side stands: with the side, or with the pool.

    Args:
        path: Where the pool stands, such as ``pools[2]``.
        config: The pool's two sides.
        role: Which of them.

    Returns:
        Gives the path of a setting such as ``engine.max_num_seqs``.
    """
    side, here = config.side(role), f"{path}.disaggregated.{role}"

    def at(setting: str) -> str:
        section, _, rest = setting.partition(".")
        field, _, entry = rest.partition(".")
        if section == "engine":
            return f"{here}.{rest}" if side.overrides(field, entry) else f"{path}.{setting}"
        own = section == "markets" or side.resources is not None
        return f"{here if own else path}.{setting}"

    return at


def check_disaggregated(
    path: str, pool: PoolConfig, model: "ModelConfig | None"
) -> Iterator[ConfigIssue]:
    """What is wrong between the sides of one pool.

    Args:
        path: Where the pool stands, such as ``pools[2]``.
        pool: The pool.
        model: The model that it names; None if there is no such model.
    """
    config = pool.disaggregated
    if config is None:
        return
    at = f"{path}.disaggregated"
    for field in _RANKS:
        if getattr(pool.engine, field) > 1:
            yield ConfigIssue(
                f"{path}.engine.{field}",
                f"{getattr(pool.engine, field)} cannot stand beside `disaggregated`, where either "
                f"side has its own: put it into `disaggregated.prefill.{field}` or "
                f"`disaggregated.decode.{field}`",
            )
    yield from _connector(at, config)
    yield from _times(at, config)
    yield from _ranks(at, pool, config)
    yield from _layouts(at, config)
    if model is not None:
        source = _model_file(model.source)
        yield from _heads(at, config, model.name, kv_heads(source))
        yield from _hybrids(at, config, model.name, layers_of(source))


def _connector(at: str, config: DisaggregatedConfig) -> Iterator[ConfigIssue]:
    name = config.connector
    if name == CONNECTOR:
        return
    if name in _CONNECTORS:
        yield ConfigIssue(
            f"{at}.connector", f"{name!r} {_CONNECTORS[name]}: write {CONNECTOR}, or leave it out"
        )
        return
    hint = did_you_mean(name, [CONNECTOR]) or f"write {CONNECTOR}, or leave it out"
    yield ConfigIssue(f"{at}.connector", f"vLLM has no connector {name!r}; {hint}")


def _times(at: str, config: DisaggregatedConfig) -> Iterator[ConfigIssue]:
    if config.handoff_timeout_s >= config.lease_s:
        yield ConfigIssue(
            f"{at}.handoff_timeout_s",
            f"{config.handoff_timeout_s:g} is not below `lease_s` ({config.lease_s}): a lease that "
            "lapses first would free a KV cache that decode still waits for. Lower it, or raise "
            "`lease_s`",
        )


def _ranks(at: str, pool: PoolConfig, config: DisaggregatedConfig) -> Iterator[ConfigIssue]:
    stages = config.decode.pipeline_parallel_size
    if stages > 1:
        yield ConfigIssue(
            f"{at}.decode.pipeline_parallel_size",
            f"{stages} is above 1, but vLLM cannot hand KV caches over to a pipeline: leave it "
            "out, and raise `tensor_parallel_size` if decode needs more ranks",
        )
    prefill, decode = config.prefill.tensor_parallel_size, config.decode.tensor_parallel_size
    resources = pool.side(Role.DECODE).resources
    if resources.device is Device.GPU and decode > resources.gpus_per_node:
        yield ConfigIssue(
            f"{at}.decode.tensor_parallel_size",
            f"{decode} is above `resources.gpus_per_node` ({resources.gpus_per_node}), but all "
            f"ranks of decode are on one node, since each token waits for all of them: lower it "
            f"to {resources.gpus_per_node}, or take nodes with more GPUs",
        )
    elif decode % prefill and prefill % decode:
        yield ConfigIssue(
            f"{at}.decode.tensor_parallel_size",
            f"{decode} is neither a divisor nor a multiple of prefill's TP ({prefill}), so vLLM "
            f"cannot tell which ranks belong together: take {prefill} or a multiple of it",
        )


def _layouts(at: str, config: DisaggregatedConfig) -> Iterator[ConfigIssue]:
    for role in (Role.PREFILL, Role.DECODE):
        for key in _SAME_ON_BOTH:
            if key in config.side(role).extra:
                yield ConfigIssue(
                    f"{at}.{role}.extra.{key}",
                    "decides on the layout of the KV cache, which must be the same on both sides: "
                    "move it to `engine.extra`",
                )


def _heads(
    at: str, config: DisaggregatedConfig, model: str, heads: int | None
) -> Iterator[ConfigIssue]:
    if heads is None:
        return
    for role in (Role.PREFILL, Role.DECODE):
        ranks = config.side(role).tensor_parallel_size
        if ranks % heads and heads % ranks:
            yield ConfigIssue(
                f"{at}.{role}.tensor_parallel_size",
                f"{ranks} is neither a divisor nor a multiple of the {heads} KV heads of "
                f"{model!r}, so they cannot be shared out: take {math.gcd(ranks, heads)} or "
                f"{heads}",
            )
    prefill, decode = config.prefill.tensor_parallel_size, config.decode.tensor_parallel_size
    if decode > max(prefill, heads):
        yield ConfigIssue(
            f"{at}.decode.tensor_parallel_size",
            f"{decode} is above the {heads} KV heads of {model!r}, so decode's ranks would have "
            f"copies, which vLLM cannot fill from fewer ranks: lower it to {heads}, or raise "
            f"prefill's TP ({prefill}) to it",
        )


def _hybrids(
    at: str, config: DisaggregatedConfig, model: str, layers: frozenset[Layers]
) -> Iterator[ConfigIssue]:
    stages = config.prefill.pipeline_parallel_size
    prefill, decode = config.prefill.tensor_parallel_size, config.decode.tensor_parallel_size
    if Layers.STATE in layers and stages > 1:
        yield ConfigIssue(
            f"{at}.prefill.pipeline_parallel_size",
            f"{stages} is above 1, but layers of {model!r} keep {Layers.STATE}, which vLLM "
            "cannot hand over from a pipeline: leave it out, and raise `tensor_parallel_size` if "
            "prefill needs more ranks",
        )
    if len(layers) > 1 and decode > prefill:
        kinds = " and ".join(sorted(layers))
        yield ConfigIssue(
            f"{at}.decode.tensor_parallel_size",
            f"{decode} is above prefill's TP ({prefill}), but {model!r} is a hybrid of "
            f"{kinds}, whose KV caches vLLM can only hand over to as many ranks or fewer: lower "
            f"it to {prefill}, or raise prefill's TP",
        )


def _model_file(source: str) -> dict[str, Any]:
    # The one file besides the configuration that a check looks into: no setting tells a hybrid
    # model. One that lies on the hub is not known before its engines start, and then vLLM refuses.
    try:
        config = json.loads(Path(source, "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
