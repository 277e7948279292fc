"""Several Ray nodes on this machine, with labels as a cloud's nodes have them.

A program of its own, so that nothing of the test's process gets into them: it prints the cluster's
address and ends with its input.
"""

import json
import sys

from ray.cluster_utils import Cluster

NODES = (
    # CPUs are what Ray counts, not what there is: engines, the gateway and the classifier take
    # fractions of one each.
    {"num_cpus": 1, "labels": {"ray.io/market-type": "on-demand"}},
    {"num_cpus": 1, "labels": {"ray.io/market-type": "spot"}},
)


def main() -> None:
    cluster = Cluster()
    cluster.add_node(num_cpus=1, include_dashboard=False, labels={"tidegate/role": "head"})
    for node in NODES:
        cluster.add_node(**node)
    print(json.dumps({"address": cluster.address}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
