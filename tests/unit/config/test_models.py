"""What a valid configuration gives to those who read it."""

import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.config import (
    BreakerConfig,
    FleetConfig,
    Isolation,
    Market,
    SizeClass,
    config_schema,
    parse_config,
)
from app.config.types import parse_bytes
from app.errors import UnknownModel, UnknownZone
from app.routing.breaker import BreakerSettings

Args = dict[str, Any]


def test_defaults_and_helpers(args: Args) -> None:
    fleet = parse_config(args)

    assert fleet.model("demo").source == "models/demo"
    assert fleet.pool("long").zone == "private"
    assert [fleet.zone_rank(zone) for zone in ("public", "private")] == [0, 1]
    assert [pool.name for pool in fleet.pools_of("demo", "private")] == ["long"]
    assert fleet.pools_of("other", "private") == ()
    assert [(d.pool.name, d.market, d.name) for d in fleet.deployments()] == [
        ("short", Market.ON_DEMAND, "short--on-demand"),
        ("long", Market.ON_DEMAND, "long--on-demand"),
    ]
    assert fleet.zones["private"].isolation is Isolation.HIGH
    assert fleet.pool("short").engine.kv_cache_memory == 64 * 2**20
    assert fleet.gateway.max_body == 4 * 2**20
    assert fleet.size_classes_required == tuple(SizeClass)


def test_helpers_refuse_unknown_names(args: Args) -> None:
    fleet = parse_config(args)
    with pytest.raises(UnknownModel, match="'gpt'"):
        fleet.model("gpt")
    with pytest.raises(UnknownZone, match="'secret'"):
        fleet.zone_rank("secret")
    with pytest.raises(KeyError):
        fleet.pool("nowhere")


def test_zone_order_is_that_of_the_file(args: Args) -> None:
    args["zones"] = {
        name: {"isolation": "high"} for name in ("zebra", "private", "public", "apple")
    }
    args["pools"] += [
        args["pools"][0] | {"name": zone, "zone": zone} for zone in ("zebra", "apple")
    ]
    fleet = parse_config(args)
    assert [fleet.zone_rank(zone) for zone in ("zebra", "private", "public", "apple")] == [
        *range(4)
    ]


def test_nothing_can_be_changed(args: Args) -> None:
    fleet = parse_config(args)
    with pytest.raises(ValidationError, match="frozen"):
        fleet.pools[0].engine.max_num_seqs = 1  # type: ignore[misc]


def test_survives_pickle_and_json(args: Args) -> None:
    args["pools"][0]["markets"] = {"on-demand": {}, "spot": {"max_replicas": 4}}
    fleet = parse_config(args)
    assert pickle.loads(pickle.dumps(fleet)) == fleet
    assert parse_config(fleet.model_dump(mode="json")) == fleet
    assert FleetConfig.model_validate_json(fleet.model_dump_json()) == fleet


def test_size_classes_stand_shortest_first(args: Args) -> None:
    args["pools"][1]["size_classes"] = ["xl", "small", "large"]
    assert parse_config(args).pools[1].size_classes == (
        SizeClass.SMALL,
        SizeClass.LARGE,
        SizeClass.XL,
    )


@pytest.mark.parametrize(
    ("index", "changes", "tokens"),
    [
        # Two full batches of the shortest class ...
        (0, {"max_num_seqs": 8}, 2 * 8 * 512),
        (1, {"max_num_seqs": 4}, 2 * 4 * 8192),
        # ... but never less than the longest request.
        (0, {"max_num_seqs": 1}, 2048),
    ],
)
def test_saturation_follows_from_the_engine(
    args: Args, index: int, changes: Args, tokens: int
) -> None:
    args["pools"][index]["engine"] |= changes
    assert parse_config(args).pools[index].max_outstanding_tokens == tokens


def test_saturation_can_be_set(args: Args) -> None:
    args["pools"][0]["max_outstanding_tokens"] = 77
    assert parse_config(args).pools[0].max_outstanding_tokens == 77


def test_label_selectors(args: Args) -> None:
    short, long = args["pools"]
    short["markets"] = {"on-demand": {}, "spot": {"label_selector": {"ray.io/zone": "!a"}}}
    fleet = parse_config(args)
    assert fleet.pool("short").label_selector(Market.ON_DEMAND) == {
        "ray.io/market-type": "on-demand"
    }
    assert fleet.pool("short").label_selector(Market.SPOT) == {"ray.io/zone": "!a"}
    assert fleet.pool("long").label_selector(Market.ON_DEMAND) == {}
    with pytest.raises(KeyError):
        fleet.pool("long").label_selector(Market.SPOT)

    long["markets"] = {"spot": {}}
    assert parse_config(args).pool("long").label_selector(Market.SPOT) == {
        "ray.io/market-type": "spot"
    }


def test_breaker_settings_are_those_of_the_breaker() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(BreakerSettings)}
    assert BreakerConfig().model_dump() == defaults


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 2**20),
        ("64mib", 64 * 2**20),
        ("64 MB", 64 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("2K", 2000),
        ("2KiB", 2048),
        ("1TiB", 2**40),
        ("512", 512),
        ("512B", 512),
        (512, 512),
    ],
)
def test_bytes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@settings(deadline=None)
@given(st.text(max_size=12))
def test_bytes_are_a_number_or_an_error(text: str) -> None:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        assert "is not a size" in str(error)
    else:
        assert isinstance(size, int)
        assert size >= 0


@settings(deadline=None)
@given(st.integers(1, 2**50), st.sampled_from(["", "B", "KiB", "MiB", "GiB"]))
def test_binary_units_are_powers_of_1024(number: int, unit: str) -> None:
    power = ["B", "KiB", "MiB", "GiB"].index(unit or "B")
    assert parse_bytes(f"{number}{unit}") == number * 1024**power


def test_schema_describes_every_key() -> None:
    schema = config_schema()
    undescribed = [
        f"{name}.{key}"
        for name, section in [("FleetConfig", schema), *schema["$defs"].items()]
        for key, value in section.get("properties", {}).items()
        if "description" not in value and "$ref" not in value
    ]
    assert not undescribed
    assert schema["$defs"]["EngineConfig"]["additionalProperties"] is False
