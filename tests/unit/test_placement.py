"""Where engines run."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.config import Device, Executor, Market, PoolConfig
from app.placement import Placement, engine_placement

GiB = 2**30


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
