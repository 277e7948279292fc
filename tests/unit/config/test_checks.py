"""Rules that span fields."""

from collections.abc import Callable
from typing import Any

import pytest

from app.config import parse_config

Args = dict[str, Any]
IssuesOf = Callable[[Args], dict[str, str]]


def test_all_mistakes_are_reported_in_the_order_of_the_file(
    args: Args, issues_of: IssuesOf
) -> None:
    args["pools"][0]["model"] = "demi"
    args["pools"][0]["zone"] = "publik"
    args["pools"][1]["engine"]["max_model_len"] = 8192
    args["pools"][1]["markets"] = {"on-demand": {"min_replicas": 3, "max_replicas": 2}}
    args["access"] = {"max_zone": "top"}
    assert list(issues_of(args)) == [
        "args.zones.public",
        "args.pools[0].model",
        "args.pools[0].zone",
        "args.pools[1].engine.max_model_len",
        "args.pools[1].markets.on-demand.min_replicas",
        "args.access.max_zone",
    ]


def test_names_are_unique(args: Args, issues_of: IssuesOf) -> None:
    args["models"].append(args["models"][0])
    args["pools"].append(args["pools"][0])
    assert issues_of(args) == {
        "args.models[1].name": ("'demo' is already the name of models[0]; give it another name"),
        "args.pools[2].name": "'short' is already the name of pools[0]; give it another name",
    }


def test_unknown_names_list_what_there_is(args: Args, issues_of: IssuesOf) -> None:
    args["default_zone"] = "xyz"
    args["pools"].append(args["pools"][0] | {"name": "third", "model": "demon", "zone": "q"})
    issues = issues_of(args)
    assert issues["args.default_zone"] == "there is no zone 'xyz'; the zones are public, private"
    assert issues["args.pools[2].model"] == "there is no model 'demon'; did you mean 'demo'?"
    assert issues["args.pools[2].zone"] == "there is no zone 'q'; the zones are public, private"


def test_every_zone_model_and_size_class_has_a_pool(args: Args, issues_of: IssuesOf) -> None:
    args["zones"]["confidential"] = {"isolation": "maximum"}
    args["models"].append(args["models"][0] | {"name": "other"})
    args["pools"][1]["size_classes"] = ["xl"]
    issues = issues_of(args)
    assert set(issues) == {
        "args.zones.confidential",
        "args.models[1]",
        "args.size_classes_required",
    }
    assert "add a pool with `zone: confidential`" in issues["args.zones.confidential"]
    assert "add a pool with `model: other`" in issues["args.models[1]"]
    assert "no pool serves 'large' (requests up to 8192" in issues["args.size_classes_required"]


def test_required_size_classes_can_be_fewer(args: Args) -> None:
    args["pools"][1] |= {"size_classes": ["small"]}
    args["size_classes_required"] = ["medium", "small", "small"]
    assert parse_config(args).size_classes_required == ("small", "medium")


def test_pools_may_overlap(args: Args) -> None:
    args["pools"].append(args["pools"][0] | {"name": "again"})
    assert len(parse_config(args).pools_of("demo", "public")) == 2


def test_isolation_does_not_weaken_upwards(args: Args, issues_of: IssuesOf) -> None:
    args["zones"]["public"]["isolation"] = "maximum"
    message = issues_of(args)["args.zones.private.isolation"]
    assert "'high' is weaker than that of the lower zone 'public' (maximum)" in message


def test_context_fits_classes_and_model(args: Args, issues_of: IssuesOf) -> None:
    args["models"][0]["max_model_len"] = 16384
    args["pools"][0]["engine"]["max_model_len"] = 2047
    issues = issues_of(args)
    assert issues == {
        "args.pools[0].engine.max_model_len": (
            "2047 is below the 2048 tokens of size class 'medium', which this pool serves: "
            "raise it to 2048 or take 'medium' out of `size_classes`"
        ),
        "args.pools[1].engine.max_model_len": (
            "32768 is above the context of model 'demo', 16384 tokens: lower it to 16384, "
            "or correct the model's `max_model_len`"
        ),
    }


def test_a_batch_has_room_for_its_requests(args: Args, issues_of: IssuesOf) -> None:
    args["pools"][0]["engine"]["max_num_batched_tokens"] = 7
    assert "at least 8" in issues_of(args)["args.pools[0].engine.max_num_batched_tokens"]


@pytest.mark.parametrize(
    ("engine", "key", "message"),
    [
        ({"tensor_parallel_size": 2, "executor": "uni"}, "executor", "TP 2 x PP 1 needs 2"),
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "executor": "mp"},
         "executor", "needs 16 GPUs and `resources.gpus_per_node` is 8"),
        ({"tensor_parallel_size": 3, "pipeline_parallel_size": 3},
         "tensor_parallel_size", "take 2 or 4"),
        ({"tensor_parallel_size": 12}, "tensor_parallel_size", "take 8 or 16"),
        ({"tensor_parallel_size": 7, "pipeline_parallel_size": 2},
         "tensor_parallel_size", "take 4 or 8"),
    ],
)  # fmt: skip
def test_impossible_on_gpus(
    args: Args, gpu: Args, issues_of: IssuesOf, engine: Args, key: str, message: str
) -> None:
    gpu |= engine
    issues = issues_of(args)
    assert set(issues) == {f"args.pools[0].engine.{key}"}
    assert message in issues[f"args.pools[0].engine.{key}"]


