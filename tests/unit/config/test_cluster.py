"""cluster.yaml and serve_config.gpu.yaml: nodes and the pools that are to run on them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.config import Device, FleetConfig, Market, load_config
from app.config.pools import MARKET_LABEL
from autoscaling.group_settings import AVAILABILITY_ZONE_LABEL, REGION_LABEL

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def fleet() -> FleetConfig:
    return load_config(ROOT / "serve_config.gpu.yaml")


def workers(cluster: dict[str, Any], market: str) -> list[dict[str, Any]]:
    return [
        node
        for name, node in cluster["available_node_types"].items()
        if name != cluster["head_node_type"] and node["labels"][MARKET_LABEL] == market
    ]


def test_every_replica_finds_nodes_with_its_labels(
    cluster: dict[str, Any], fleet: FleetConfig
) -> None:
    for each in fleet.deployments():
        labels, resources = each.pool.label_selector(each.market), each.pool.resources
        assert resources.device is Device.GPU
        assert labels[MARKET_LABEL] == each.market.value
        fitting = workers(cluster, each.market.value)
        assert fitting
        for node in fitting:
            assert labels.items() <= node["labels"].items()
            assert node["resources"]["GPU"] == resources.gpus_per_node
            assert f"accelerator_type:{resources.accelerator_type}" in node["resources"]
            replicas = resources.gpus_per_node // each.pool.engine.world_size
            assert replicas * resources.cpus <= node["resources"]["CPU"]


@pytest.mark.parametrize("market", list(Market))
def test_there_may_be_nodes_for_as_many_replicas(
    cluster: dict[str, Any], fleet: FleetConfig, market: Market
) -> None:
    gpus = sum(
        each.pool.markets[market].max_replicas * each.pool.engine.world_size
        for each in fleet.deployments()
        if each.market is market
    )
    there = sum(
        node["max_workers"] * node["resources"]["GPU"] for node in workers(cluster, market.value)
    )
    assert gpus <= there


def test_sites_are_the_spot_nodes(cluster: dict[str, Any], fleet: FleetConfig) -> None:
    spot = workers(cluster, "spot")
    sites = fleet.scaling.spot.sites
    assert {(site.region, site.availability_zone) for site in sites} == {
        (node["labels"][REGION_LABEL], node["labels"][AVAILABILITY_ZONE_LABEL]) for node in spot
    }
    for site in sites:
        assert site.region == cluster["provider"]["region"]
        for node in spot:
            assert site.instance_type == node["node_config"]["InstanceType"]
            assert site.replicas_per_node == node["resources"]["GPU"]
            if node["labels"][AVAILABILITY_ZONE_LABEL] == site.availability_zone:
                most = node["max_workers"] * site.replicas_per_node
                assert site.most_spot_replicas is not None
                assert site.most_spot_replicas <= most


def test_spot_types_keep_to_one_availability_zone(cluster: dict[str, Any]) -> None:
    subnets = [tuple(node["node_config"]["SubnetIds"]) for node in workers(cluster, "spot")]
    assert all(len(each) == 1 for each in subnets)
    assert len(set(subnets)) == len(subnets)
    everywhere = workers(cluster, "on-demand")[0]["node_config"]["SubnetIds"]
    assert {each for (each,) in subnets} == set(everywhere)


def test_nothing_is_open_but_what_is_said(cluster: dict[str, Any]) -> None:
    # Where the group is not given, Ray makes one with SSH open to everybody.
    for node in cluster["available_node_types"].values():
        config = node["node_config"]
        assert config["SecurityGroupIds"]
        assert config["MetadataOptions"] == {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        }
    assert "security_group" not in cluster["provider"]
    assert any("--dashboard-host=127.0.0.1" in line for line in cluster["head_start_ray_commands"])


@pytest.mark.filterwarnings("ignore")  # Ray's own, on import.
def test_ray_prepares_it(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(cluster)
    validate_config(prepared)
    for name, node in cluster["available_node_types"].items():
        assert prepared["available_node_types"][name]["labels"] == node["labels"]
