"""Tidegate's configuration for each measurement, derived from files that users start with."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

__all__ = [
    "COLOCATED",
    "PAIR",
    "beside_colocated",
    "disaggregated_pool",
    "handing_over",
    "pair_of_replicas",
    "read",
    "two_zones",
]

Args = dict[str, Any]

_ROOT = Path(__file__).resolve().parents[2]
_BUILD = "app.main:build"

COLOCATED = "colocated"
"""The zone and the pool of engines that prefill and decode both."""
PAIR = "pair"
"""The pool with two replicas."""
_PAIR_SEATS = 16


def read(path: Path) -> Args:
    """The ``args:`` of the application in a Serve configuration.

    Raises:
        LookupError: the file has none of Tidegate's applications.
    """
    document = yaml.safe_load(path.read_text())
    for application in document["applications"]:
        if application["import_path"] == _BUILD:
            args: Args = application["args"]
            # Sources are written for the repository's root, where the service is started.
            return deepcopy(args)
    raise LookupError(f"{path} has no application of {_BUILD}")


def disaggregated_pool(args: Mapping[str, Any]) -> dict[str, Any]:
    """The first disaggregated pool.

    Raises:
        LookupError: there is none.
    """
    for pool in args["pools"]:
        if pool.get("disaggregated"):
            found: dict[str, Any] = pool
            return found
    raise LookupError("no pool has a `disaggregated` section: give a configuration with one")


def handing_over(args: Args) -> Args:
    """Only the disaggregated pool, which hands over every prompt, however short."""
    alone = _alone(args, disaggregated_pool(args))
    alone["pools"][0]["disaggregated"]["handoff_from"] = 0
    return alone


def beside_colocated(args: Args) -> Args:
    """The disaggregated pool as it is, and beside it one of as many engine processes, undivided.

    Each has a zone of its own, so that a request goes to the one that is asked for. The undivided
    pool has two replicas with as much tensor parallelism as `decode` has.
    """
    alone = _alone(args, disaggregated_pool(args))
    split = alone["pools"][0]
    decode = split["disaggregated"]["decode"]
    side = {k: v for k, v in decode.items() if k not in ("markets", "resources")}
    zone = next(iter(alone["zones"].values()))
    alone["zones"] = {**alone["zones"], COLOCATED: deepcopy(zone)}
    alone["pools"].append(
        {
            **{k: v for k, v in split.items() if k != "disaggregated"},
            "name": COLOCATED,
            "zone": COLOCATED,
            "engine": {**split["engine"], **side},
            "resources": decode.get("resources") or split.get("resources", {}),
            "markets": {"on-demand": {"min_replicas": 2, "max_replicas": 2}},
        }
    )
    return alone


def pair_of_replicas(args: Args) -> Args:
    """One pool of the default zone with two replicas, each a deployment of its own.

    So each of them can be named. Either has room for every stream there is: what a stream waits for
    is its migration, not a place.
    """
    pool = next(p for p in args["pools"] if p["zone"] == args["default_zone"])
    alone = _alone(args, pool)
    market = {"min_replicas": 1, "max_replicas": 1, "label_selector": {}}
    alone["pools"] = [
        {
            **pool,
            "name": PAIR,
            "engine": {**pool["engine"], "max_num_seqs": _PAIR_SEATS},
            "markets": {"on-demand": dict(market), "spot": dict(market)},
        }
    ]
    return alone


def two_zones(args: Args, other: Args) -> Args:
    """The configuration, with a second zone of another configuration if it has only one.

    Args:
        args: what is measured.
        other: where the second zone and its pools are taken from.
    """
    if len(args["zones"]) > 1:
        return args
    name = next(zone for zone in other["zones"] if zone not in args["zones"])
    both = deepcopy(args)
    both["zones"][name] = other["zones"][name]
    both["pools"] += [deepcopy(p) for p in other["pools"] if p["zone"] == name]
    return both


def _alone(args: Args, pool: Mapping[str, Any]) -> Args:
    """The configuration reduced to one pool and its zone."""
    reduced = deepcopy(args)
    zone = pool["zone"]
    reduced["default_zone"] = zone
    reduced["zones"] = {zone: reduced["zones"][zone]}
    reduced["pools"] = [deepcopy(dict(pool))]
    reduced["size_classes_required"] = list(pool["size_classes"])
    markers = reduced.get("classifier", {}).get("zone_markers")
    if markers:
        reduced["classifier"]["zone_markers"] = {z: p for z, p in markers.items() if z == zone}
    policies = reduced.get("guards", {}).get("zones")
    if policies:
        reduced["guards"]["zones"] = {z: p for z, p in policies.items() if z == zone}
    return reduced
