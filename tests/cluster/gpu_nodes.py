"""Places the engines of a configuration for GPUs on Ray nodes that only claim to have some.

A program of its own, so that nothing of the test's process gets into the nodes: it prints where the
ranks of each deployment are, and ends. In place of engines there are actors that take their GPUs as
Serve's replicas and vLLM's executors do.

python -m tests.cluster.gpu_nodes FILE
"""

import json
import sys
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from app.config import load_config
from app.config.pools import MARKET_LABEL
from app.placement import Placement, engine_placement

NAME_LABEL = "tidegate/node"
# The first is the cluster's head as well.
NODES = {"on-demand": ("on-demand", 4), "spot-1": ("spot", 2), "spot-2": ("spot", 2)}
PLACED_WITHIN_S = 60


class Process:
    """A replica, or one of its ranks."""

    def place(self) -> tuple[str, int]:
        """The name of the node, and how many of its GPUs are this process's."""
        context = ray.get_runtime_context()
        return context.get_node_labels()[NAME_LABEL], len(context.get_accelerator_ids()["GPU"])


def start(**options: Any) -> Any:
    remote: Any = ray.remote(Process)
    return remote.options(**options).remote()


def processes_of(placement: Placement) -> list[Any]:
    """The replica as Serve places it, and its ranks where vLLM's Ray executor starts them."""
    if placement.bundles is None:
        return [start(**placement.ray_actor_options)]
    group = placement_group(
        placement.bundles,
        strategy=placement.strategy,
        bundle_label_selector=placement.bundle_label_selector,
    )
    first, *others = (
        PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        for index in range(len(placement.bundles))
    )
    replica = start(scheduling_strategy=first, **placement.ray_actor_options)
    ranks = [
        start(num_cpus=0, num_gpus=1, scheduling_strategy=bundle) for bundle in (first, *others)
    ]
    return [replica, *ranks]


def main(file: str) -> None:
    """Prints nodes and GPUs of each deployment's processes, the replica's first."""
    cluster = Cluster()
    for name, (market, gpus) in NODES.items():
        cluster.add_node(
            num_cpus=16,
            num_gpus=gpus,
            resources={"accelerator_type:H100": 1},
            labels={MARKET_LABEL: market, NAME_LABEL: name},
            include_dashboard=False,
            wait=name == next(iter(NODES)),
        )
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    processes = {
        each.name: processes_of(engine_placement(each.pool, each.market, each.role))
        for each in load_config(file).deployments()
    }
    placed = {
        name: ray.get([each.place.remote() for each in all_], timeout=PLACED_WITHIN_S)
        for name, all_ in processes.items()
    }
    print(json.dumps(placed), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1])
