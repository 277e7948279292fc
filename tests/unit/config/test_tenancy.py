"""Rules about keys, money, guards and the store."""

from pathlib import Path
from typing import Any

import pytest

from app.config import FleetConfig, GuardAction, StoreConfig, parse_config
from app.errors import ConfigError

GUARDS = "args.guards.zones.public.prompt"


def issues(args: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(args)
    return {issue.path: issue.message for issue in caught.value.issues}


@pytest.mark.parametrize(
    ("section", "value", "path", "words"),
    [
        ("prices", {"models": {"dmo": {}}}, "args.prices.models.dmo", "demo"),
        ("guards", {"zones": {"nowhere": {}}}, "args.guards.zones.nowhere", "no zone"),
        ("guards", {"personal_data_zone": "x"}, "args.guards.personal_data_zone", "no zone"),
        (
            "guards",
            {"zones": {"public": {"prompt": {"injection": "redact"}}}},
            f"{GUARDS}.injection",
            "'flag' or 'refuse'",
        ),
        ("store", {"url": "mysql://host/db"}, "args.store.url", "postgresql://"),
        ("budgets", {"tenant_day": -1}, "args.budgets.tenant_day", "0"),
        ("limits", {"burst": 0.5}, "args.limits.burst", "1"),
        ("access", {"keys": "maybe"}, "args.access.keys", "required"),
    ],
)
def test_mistakes_are_named(
    args: dict[str, Any], section: str, value: dict[str, Any], path: str, words: str
) -> None:
    found = issues(args | {section: value})
    assert words in found[path]


@pytest.mark.parametrize(
    ("jwt", "field"),
    [({"algorithms": ["none"]}, "algorithms"), ({"jwks": "http://idp/keys"}, "jwks")],
)
def test_tokens_that_anybody_could_make_are_refused(
    args: dict[str, Any], jwt: dict[str, Any], field: str
) -> None:
    whole = {"issuer": "https://idp", "audience": "tidegate", "jwks": "https://idp/keys"} | jwt
    assert f"args.access.jwt.{field}" in issues(args | {"access": {"jwt": whole}})


def test_maximum_isolation_serves_nothing_unaccounted(args: dict[str, Any]) -> None:
    zone = {"isolation": "maximum", "when_ledger_away": "serve"}
    name = list(args["zones"])[-1]
    args["zones"][name] = zone
    assert "'refuse'" in issues(args)[f"args.zones.{name}.when_ledger_away"]


def test_a_guard_that_acts_needs_the_classifier(args: dict[str, Any]) -> None:
    args["classifier"] = {"enabled": False}
    args["guards"] = {"zones": {"public": {"prompt": {"secrets": "refuse"}}}}
    assert "needs the classifier" in issues(args)[f"{GUARDS}.secrets"]


def test_a_zone_needs_a_pool_that_is_not_set_apart(args: dict[str, Any]) -> None:
    for pool in args["pools"]:
        pool["isolated"] = True
    assert "isolated" in issues(args)["args.zones.public"]


def test_keys_are_required_and_limits_are_there_by_default(args: dict[str, Any]) -> None:
    config: FleetConfig = parse_config(args)
    assert config.access.keys == "required"
    limits = config.limits
    assert (
        limits.user_tokens_per_minute,
        limits.user_tokens_per_hour,
        limits.tenant_tokens_per_minute,
        limits.burst,
        limits.user_large_requests,
    ) == (10_000, 100_000, 50_000, 1.5, 1)
    assert config.budgets.alert == 0.8
    assert [action.strength for action in GuardAction] == sorted(a.strength for a in GuardAction)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("sqlite:///data/t.db", "sqlite:////srv/tidegate/data/t.db"),
        ("sqlite:////var/t.db", "sqlite:////var/t.db"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
    ],
)
def test_paths_of_the_store_do_not_hang_on_a_directory(url: str, absolute: str) -> None:
    store = StoreConfig(url=url, data_dir="data").absolute(Path("/srv/tidegate"))
    assert (store.url, store.data_dir) == (absolute, "/srv/tidegate/data")
