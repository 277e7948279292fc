"""Pools with a prefill and a decode side: what is derived from them, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.config import Device, FleetConfig, Market, Role, parse_config

Args = dict[str, Any]
IssuesOf = Callable[[Args], dict[str, str]]

HERE = "args.pools[1]"
SIDES = f"{HERE}.disaggregated"
MODELS: dict[str, Args] = {
    "windows": {"model_type": "gemma3_text"},
    "state": {"model_type": "jamba"},
    "uniform": {"model_type": "llama"},
    "two heads": {"model_type": "llama", "num_key_value_heads": 2},
}


@pytest.fixture
def pool(args: Args) -> Args:
    """A disaggregated pool within `args`, on GPU nodes of eight."""
    pool: Args = args["pools"][1]
    pool["resources"] = {"device": "gpu"}
    pool["disaggregated"] = {
        "prefill": {"pipeline_parallel_size": 2},
        "decode": {"tensor_parallel_size": 2},
    }
    return pool


@pytest.fixture
def sides(pool: Args) -> Args:
    """The pool's section on its sides."""
    sides: Args = pool["disaggregated"]
    return sides


def test_a_side_is_the_pool_with_its_own_engines(args: Args, pool: Args, sides: Args) -> None:
    pool["engine"] |= {"dtype": "float32", "env": {"A": "1", "B": "1"}, "extra": {"seed": 1}}
    sides["prefill"] |= {
        "max_num_seqs": 4,
        "enforce_eager": True,
        "kv_cache_memory": "1GiB",
        "env": {"B": "2", "UCX_TLS": "tcp"},
        "extra": {"max_logprobs": 5},
        "markets": {"spot": {"max_replicas": 4}},
        "resources": {"device": "gpu", "gpus_per_node": 1},
    }
    config = parse_config(args).pools[1]
    prefill, decode = config.side(Role.PREFILL), config.side(Role.DECODE)

    assert (prefill.name, prefill.zone, prefill.model) == ("long", "private", "demo")
    engine = prefill.engine
    assert (engine.pipeline_parallel_size, engine.tensor_parallel_size) == (2, 1)
    assert (engine.max_num_seqs, engine.enforce_eager, engine.kv_cache_memory) == (4, True, 2**30)
    assert engine.env == {"A": "1", "B": "2", "UCX_TLS": "tcp"}
    assert engine.extra == {"seed": 1, "max_logprobs": 5}
    assert (engine.dtype, engine.max_model_len) == ("float32", 32768)
    assert prefill.resources.gpus_per_node == 1
    assert list(prefill.markets) == [Market.SPOT]

    assert decode.engine == config.engine.model_copy(update={"tensor_parallel_size": 2})
    assert decode.resources == config.resources
    assert decode.resources.device is Device.GPU
    assert list(decode.markets) == [Market.ON_DEMAND]

    assert config.side(Role.WHOLE) is config
    assert config.markets == {}
    with pytest.raises(KeyError):
        prefill.side(Role.DECODE)


def test_other_pools_have_no_sides(args: Args) -> None:
    whole = parse_config(args).pools[0]
    assert whole.roles == (Role.WHOLE,)
    with pytest.raises(KeyError):
        whole.side(Role.DECODE)


def test_each_side_has_a_deployment_for_each_market(args: Args, sides: Args) -> None:
    sides["prefill"]["markets"] = {"spot": {}, "on-demand": {}}
    deployed = parse_config(args).deployments()
    assert [(each.name, each.group, each.role) for each in deployed] == [
        ("short--on-demand", "short", Role.WHOLE),
        ("long--prefill--spot", "long--prefill", Role.PREFILL),
        ("long--prefill--on-demand", "long--prefill", Role.PREFILL),
        ("long--decode--on-demand", "long", Role.DECODE),
    ]
    assert [each.pool.engine.world_size for each in deployed] == [1, 2, 2, 2]
    assert all(each.market in each.pool.markets for each in deployed)


def test_what_one_side_has_on_spot_nodes_keeps_the_other_off_them(args: Args, sides: Args) -> None:
    decode = parse_config(args).pools[1].side(Role.DECODE)
    assert decode.label_selector(Market.ON_DEMAND) == {}
    sides["prefill"]["markets"] = {"spot": {}}
    decode = parse_config(args).pools[1].side(Role.DECODE)
    assert decode.label_selector(Market.ON_DEMAND) == {"ray.io/market-type": "on-demand"}