@pytest.mark.parametrize(
    ("tensor", "pipeline", "executor"),
    [(1, 1, "uni"), (1, 1, "mp"), (8, 1, "auto"), (3, 1, "auto"), (2, 4, "ray"), (4, 3, "auto"),
     (16, 1, "auto"), (8, 2, "ray"), (1, 9, "auto")],
)  # fmt: skip
def test_possible_on_gpus(args: Args, gpu: Args, tensor: int, pipeline: int, executor: str) -> None:
    gpu |= {
        "tensor_parallel_size": tensor,
        "pipeline_parallel_size": pipeline,
        "executor": executor,
    }
    assert parse_config(args).pools[0].engine.world_size == tensor * pipeline


def test_impossible_on_a_cpu(args: Args, issues_of: IssuesOf) -> None:
    short, long = args["pools"]
    short["engine"] |= {"tensor_parallel_size": 2, "kv_cache_memory": None}
    short["resources"] = {"accelerator_type": "H100"}
    long["engine"] |= {"executor": "ray"}
    issues = issues_of(args)
    assert set(issues) == {
        "args.pools[0].engine.tensor_parallel_size",
        "args.pools[0].resources.accelerator_type",
        "args.pools[0].engine.kv_cache_memory",
        "args.pools[1].engine.executor",
    }
    assert (
        "`resources.cpus` is 1: raise it to 2"
        in (issues["args.pools[0].engine.tensor_parallel_size"])
    )


def test_possible_on_a_cpu(args: Args) -> None:
    args["pools"][0]["engine"]["tensor_parallel_size"] = 2
    args["pools"][0]["resources"] = {"cpus": 2}
    args["pools"][1]["resources"] = {"cpus": 0.25}
    assert parse_config(args).pools[0].engine.world_size == 2


@pytest.mark.parametrize(
    ("selector", "where"),
    [
        ({"ray.io/market-type": "in(a,"}, ".ray.io/market-type"),
        ({"kind": "a b"}, ".kind"),
        ({"-kind": "a"}, ""),
        ({"a/b/c": "a"}, ""),
    ],
)
def test_selectors_that_ray_would_refuse(
    args: Args, issues_of: IssuesOf, selector: Args, where: str
) -> None:
    args["pools"][0]["markets"] = {"spot": {"label_selector": selector}}
    assert set(issues_of(args)) == {f"args.pools[0].markets.spot.label_selector{where}"}


@pytest.mark.parametrize("value", ["spot", "!spot", "in(a, b)", "in(a,b)", "!in(a)", "A100-80G"])
def test_selectors_that_ray_takes(args: Args, value: str) -> None:
    selector = {"ray.io/accelerator-type": value, "team_1": value}
    args["pools"][0]["markets"] = {"spot": {"label_selector": selector}}
    parse_config(args)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("max_num_seqs", "set `engine.max_num_seqs` instead"),
        ("kv_cache_memory_bytes", "set `engine.kv_cache_memory` instead"),
        ("--tensor-parallel-size", "set `engine.tensor_parallel_size` instead"),
        ("served_model_name", "set `models[].name` instead"),
        ("kv_events_config", "cannot be set: KV events publish prompts in clear"),
        ("data_parallel_size", "cannot be set: raise the pool's replicas instead"),
        ("max-logprobs", "write it like `max_logprobs`"),
    ],
)
def test_engine_arguments_that_are_ours(
    args: Args, issues_of: IssuesOf, key: str, message: str
) -> None:
    args["pools"][0]["engine"]["extra"] = {key: 1}
    assert message in issues_of(args)[f"args.pools[0].engine.extra.{key}"]


def test_engine_arguments_that_are_not_ours(args: Args) -> None:
    extra = {"max_logprobs": 5, "hf_overrides": {"rope": {"factor": 2}}, "seed": None}
    args["pools"][0]["engine"] |= {"extra": extra, "env": {"VLLM_LOGGING_LEVEL": "INFO"}}
    assert parse_config(args).pools[0].engine.extra == extra


def test_environment_that_is_ours(args: Args, issues_of: IssuesOf) -> None:
    args["pools"][0]["engine"]["env"] = {"OMP_NUM_THREADS": "2"}
    assert "set `engine.omp_threads`" in issues_of(args)["args.pools[0].engine.env.OMP_NUM_THREADS"]


def test_zone_markers(args: Args, issues_of: IssuesOf) -> None:
    args["classifier"] = {"zone_markers": {"privat": ["a"], "private": ["ok", "(?=no)", "x*"]}}
    issues = issues_of(args)
    assert set(issues) == {
        "args.classifier.zone_markers.privat",
        "args.classifier.zone_markers.private[1]",
        "args.classifier.zone_markers.private[2]",
    }
    assert "did you mean 'private'?" in issues["args.classifier.zone_markers.privat"]
    assert "is not an RE2 pattern" in issues["args.classifier.zone_markers.private[1]"]
    assert "matches every text" in issues["args.classifier.zone_markers.private[2]"]


def test_those_without_a_key_reach_the_default_zone(args: Args, issues_of: IssuesOf) -> None:
    args["access"] = {"max_zone": "public"}
    parse_config(args)
    args["default_zone"] = "private"
    assert "'public' is below `default_zone` (private)" in issues_of(args)["args.access.max_zone"]


def test_a_breaker_opens_longer_not_shorter(args: Args, issues_of: IssuesOf) -> None:
    args["routing"] = {"breaker": {"open_s": 10, "most_open_s": 5}}
    assert "5 is below `open_s` (10)" in issues_of(args)["args.routing.breaker.most_open_s"]
