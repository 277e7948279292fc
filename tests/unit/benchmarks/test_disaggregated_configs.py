"""Configurations derived for the benchmarks: valid, and what each measurement needs."""

from pathlib import Path

import pytest

from app.config import FleetConfig, Market, parse_config
from benchmarks.disaggregated import configs

ROOT = Path(__file__).parents[3]
SPLIT = ROOT / "examples/disaggregated.yaml"
WHOLE = ROOT / "serve_config.yaml"


def test_every_prompt_is_handed_over() -> None:
    fleet = parse_config(configs.handing_over(configs.read(SPLIT)))
    (pool,) = fleet.pools
    assert pool.disaggregated is not None
    assert pool.disaggregated.handoff_from == 0


def test_as_many_processes_beside_the_disaggregated_pool() -> None:
    fleet = parse_config(configs.beside_colocated(configs.read(SPLIT)))
    assert list(fleet.zones) == ["public", configs.COLOCATED]
    split, whole = fleet.pools
    assert split.disaggregated is not None
    assert whole.disaggregated is None
    assert whole.markets[Market.ON_DEMAND].min_replicas == 2
    assert processes(fleet, split.name) == processes(fleet, configs.COLOCATED)


def processes(fleet: FleetConfig, pool: str) -> int:
    return sum(
        deployed.pool.engine.world_size * deployed.pool.markets[deployed.market].min_replicas
        for deployed in fleet.deployments()
        if deployed.pool.name == pool
    )


def test_two_replicas_that_can_be_named() -> None:
    fleet = parse_config(configs.pair_of_replicas(configs.read(WHOLE)))
    names = [deployed.name for deployed in fleet.deployments()]
    assert names == [f"{configs.PAIR}--on-demand", f"{configs.PAIR}--spot"]
    assert all(not fleet.pools[0].label_selector(market) for market in fleet.pools[0].markets)


def test_a_second_zone_where_there_is_only_one() -> None:
    whole = configs.read(WHOLE)
    fleet = parse_config(configs.two_zones(configs.read(SPLIT), whole))
    assert len(fleet.zones) == 2
    assert {pool.zone for pool in fleet.pools} == set(fleet.zones)
    assert configs.two_zones(whole, whole) == whole


def test_without_a_disaggregated_pool_there_is_nothing_to_hand_over() -> None:
    with pytest.raises(LookupError, match="disaggregated"):
        configs.handing_over(configs.read(WHOLE))
