"""Which pools a replay's requests go to, and which of them can be simulated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cli.replaying.demand import Demand, Kind, read_record
from app.cli.replaying.options import NotReplayable, Options
from app.cli.replaying.routing import route
from app.cli.replaying.run import chosen
from app.config import FleetConfig, load_config
from autoscaling.simulator.terms import Requests

ROOT = Path(__file__).parents[2]
PUBLIC = Kind("public", "demo")


@pytest.fixture(scope="module")
def fleet() -> FleetConfig:
    return load_config(ROOT / "serve_config.yaml")


def of_lengths(*tokens: int, kinds: Sequence[Kind] = (PUBLIC,)) -> Demand:
    """Requests of so many tokens, one a second; the kinds take turns."""
    count = len(tokens)
    return Demand(
        source="test",
        start=0.0,
        requests=Requests(
            np.arange(count, dtype=np.float64),
            np.array(tokens, np.int32) - 1,
            np.ones(count, np.int32),
        ),
        tenants=("acme",),
        tenant=np.zeros(count, np.int32),
        kinds=tuple(kinds),
        kind=np.arange(count, dtype=np.int32) % len(kinds),
    )


# Routing.


def test_requests_go_to_the_pool_of_their_size_class(fleet: FleetConfig) -> None:
    routed = route(of_lengths(2, 512, 2048, 2049, 32_768), fleet)
    assert {name: rows.tolist() for name, rows in routed.pools.items()} == {
        "public-small": [0, 1, 2],
        "public-large": [3, 4],
    }
    assert not routed.nowhere


def test_what_no_pool_takes_is_counted_with_its_reason(fleet: FleetConfig) -> None:
    kinds = (PUBLIC, Kind("public", "gone"), Kind("secret", "demo"))
    routed = route(of_lengths(40_000, 10, 10, kinds=kinds), fleet)
    assert routed.pools == {}
    assert routed.nowhere == {
        "no pool of zone public for demo is long enough": 1,
        "no pool of zone public serves model gone": 1,
        "no pool of zone secret serves model demo": 1,
    }


def test_zones_are_kept_apart(fleet: FleetConfig) -> None:
    kinds = (Kind("private", "demo"), Kind("confidential", "demo"))
    routed = route(of_lengths(100, 100, 9_000, 9_000, kinds=kinds), fleet)
    assert {name: rows.tolist() for name, rows in routed.pools.items()} == {
        "private": [0, 2],
        "confidential": [1, 3],
    }


def test_pools_for_one_class_take_turns_and_isolated_ones_get_nothing(fleet: FleetConfig) -> None:
    small = fleet.pool("public-small")
    twin = small.model_copy(update={"name": "twin"})
    apart = small.model_copy(update={"name": "apart", "isolated": True})
    more = fleet.model_copy(update={"pools": (*fleet.pools, twin, apart)})
    routed = route(of_lengths(10, 10, 10, 10, 10), more)
    assert {name: rows.tolist() for name, rows in routed.pools.items()} == {
        "public-small": [0, 2, 4],
        "twin": [1, 3],
    }


@given(st.lists(st.integers(2, 40_000), min_size=1, max_size=40), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_every_request_goes_to_one_place(tokens: list[int], kinds: int) -> None:
    config = load_config(ROOT / "serve_config.yaml")
    some = (PUBLIC, Kind("private", "demo"))[:kinds]
    routed = route(of_lengths(*tokens, kinds=some), config)
    placed = [row for rows in routed.pools.values() for row in rows.tolist()]
    assert len(set(placed)) == len(placed)
    assert len(placed) + sum(routed.nowhere.values()) == len(tokens)
    assert all(rows.tolist() == sorted(rows.tolist()) for rows in routed.pools.values())


# Which pools.


def test_a_pool_without_capacity_is_refused_with_the_command_that_measures_it(
    fleet: FleetConfig,
) -> None:
    routed = route(of_lengths(10, 9_000), fleet)
    with pytest.raises(NotReplayable) as refused:
        chosen(fleet, routed, Options(), "fleet.yaml")
    assert "public-large is without `capacity` in fleet.yaml" in str(refused.value)
    assert "tidegate profile public-large --config fleet.yaml" in str(refused.value)
    only = chosen(fleet, routed, Options(pools=("public-small",)), "fleet.yaml")
    assert list(only) == ["public-small"]


def test_a_disaggregated_pool_is_refused_with_those_that_are_none() -> None:
    config = load_config(ROOT / "examples" / "disaggregated.yaml")
    pool = next(pool for pool in config.pools if pool.disaggregated is not None)
    found = of_lengths(10, kinds=[Kind(pool.zone, pool.model)])
    with pytest.raises(NotReplayable, match=r"disaggregated.*do both halves"):
        chosen(config, route(found, config), Options(), "fleet.yaml")


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        (("public-smal",), "no pool 'public-smal'.*public-small"),
        (("private",), "no request goes to pool private; pools with requests: public-small"),
    ],
)
def test_a_pool_that_is_unknown_or_idle_is_refused(
    fleet: FleetConfig, pools: tuple[str, ...], message: str
) -> None:
    with pytest.raises(NotReplayable, match=message):
        chosen(fleet, route(of_lengths(10), fleet), Options(pools=pools), "fleet.yaml")


def test_demand_that_goes_nowhere_is_refused_with_the_reason(fleet: FleetConfig) -> None:
    routed = route(of_lengths(40_000), fleet)
    with pytest.raises(NotReplayable, match="1 request: no pool of zone public for demo is long"):
        chosen(fleet, routed, Options(), "fleet.yaml")


# A record.


def test_a_record_is_of_one_kind_and_keeps_its_notes() -> None:
    lines = ["time,tenant,prompt_tokens,output_tokens\n", "120.5,acme,10,5\n", "130,b,10,0\n"]
    found = read_record(lines, "d.csv", PUBLIC)
    assert (found.start, found.last_s) == (120.0, 10.0)
    assert found.kinds == (PUBLIC,)
    assert found.kind.tolist() == [0, 0]
    assert found.tokens.tolist() == [15, 11]
    assert found.notes
