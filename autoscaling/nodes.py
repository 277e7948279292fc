"""The nodes that replicas run on: which of them go, and which spot nodes were taken away."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from autoscaling.keeper_news import Exposed, Lost
from autoscaling.plan_terms import Site

Kind = Literal["preempted", "rebalance"]
SPOT = "spot"
SILENT_S = 30.0
"""Seconds without a word of any of its replicas after which a node is taken for lost, while nobody
says which nodes there are."""
HEARD_S = 45.0
"""A node is lost, and not merely idle and given back, if its replicas were heard of so lately: the
time in which Ray finds out that a node has died."""
SPAN_S = 30.0
"""Seconds of a node's life that are told at once."""
CLOCK_S = 1.0
"""Seconds by which the clocks of those who speak of one notice may differ."""
KEPT_S = 3600.0
"""Seconds for which a notice is remembered."""
MOST = 10_000
"""Nodes, and notices, that are remembered."""


@dataclass(slots=True)
class _Node:
    site: Site
    born: float
    told_at: float
    heard: dict[str, float] = field(default_factory=dict)
    """When each replica on it was heard of last, without those that were told to go."""


@dataclass(slots=True)
class _Notice:
    leaves_at: float
    """When the node is gone; `inf` where nobody has said."""
    at: float
    """When it was last heard of."""
    preempted: bool
    """Whether the cloud takes the node, not the cluster's own autoscaler or somebody's hand."""


class Nodes:
    """Every node that a replica has reported from, and every notice.

    Times are monotonic, in seconds.
    """

    __slots__ = ("_going", "_lost", "_nodes", "_present", "_seen_at", "_warned", "_warnings")

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {}
        self._going: dict[str, _Notice] = {}
        self._warned: dict[str, float] = {}
        self._present: frozenset[str] | None = None
        self._seen_at = 0.0
        self._lost: list[Lost] = []
        self._warnings: list[Site] = []

    def heard(self, replica: str, node: str, site: Site, age_s: float, now: float) -> None:
        """Takes that a replica has reported.

        Args:
            replica: Its name.
            node: Its node's id; nothing is learned from an empty one.
            site: Where the node is.
            age_s: How long the replica has been ready: the node is at least as old.
            now: The time.
        """
        if not node or (node not in self._nodes and len(self._nodes) >= MOST):
            return
        known = self._nodes.setdefault(node, _Node(site, now - age_s, now))
        known.born = min(known.born, now - age_s)
        known.heard[replica] = now

    def released(self, replica: str, node: str) -> None:
        """Takes that a replica was told to go, so that its silence says nothing.

        Args:
            replica: Its name.
            node: Its node's id.
        """
        if node in self._nodes:
            self._nodes[node].heard.pop(replica, None)

    def notice(self, node: str, kind: Kind, leaves_at: float | None, now: float) -> bool:
        """Takes that a node goes, or that it may.

        Args:
            node: Its id.
            kind: `preempted` for one that goes, `rebalance` for one that may.
            leaves_at: When it is gone, if that is known.
            now: The time.

        Returns:
            Whether that is news: the node was not known to go, or only later.
        """
        if kind == "preempted":
            return self._goes(node, leaves_at, now, preempted=True)
        known = node in self._warned
        if not known and len(self._warned) >= MOST:
            return False
        self._warned[node] = now
        if not known and node in self._nodes:
            self._warnings.append(self._nodes[node].site)
        return not known

    def leaves_at(self, node: str) -> float | None:
        """When a node is gone; `inf` where nobody has said when, None for one that stays.

        Args:
            node: Its id.
        """
        known = self._going.get(node)
        return None if known is None else known.leaves_at

    def stays(self, node: str) -> bool:
        """Whether a node is there, as far as anybody has said, and does not go.

        Args:
            node: Its id.
        """
        there = self._present is None or node in self._present
        return there and node not in self._going

    def knows(self, node: str) -> bool:
        """Whether a replica has reported from a node.

        Args:
            node: Its id.
        """
        return node in self._nodes

    def replicas(self, node: str) -> list[str]:
        """Replicas that have reported from a node and were not told to go.

        Args:
            node: Its id.
        """
        return list(self._nodes[node].heard) if node in self._nodes else []

    def seen(self, present: Collection[str], leaving: Mapping[str, float], now: float) -> list[str]:
        """Takes what Ray says of its nodes: the truth, about once a second.

        Args:
            present: Those that are there.
            leaving: Those of them that go, with the time.
            now: The time.

        Returns:
            Those that go and were not known to, or only later.
        """
        self._present, self._seen_at = frozenset(present), now
        return [
            node
            for node, leaves_at in leaving.items()
            if self._goes(node, leaves_at, now, preempted=False)
        ]

    def news(self, now: float) -> tuple[list[Exposed], list[Lost], list[Site]]:
        """What spot nodes have been through since this was last asked.

        Args:
            now: The time.

        Returns:
            How long they were there, which were lost, and where there were warnings.
        """
        exposed: list[Exposed] = []
        for node, known in list(self._nodes.items()):
            gone = self._gone(node, known, now)
            if known.site.market == SPOT and (gone or now - known.told_at >= SPAN_S):
                span_s = min(now - known.told_at, SPAN_S * 2)
                exposed.append(Exposed(known.site, now - known.born, span_s))
                known.told_at = now
            if gone:
                self._forget(node, known, now)
        self._going = {
            node: notice for node, notice in self._going.items() if now - notice.at < KEPT_S
        }
        self._warned = {node: at for node, at in self._warned.items() if now - at < KEPT_S}
        lost, self._lost = self._lost, []
        warnings, self._warnings = self._warnings, []
        return exposed, lost, warnings

    def _goes(self, node: str, leaves_at: float | None, now: float, *, preempted: bool) -> bool:
        at = float("inf") if leaves_at is None else leaves_at
        known = self._going.get(node)
        if known is None:
            if len(self._going) >= MOST:
                return False
            self._going[node] = _Notice(at, now, preempted)
            return True
        # Of two times the earlier one: whoever is told twice is not given more time.
        sooner = at < known.leaves_at - CLOCK_S
        known.leaves_at, known.at = min(at, known.leaves_at), now
        known.preempted |= preempted
        return sooner

    def _gone(self, node: str, known: _Node, now: float) -> bool:
        last = max(known.heard.values(), default=known.told_at)
        if self._present is None:
            return now - last >= SILENT_S
        # A replica that has reported since knows better.
        return node not in self._present and last < self._seen_at

    def _forget(self, node: str, known: _Node, now: float) -> None:
        del self._nodes[node]
        notice = self._going.get(node)
        preempted = notice is not None and notice.preempted
        within_s = HEARD_S if self._present is not None else float("inf")
        heard = any(now - at < within_s for at in known.heard.values())
        if known.site.market == SPOT and (preempted or heard):
            warned = preempted or node in self._warned
            self._lost.append(Lost(known.site, now - known.born, warned))
            del self._lost[:-MOST]
