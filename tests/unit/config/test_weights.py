"""Whose weights are loaded, how much of a pool is warm, and when replicas are replaced."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.admission.tier import Tier
from app.config import Market, parse_config
from app.config.pools import TIERS
from app.config.weights import TrustedKey

Args = dict[str, Any]
IssuesOf = Callable[[Args], dict[str, str]]
NOON = dt.datetime(2030, 1, 1, 12, tzinfo=dt.UTC)


def test_a_model_that_nobody_may_sign_is_refused(args: Args, issues_of: IssuesOf) -> None:
    args["weights"] = {}
    issues = issues_of(args)
    assert "`weights.keys`" in issues["args.models[0].source"]
    assert "unverified" in issues["args.models[0].source"]
    args["models"][0]["unverified"] = True
    assert parse_config(args).models[0].unverified


def test_a_key_for_other_models_does_not_help(args: Args, issues_of: IssuesOf) -> None:
    args["models"].append({"name": "other", "source": "x", "max_model_len": 2048})
    args["weights"]["keys"][0]["models"] = ["other"]
    assert "args.models[0].source" in issues_of(args)


def test_unverified_models_stay_out_of_maximum_isolation(args: Args, issues_of: IssuesOf) -> None:
    args["models"][0]["unverified"] = True
    args["zones"]["private"]["isolation"] = "maximum"
    issues = issues_of(args)
    assert "'private'" in issues["args.models[0].unverified"]


@pytest.mark.parametrize("field", ["revision", "tokenizer", "chat_template"])
def test_nothing_comes_from_outside_what_is_signed(
    args: Args, issues_of: IssuesOf, field: str
) -> None:
    args["models"][0][field] = "elsewhere"
    assert list(issues_of(args)) == [f"args.models[0].{field}"]


@pytest.mark.parametrize(
    "key", ["load_format", "model_loader_extra_config", "hf_config_path", "speculative_config"]
)
def test_nothing_else_is_to_be_loaded(args: Args, issues_of: IssuesOf, key: str) -> None:
    args["pools"][0]["engine"]["extra"] = {key: "dummy"}
    path = f"args.pools[0].engine.extra.{key}"
    assert list(issues_of(args)) == [path]
    args["models"][0]["unverified"] = True
    assert parse_config(args)


@pytest.mark.parametrize(("value", "fits"), [("auto", True), ("vllm", True), ("/etc/x", False)])
def test_generation_settings_are_the_models_own(
    args: Args, issues_of: IssuesOf, value: str, fits: bool
) -> None:
    args["pools"][0]["engine"]["extra"] = {"generation_config": value}
    if fits:
        assert parse_config(args)
    else:
        assert list(issues_of(args)) == ["args.pools[0].engine.extra.generation_config"]


@pytest.mark.parametrize("unverified", [True, False])
def test_code_of_a_model_is_never_run(args: Args, issues_of: IssuesOf, unverified: bool) -> None:
    args["models"][0]["unverified"] = unverified
    args["pools"][0]["engine"]["extra"] = {"trust_remote_code": True}
    assert list(issues_of(args)) == ["args.pools[0].engine.extra.trust_remote_code"]


def test_keys_have_names_of_their_own_and_models_that_exist(
    args: Args, issues_of: IssuesOf
) -> None:
    args["weights"]["keys"].append({"id": "demo", "public_key": "x", "models": ["demmo"]})
    issues = issues_of(args)
    assert "weights.keys[0]" in issues["args.weights.keys[1].id"]
    assert "demmo" in issues["args.weights.keys[1].models[0]"]


def test_an_expiry_needs_a_time_zone(args: Args, issues_of: IssuesOf) -> None:
    args["weights"]["keys"][0]["expires_at"] = "2030-01-01T00:00:00"
    assert list(issues_of(args)) == ["args.weights.keys[0].expires_at"]


@pytest.mark.parametrize(
    ("fields", "usable"),
    [
        ({}, True),
        ({"revoked": True}, False),
        ({"expires_at": NOON}, False),
        ({"expires_at": NOON + dt.timedelta(seconds=1)}, True),
        ({"models": ("m",)}, True),
        ({"models": ("n",)}, False),
        ({"models": ()}, False),
    ],
)
def test_which_keys_can_be_believed(fields: Args, usable: bool) -> None:
    key = TrustedKey(id="k", public_key="p", **fields)
    assert key.usable_for("m", NOON) is usable


def test_keys_are_read_once_and_paths_made_absolute(args: Args, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    pem = "-----BEGIN PUBLIC KEY-----\nabc\n-----END PUBLIC KEY-----\n"
    (tmp_path / "models/demo.pub").write_text(pem)
    weights = parse_config(args).weights.absolute(tmp_path)
    assert weights.keys[0].public_key == pem
    assert weights.cache_dir == str(tmp_path / ".tidegate/weights")
    (tmp_path / "models/demo.pub").unlink()
    assert weights.absolute(tmp_path) == weights


# Tiers.


@pytest.mark.parametrize(
    ("tier", "scale", "expected"),
    [
        ("critical", 1.0, (10, 20, 4)),
        ("standard", 1.0, (5, 15, 2)),
        ("batch", 1.0, (2, 8, 0)),
        ("critical", 0.1, (1, 2, 0)),
        ("standard", 0.5, (2, 8, 1)),
        ("batch", 0.01, (1, 1, 0)),
    ],
)
def test_a_tier_sizes_a_pool(
    args: Args, tier: str, scale: float, expected: tuple[int, int, int]
) -> None:
    args["pools"][0] |= {"tier": tier, "tier_scale": scale}
    market = parse_config(args).pools[0].markets[Market.ON_DEMAND]
    assert (market.min_replicas, market.max_replicas, market.standby_replicas) == expected


def test_what_a_market_says_itself_counts(args: Args) -> None:
    args["pools"][0] |= {"tier": "critical", "markets": {"on-demand": {"max_replicas": 12}}}
    market = parse_config(args).pools[0].markets[Market.ON_DEMAND]
    assert (market.min_replicas, market.max_replicas, market.standby_replicas) == (10, 12, 2)


def test_what_is_always_ready_is_not_on_spot_nodes(args: Args) -> None:
    args["pools"][0] |= {"tier": "standard", "markets": {"on-demand": {}, "spot": {}}}
    spot = parse_config(args).pools[0].markets[Market.SPOT]
    assert (spot.min_replicas, spot.max_replicas, spot.standby_replicas) == (0, 10, 0)


def test_every_tier_leaves_room_for_its_standby() -> None:
    for tier in Tier:
        for scale in (0.01, 0.1, 0.3, 0.5, 1.0, 3.0):
            bounds = TIERS[tier].scaled(scale)
            assert 1 <= bounds.least <= bounds.most
            assert bounds.least + bounds.standby <= bounds.most


def test_standby_has_to_fit(args: Args, issues_of: IssuesOf) -> None:
    args["pools"][0]["markets"] = {"on-demand": {"standby_replicas": 1}}
    path = "args.pools[0].markets.on-demand.standby_replicas"
    assert "raise `max_replicas`" in issues_of(args)[path]
    args["pools"][0]["markets"]["on-demand"]["max_replicas"] = 2
    assert parse_config(args)


def test_a_tier_does_not_size_disaggregated_pools(args: Args, issues_of: IssuesOf) -> None:
    pool = args["pools"][0]
    pool |= {"tier": "batch", "disaggregated": {"prefill": {}, "decode": {}}}
    pool["engine"]["block_size"] = 32
    assert "disaggregated.prefill.markets" in issues_of(args)["args.pools[0].tier"]
