"""How a mistake is reported: path, value, limit, way out."""

from collections.abc import Callable
from typing import Any

import pytest

from app.config import parse_config
from app.errors import ConfigError

Args = dict[str, Any]
IssuesOf = Callable[[Args], dict[str, str]]


def put(args: Args, path: str, value: object) -> None:
    """Set what stands at a path such as `pools.0.engine.max_model_len`."""
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    here: Any = args
    for part in parents:
        here = here.setdefault(part, {}) if isinstance(here, dict) else here[part]
    here[last] = value


@pytest.mark.parametrize(
    ("path", "value", "where", "message"),
    [
        (
            "pools.0.engine.max_modellen",
            1,
            "args.pools[0].engine.max_modellen",
            "did you mean 'max_model_len'? (further vLLM engine arguments stand under `extra`)",
        ),
        (
            "pools.0.tensor_parallel_size",
            2,
            "args.pools[0].tensor_parallel_size",
            "is not a known key here: move it under `engine`",
        ),
        (
            "zones.public.color",
            "red",
            "args.zones.public.color",
            "is not a known key; the keys are isolation, description",
        ),
        (
            "pools.0.markets",
            {"on-demand": {"min_replica": 1}},
            "args.pools[0].markets.on-demand.min_replica",
            "is not a known key; did you mean 'min_replicas'?",
        ),
        (
            "pools.1.size_classes",
            ["large", "exel"],
            "args.pools[1].size_classes[1]",
            "'exel' must be one of small, medium, large, xl",
        ),
        (
            "pools.1.size_classes",
            ["lage"],
            "args.pools[1].size_classes[0]",
            "'lage' must be one of small, medium, large, xl; did you mean 'large'?",
        ),
        ("pools.1.size_classes", [], "args.pools[1].size_classes", "is empty: list at least one"),
        ("pools.1.size_classes", ["xl", "xl"], "args.pools[1].size_classes", "xl more than once"),
        ("pools", [], "args.pools", "is empty: at least one is needed"),
        ("pools.0.markets", {}, "args.pools[0].markets", "name at least one of on-demand, spot"),
        (
            "pools.0.markets",
            {"spott": {}},
            "args.pools[0].markets.spott",
            "'spott' must be one of on-demand, spot; did you mean 'spot'?",
        ),
        (
            "pools.0.engine.max_num_seqs",
            "8",
            "args.pools[0].engine.max_num_seqs",
            "'8' must be a whole number",
        ),
        (
            "pools.0.engine.max_num_seqs",
            True,
            "args.pools[0].engine.max_num_seqs",
            "True must be a whole number",
        ),
        (
            "pools.0.engine.max_num_seqs",
            0,
            "args.pools[0].engine.max_num_seqs",
            "0 must be at least 1",
        ),
        (
            "pools.0.engine.enforce_eager",
            "yes",
            "args.pools[0].engine.enforce_eager",
            "'yes' must be true or false",
        ),
        (
            "pools.0.engine.gpu_memory_utilization",
            0,
            "args.pools[0].engine.gpu_memory_utilization",
            "0 must be above 0",
        ),
        (
            "pools.0.engine.kv_cache_memory",
            "64 miles",
            "args.pools[0].engine.kv_cache_memory",
            "'64 miles' is not a size: write it like 64MiB",
        ),
        ("pools.0.engine.env", {"A": 1}, "args.pools[0].engine.env.A", "1 must be text"),
        ("pools.0.engine", None, "args.pools[0].engine", "None must be a mapping"),
        ("pools.0.name", "Ä", "args.pools[0].name", "'Ä' must match"),
        ("gateway.request_timeout_s", float("nan"), "args.gateway.request_timeout_s", "nan"),
        (
            "gateway.request_timeout_s",
            float("inf"),
            "args.gateway.request_timeout_s",
            "inf must be a finite number",
        ),
        ("classifier.refuse_above", 1.5, "args.classifier.refuse_above", "1.5 must be at most 1"),
        ("models.0.source", "", "args.models[0].source", "is empty"),
        ("models.0.source", "a\0b", "args.models[0].source", "a NUL character"),
        ("models.0.source", "x" * 5000, "args.models[0].source", "5000 characters, at most 4096"),
        ("zones", {"Öffentlich": {"isolation": "high"}}, "args.zones.Öffentlich", "must match"),
    ],
)
def test_one_mistake(
    args: Args, issues_of: IssuesOf, path: str, value: object, where: str, message: str
) -> None:
    put(args, path, value)
    issues = issues_of(args)
    assert set(issues) == {where}
    assert message in issues[where]


def test_missing_keys_come_with_their_description(args: Args, issues_of: IssuesOf) -> None:
    del args["models"][0]["max_model_len"]
    del args["pools"][0]["engine"]
    assert issues_of(args) == {
        "args.models[0].max_model_len": (
            "is missing: Context of the model, in tokens; no pool can go beyond it."
        ),
        "args.pools[0].engine": "is missing: Settings of the engines.",
    }


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_args_that_are_no_mapping(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(value)
    assert [issue.path for issue in caught.value.issues] == ["args"]


def test_long_values_are_shortened(args: Args, issues_of: IssuesOf) -> None:
    args["default_zone"] = "x" * 10_000
    assert len(issues_of(args)["args.default_zone"]) < 250


def test_the_path_is_that_of_the_caller(args: Args) -> None:
    args["default_zone"] = "publik"
    with pytest.raises(ConfigError) as caught:
        parse_config(args, path="applications[0].args")
    assert str(caught.value) == (
        "1 error in the configuration:\n  applications[0].args.default_zone: "
        "there is no zone 'publik'; did you mean 'public'?"
    )
