"""The service with one pool, for what is measured of its replicas as a whole."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from benchmarks.disaggregated.configs import Args
from benchmarks.disaggregated.service import APP

__all__ = ["DEPLOYMENT", "POOL", "counts", "one_pool"]

POOL = "public-small"
DEPLOYMENT = f"{POOL}--on-demand"


def one_pool(args: Args, markets: dict[str, Any], recycling: dict[str, Any]) -> Args:
    """serve_config.yaml reduced to its first pool, with other numbers of replicas.

    Args:
        args: what is in the file.
        markets: of the on-demand market.
        recycling: the section of that name.
    """
    reduced = deepcopy(args)
    [pool] = [pool for pool in reduced["pools"] if pool["name"] == POOL]
    zone = pool["zone"]
    pool["markets"] = {"on-demand": markets}
    reduced |= {
        "pools": [pool],
        "zones": {zone: reduced["zones"][zone]},
        "default_zone": zone,
        "size_classes_required": list(pool["size_classes"]),
        "classifier": {"enabled": False},
        "guards": {},
        "recycling": recycling,
    }
    return reduced


def counts() -> dict[str, Any]:
    """The keeper's counts of the pool."""
    from ray import serve

    answer = serve.get_deployment_handle("keeper", APP).status.remote()
    pools: dict[str, Any] = answer.result(timeout_s=30)["pools"]
    found: dict[str, Any] = pools[DEPLOYMENT]
    return found