def test_saturation_is_that_of_decode(args: Args, sides: Args) -> None:
    sides["decode"]["max_num_seqs"] = 4
    pool = parse_config(args).pools[1]
    assert pool.max_outstanding_tokens == 2 * 4 * 8192
    assert pool.side(Role.DECODE).max_outstanding_tokens == 2 * 4 * 8192


def test_survives_pickle_and_json(args: Args, sides: Args) -> None:
    fleet = parse_config(args)
    assert parse_config(fleet.model_dump(mode="json")) == fleet
    assert FleetConfig.model_validate_json(fleet.model_dump_json()) == fleet
    assert pickle.loads(pickle.dumps(fleet)) == fleet
    prefill = fleet.deployments()[1].pool
    assert pickle.loads(pickle.dumps(prefill)) == prefill


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        ({"decode": {"pipeline_parallel_size": 2}}, "decode.pipeline_parallel_size",
         "2 is above 1, but vLLM cannot hand KV caches over to a pipeline"),
        ({"decode": {"tensor_parallel_size": 16}}, "decode.tensor_parallel_size",
         "16 is above `resources.gpus_per_node` (8), but all ranks of decode are on one node"),
        ({"decode": {"tensor_parallel_size": 3}, "prefill": {"tensor_parallel_size": 2}},
         "decode.tensor_parallel_size", "take 2 or a multiple of it"),
        ({"connector": "NixlConnector"}, "connector", "fails where prefill is a pipeline"),
        ({"connector": "NixlPullConnector"}, "connector", "write NixlPushConnector"),
        ({"connector": "ExampleConnector"}, "connector", "crashes on long prompts"),
        ({"connector": "OffloadingConnector"}, "connector", "not to another engine"),
        ({"connector": "MooncakeConnector"}, "connector", "needs packages that are not installed"),
        ({"connector": "NixlPushConector"}, "connector", "did you mean 'NixlPushConnector'?"),
        ({"connector": "carrier pigeon"}, "connector", "vLLM has no connector 'carrier pigeon'"),
        ({"handoff_timeout_s": 10.0}, "handoff_timeout_s", "10 is not below `lease_s` (10)"),
        ({"lease_s": 5}, "lease_s", "5 must be at least 6"),
        ({"handoff_from": -1}, "handoff_from", "-1 must be at least 0"),
        ({"decode": {"extra": {"kv_cache_dtype": "fp8"}}}, "decode.extra.kv_cache_dtype",
         "move it to `engine.extra`"),
        ({"decode": {"markets": {}}}, "decode.markets", "name at least one of on-demand, spot"),
        ({"decode": {"dtype": "float32"}}, "decode.dtype",
         "is not a known key here: set it in `pools[1].engine`"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size", "move it under `prefill`"),
    ],
)  # fmt: skip
def test_refused(
    args: Args, sides: Args, issues_of: IssuesOf, change: Args, where: str, message: str
) -> None:
    sides |= change
    issues = issues_of(args)
    assert set(issues) == {f"{SIDES}.{where}"}
    assert message in issues[f"{SIDES}.{where}"]


def test_both_sides_are_needed(args: Args, sides: Args, issues_of: IssuesOf) -> None:
    del sides["decode"]
    assert "is missing: The engines that generate" in issues_of(args)[f"{SIDES}.decode"]


def test_markets_and_ranks_belong_to_the_sides(args: Args, pool: Args, issues_of: IssuesOf) -> None:
    pool["engine"] |= {"tensor_parallel_size": 2, "pipeline_parallel_size": 4}
    issues = issues_of(args)
    assert set(issues) == {
        f"{HERE}.engine.tensor_parallel_size",
        f"{HERE}.engine.pipeline_parallel_size",
    }
    message = issues[f"{HERE}.engine.pipeline_parallel_size"]
    assert "put it into `disaggregated.prefill.pipeline_parallel_size`" in message

    pool["markets"] = {"spot": {}}
    message = issues_of(args)[f"{HERE}.markets"]
    assert "`disaggregated.prefill.markets` and `disaggregated.decode.markets`" in message


