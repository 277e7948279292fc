"""Ray's nodes: where this process runs, which nodes there are, which of them go.

Everything here that asks Ray's head blocks, for about a millisecond while it is there and a few
seconds while it is not: call it on a thread.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2, gcs_pb2

from app.config import FleetConfig, Market
from app.config.pools import MARKET_LABEL
from autoscaling.group_settings import AVAILABILITY_ZONE_LABEL, REGION_LABEL
from autoscaling.plan_terms import Site

TIMEOUT_S = 5.0
READ_S = 1.0
_NEVER = 2**62  # what Ray says of a node that goes nobody knows when, and a bit less

# Serve's controller shows what this logger says.
log = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class View:
    """The nodes at one moment.

    Attributes:
        at: when that was, in monotonic seconds.
        labels: of each node that is alive, by its id.
        leaving: when those of them that drain are gone, Unix time in seconds; `inf` where nobody
            has said.
    """

    at: float
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    leaving: Mapping[str, float] = field(default_factory=dict)

    def staying(self, market: Market) -> list[str]:
        """Ids of the nodes of a market that do not drain."""
        return [
            node
            for node, labels in self.labels.items()
            if labels.get(MARKET_LABEL) == market.value and node not in self.leaving
        ]


def here() -> str:
    """The id of this process's node."""
    return str(ray.get_runtime_context().get_node_id())


def site_here(market: Market) -> Site:
    """Where this process's node is, by its labels; unnamed where it has none."""
    labels: Mapping[str, Any] = ray.get_runtime_context().get_node_labels() or {}
    region, availability_zone = (
        labels.get(REGION_LABEL, ""),
        labels.get(AVAILABILITY_ZONE_LABEL, ""),
    )
    return Site(market.value, str(region), str(availability_zone))


def look() -> View:
    """The nodes there are now.

    Raises:
        Exception: Ray's head does not answer, for whatever reason Ray has for it.
    """
    client, at = _client(), time.monotonic()
    found = client.get_all_node_info(timeout=TIMEOUT_S)
    leaving = client.get_draining_nodes(timeout=TIMEOUT_S)
    return View(
        at,
        {
            node_id.hex(): dict(node.labels)
            for node_id, node in found.items()
            if node.state == gcs_pb2.GcsNodeInfo.ALIVE
        },
        {node: _seconds(deadline_ms) for node, deadline_ms in leaving.items()},
    )


def leaves_in(node: str) -> float | None:
    """Seconds until a node is gone, `inf` where nobody has said when; None for one that stays.

    Raises:
        Exception: Ray's head does not answer, for whatever reason Ray has for it.
    """
    leaving = _client().get_draining_nodes(timeout=TIMEOUT_S)
    return _seconds(leaving[node]) - time.time() if node in leaving else None


def drain(node: str, left_s: float, message: str) -> None:
    """Has Ray start nothing more on a node that is about to be taken away.

    Serve then starts others for the replicas on it, and stops those when the others run, or when
    as much time is left as a replica may take to stop.

    Args:
        node: Its id.
        left_s: Seconds until it is gone.
        message: Why, for Ray's logs.

    Raises:
        Exception: Ray's head does not answer or refuses.
    """
    deadline_ms = int((time.time() + max(0.0, left_s)) * 1000)
    reason = autoscaler_pb2.DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
    accepted, why = _client().drain_node(node, reason, message, deadline_ms)
    if not accepted:
        raise RuntimeError(f"Ray does not drain node {node}: {why}")


def off_spot(config: FleetConfig) -> dict[str, Any]:
    """Options for actors that must not go with a spot node, where the fleet has such nodes."""
    markets = {market for each in config.deployments() for market in each.pool.markets}
    if Market.SPOT not in markets:
        return {}
    return {"label_selector": {MARKET_LABEL: f"!{Market.SPOT.value}"}}


class NodeBoard:
    """Follows Ray's nodes on a thread of its own, for whoever must not block."""

    def __init__(self) -> None:
        self.view: View | None = None
        """What was last seen; None before the first time."""
        threading.Thread(target=self._follow, name="node-board", daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                self.view = look()
            except Exception as error:  # noqa: BLE001 - away while Ray's head restarts, for example
                log.warning("the nodes cannot be read: %r", error)
            time.sleep(READ_S)


def node_board() -> NodeBoard:
    """The board of this process."""
    if not _boards:
        _boards.append(NodeBoard())
    return _boards[0]


_boards: list[NodeBoard] = []
_clients: dict[str, Any] = {}


def _client() -> Any:
    address = str(ray.get_runtime_context().gcs_address)
    if address not in _clients:
        _clients[address] = GcsClient(address=address)
    return _clients[address]


def _seconds(deadline_ms: int) -> float:
    return deadline_ms / 1000 if 0 < deadline_ms < _NEVER else float("inf")
