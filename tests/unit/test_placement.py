"""Where engines run."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import Device, Executor, Market, PoolConfig, Role, load_config
from app.placement import Placement, engine_placement

GiB = 2**30
ROOT = Path(__file__).parents[2]


def pool(
    *, markets: dict[str, Any] | None = None, resources: dict[str, Any], **engine: Any
) -> PoolConfig:
    return PoolConfig.model_validate(
        {
            "name": "pool",
            "model": "demo",
            "zone": "public",
            "size_classes": ["small"],
            "engine": {"max_model_len": 512} | engine,
            "resources": resources,
            "markets": markets or {"on-demand": {}},
        }
    )


def place(market: Market = Market.ON_DEMAND, **kwargs: Any) -> Placement:
    return engine_placement(pool(**kwargs), market)


def test_cpu() -> None:
    assert place(resources={"cpus": 0.25}) == Placement(Executor.UNI, {"num_cpus": 0.25})


def test_cpu_with_ranks_stays_one_actor() -> None:
    placement = place(resources={"cpus": 2, "memory": "4GiB"}, tensor_parallel_size=2)
    assert placement == Placement(Executor.MP, {"num_cpus": 2, "memory": 4 * GiB})
    assert placement.deployment_options() == {
        "ray_actor_options": {"num_cpus": 2, "memory": 4 * GiB}
    }


def test_one_gpu_node_holds_all_ranks_in_one_actor() -> None:
    placement = place(
        Market.SPOT,
        markets={"on-demand": {}, "spot": {}},
        resources={"device": "gpu", "cpus": 4, "accelerator_type": "H100"},
        tensor_parallel_size=4,
        pipeline_parallel_size=2,
    )
    assert placement.executor is Executor.MP
    assert placement.deployment_options() == {
        "ray_actor_options": {
            "num_cpus": 4,
            "num_gpus": 8,
            "accelerator_type": "H100",
            "label_selector": {"ray.io/market-type": "spot"},
        }
    }


def test_across_nodes_every_rank_has_a_bundle() -> None:
    placement = place(
        Market.SPOT,
        markets={"spot": {"label_selector": {"team": "a"}}},
        resources={"device": "gpu", "accelerator_type": "L40S", "gpus_per_node": 2, "memory": GiB},
        tensor_parallel_size=2,
        pipeline_parallel_size=2,
    )
    bundle = {"CPU": 1, "GPU": 1, "memory": GiB, "accelerator_type:L40S": 0.001}
    assert placement.executor is Executor.RAY
    assert placement.deployment_options() == {
        "ray_actor_options": {"num_cpus": 1, "num_gpus": 0, "memory": GiB},
        "placement_group_bundles": [bundle] * 4,
        "placement_group_strategy": "PACK",
        "placement_group_bundle_label_selector": [{"team": "a"}] * 4,
    }


def test_ray_on_one_node_keeps_to_it() -> None:
    placement = place(resources={"device": "gpu"}, tensor_parallel_size=2, executor="ray")
    assert placement.strategy == "STRICT_PACK"
    assert "placement_group_bundle_label_selector" not in placement.deployment_options()


def test_a_prefill_pipeline_may_spread_where_it_would_fit() -> None:
    resources = {"device": "gpu"}
    stages = pool(resources=resources, pipeline_parallel_size=2, executor="ray")
    ranks = pool(resources=resources, tensor_parallel_size=2, executor="ray")
    for placed, role, strategy in (
        (stages, Role.PREFILL, "PACK"),
        (stages, Role.WHOLE, "STRICT_PACK"),
        # What stages pass on is little beside what the ranks of a layer exchange.
        (ranks, Role.PREFILL, "STRICT_PACK"),
        (ranks, Role.DECODE, "STRICT_PACK"),
    ):
        assert engine_placement(placed, Market.ON_DEMAND, role).strategy == strategy


def places_of(example: str) -> dict[Role, Placement]:
    fleet = load_config(ROOT / "examples" / example)
    return {
        each.role: engine_placement(each.pool, each.market, each.role)
        for each in fleet.deployments()
    }


def test_sides_on_this_machine_are_one_actor_each() -> None:
    assert places_of("disaggregated.yaml") == {
        Role.PREFILL: Placement(Executor.MP, {"num_cpus": 0.5}),
        Role.DECODE: Placement(Executor.MP, {"num_cpus": 0.5}),
    }


def test_sides_on_gpus() -> None:
    places = places_of("disaggregated-gpu.yaml")
    spot, on_demand = ({"ray.io/market-type": market} for market in ("spot", "on-demand"))
    assert places[Role.PREFILL] == Placement(
        Executor.RAY,
        {"num_cpus": 4, "num_gpus": 0},
        [{"CPU": 4, "GPU": 1, "accelerator_type:H100": 0.001}] * 4,
        "PACK",
        [spot] * 4,
    )
    assert places[Role.DECODE] == Placement(
        Executor.MP,
        {"num_cpus": 8, "num_gpus": 4, "accelerator_type": "H100", "label_selector": on_demand},
    )


def test_an_executor_that_is_named_is_taken() -> None:
    assert place(resources={}, executor="mp").executor is Executor.MP


def test_a_market_that_the_pool_does_not_have() -> None:
    with pytest.raises(KeyError):
        place(Market.SPOT, resources={})


@settings(deadline=None)
@given(
    device=st.sampled_from(Device),
    tensor=st.integers(1, 8),
    pipeline=st.integers(1, 4),
    per_node=st.sampled_from([1, 2, 4, 8]),
    cpus=st.sampled_from([0.25, 1, 4]),
    market=st.sampled_from(Market),
)
def test_claims_what_the_ranks_need(
    device: Device, tensor: int, pipeline: int, per_node: int, cpus: float, market: Market
) -> None:
    world = tensor * pipeline
    placement = place(
        market,
        markets={"on-demand": {}, "spot": {}},
        resources={"device": device, "gpus_per_node": per_node, "cpus": cpus},
        tensor_parallel_size=tensor,
        pipeline_parallel_size=pipeline,
    )
    options = placement.ray_actor_options
    bundles = placement.bundles or []

    gpus = sum(bundle["GPU"] for bundle in bundles) if bundles else options.get("num_gpus", 0)
    assert gpus == (world if device is Device.GPU else 0)
    # An actor in a placement group has to fit into the first bundle.
    assert not bundles or options["num_cpus"] <= bundles[0]["CPU"]
    assert bool(bundles) == (device is Device.GPU and world > per_node)
    assert placement.executor is not Executor.AUTO
    assert (placement.executor is Executor.UNI) == (world == 1)

    selectors = placement.bundle_label_selector or [options["label_selector"]]
    assert len(selectors) == max(1, len(bundles))
    assert all(selector == {"ray.io/market-type": market.value} for selector in selectors)


@pytest.mark.filterwarnings("ignore")  # Ray's own, on import.
@pytest.mark.parametrize("nodes", [1, 2])
def test_ray_serve_takes_the_options(nodes: int) -> None:
    from ray import serve

    placement = place(
        Market.SPOT,
        markets={"on-demand": {}, "spot": {}},
        resources={"device": "gpu", "accelerator_type": "H100", "memory": "1GiB"},
        tensor_parallel_size=8,
        pipeline_parallel_size=nodes,
    )

    class Replica:
        pass

    decorated: Any = serve.deployment(Replica)  # Its annotation forgets the bare form.
    deployment = decorated.options(**placement.deployment_options())
    assert deployment.ray_actor_options["num_gpus"] == (8 if nodes == 1 else 0)