def test_rules_of_a_pool_hold_for_each_side_where_it_says_so(
    args: Args, pool: Args, sides: Args, issues_of: IssuesOf
) -> None:
    pool["engine"] |= {"max_model_len": 16384, "max_num_batched_tokens": 4, "extra": {"seeds-": 1}}
    sides["prefill"] |= {
        "executor": "uni",
        "max_num_batched_tokens": 8,
        "env": {"OMP_NUM_THREADS": "1"},
        "extra": {"dtype": "half"},
        "markets": {"spot": {"min_replicas": 2}},
        "resources": {"accelerator_type": "H100"},
    }
    assert set(issues_of(args)) == {
        # Both have these from the pool.
        f"{HERE}.engine.max_model_len",
        f"{HERE}.engine.max_num_batched_tokens",
        f"{HERE}.engine.extra.seeds-",
        f"{SIDES}.prefill.executor",
        f"{SIDES}.prefill.max_num_batched_tokens",
        f"{SIDES}.prefill.env.OMP_NUM_THREADS",
        f"{SIDES}.prefill.extra.dtype",
        f"{SIDES}.prefill.markets.spot.min_replicas",
        f"{SIDES}.prefill.resources.accelerator_type",
        f"{SIDES}.prefill.pipeline_parallel_size",
    }


def test_on_a_cpu_a_fraction_is_shared(args: Args, pool: Args, issues_of: IssuesOf) -> None:
    pool["resources"] = {"cpus": 1.0}
    issues = issues_of(args)
    assert set(issues) == {
        f"{SIDES}.prefill.pipeline_parallel_size",
        f"{SIDES}.decode.tensor_parallel_size",
    }
    assert "or write a fraction below 1" in issues[f"{SIDES}.decode.tensor_parallel_size"]
    pool["resources"] = {"cpus": 0.5}
    parse_config(args)


def test_ports_are_given_out_not_configured(args: Args, sides: Args, issues_of: IssuesOf) -> None:
    sides["decode"]["env"] = {"VLLM_NIXL_SIDE_CHANNEL_PORT": "5600", "UCX_TLS": "tcp"}
    assert list(issues_of(args)) == [f"{SIDES}.decode.env.VLLM_NIXL_SIDE_CHANNEL_PORT"]


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_no_pool_is_called_like_a_side(
    args: Args, sides: Args, issues_of: IssuesOf, role: str
) -> None:
    args["pools"][0]["name"] = f"long--{role}"
    assert "one side of the disaggregated pool 'long'" in issues_of(args)["args.pools[0].name"]


@pytest.mark.parametrize(
    ("model", "prefill", "decode", "where"),
    [
        ("windows", (1, 2), (2, 1), "decode.tensor_parallel_size"),
        ("windows", (2, 2), (2, 1), None),
        ("windows", (2, 2), (1, 1), None),
        ("state", (1, 1), (2, 1), "decode.tensor_parallel_size"),
        ("state", (2, 2), (2, 1), "prefill.pipeline_parallel_size"),
        ("state", (2, 1), (2, 1), None),
        ("uniform", (1, 2), (4, 1), None),
        ("two heads", (1, 2), (2, 1), None),
        ("two heads", (4, 2), (4, 1), None),
        ("two heads", (1, 2), (4, 1), "decode.tensor_parallel_size"),
        ("two heads", (1, 2), (3, 1), "decode.tensor_parallel_size"),
    ],
)
def test_what_a_model_allows(
    args: Args,
    sides: Args,
    issues_of: IssuesOf,
    tmp_path: Path,
    model: str,
    prefill: tuple[int, int],
    decode: tuple[int, int],
    where: str | None,
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(MODELS[model]))
    args["models"][0]["source"] = str(tmp_path)
    keys = ("tensor_parallel_size", "pipeline_parallel_size")
    sides |= {
        "prefill": dict(zip(keys, prefill, strict=True)),
        "decode": dict(zip(keys, decode, strict=True)),
    }
    if where is None:
        parse_config(args)
        return
    issues = issues_of(args)
    assert list(issues) == [f"{SIDES}.{where}"]
    assert "'demo'" in issues[f"{SIDES}.{where}"]


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{" * 100_000])
def test_a_model_that_cannot_be_read_is_left_to_its_engines(
    args: Args, sides: Args, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "config.json").write_bytes(content)
    args["models"][0]["source"] = str(tmp_path)
    parse_config(args)
