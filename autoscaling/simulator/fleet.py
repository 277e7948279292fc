"""Simulated replicas and their nodes: how they start, serve, are taken away and stop."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from autoscaling.plan_terms import Site
from autoscaling.simulator.node import SEE_OFF_S, Calm, Node
from autoscaling.simulator.policy import SiteView
from autoscaling.simulator.terms import ON_DEMAND, Ints

_NOBODY: Mapping[Site, int] = {}
_LEAST_START = 0.3
"""A start takes at least this share of what it takes on average."""


class Slots(Protocol):
    """What computes: a replica that is ready has a slot of it."""

    def add(self, at_s: float) -> int:
        """Opens a slot for requests; its number."""

    def close(self, slot: int) -> None:
        """Gives a slot no more requests."""

    def remove(self, slot: int) -> int:
        """Ends a slot; how many requests have to go elsewhere."""

    def busy(self, slot: int) -> int:
        """Requests that a slot has."""

    @property
    def lost(self) -> int:
        """Requests that were given up so far."""


@dataclass(slots=True)
class Ledger:
    """What nodes have cost in time so far, by site, and what has happened to them."""

    replica_s: dict[Site, float]
    ready_s: dict[Site, float]
    preemptions: int = 0
    moved_by_preemption: int = 0
    """Requests that had to go elsewhere, those that were lost among them."""
    lost_by_preemption: int = 0
    """Those that were lost, since that had happened to them too often."""


class Fleet:
    """All nodes of one pool. Times are seconds, and never go back.

    Args:
        slots: What computes.
        sites: Where nodes can be had, on-demand among them.
        lead_s: Seconds from a node to a replica that is ready, on average.
        lead_spread: Standard deviation of that, as a share of it.
        notice_s: Seconds from the notice of a preemption to the loss of the node.
        stop_s: Seconds that a replica which is given up has to finish its requests.
        seed: Of what is random about starts and preemptions.
        wake_s: Seconds from waking a replica on standby to its readiness.
    """

    __slots__ = (
        "_calm", "_lead", "_lost", "_nodes", "_notice_s", "_pending", "_preempted", "_random",
        "_ready", "_slots", "_standby", "_started", "_stop_s", "_views", "_wake_s", "_woken",
        "ledger",
    )  # fmt: skip

    def __init__(
        self,
        slots: Slots,
        sites: tuple[Site, ...],
        lead_s: float,
        lead_spread: float,
        notice_s: float,
        stop_s: float,
        seed: int,
        wake_s: float = 5.0,
    ) -> None:
        self._slots = slots
        self._lead = (lead_s, lead_spread)
        self._notice_s, self._stop_s, self._wake_s = notice_s, stop_s, wake_s
        self._random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 77])))
        self._nodes: dict[Site, list[Node]] = {site: [] for site in sites}
        self._pending: dict[Site, deque[float]] = {site: deque() for site in sites}
        self._ready = 0
        self._calm: dict[Site, Calm] = {}
        self._preempted: dict[Site, int] = {}
        self._started: dict[Site, list[float]] = {}
        self._woken: dict[Site, list[float]] = {}
        # How many should stand by; a site where any does is in it.
        self._standby: dict[Site, int] = {}
        self._lost: dict[Site, list[float]] = {}
        self._views: dict[Site, SiteView] = {}
        self.ledger = Ledger(dict.fromkeys(sites, 0.0), dict.fromkeys(sites, 0.0))

    @property
    def ready(self) -> int:
        """Replicas that take requests, those on nodes that go among them."""
        return self._ready

    @property
    def missing(self) -> bool:
        """Whether a replica that was asked for to take requests is not ready yet."""
        return any(
            pending and len(pending) > self._standby.get(site, 0)
            for site, pending in self._pending.items()
        ) or any(
            node.slot < 0 and node.staying and not node.asleep
            for nodes in self._nodes.values()
            for node in nodes
        )

    def begin(self, count: int, now: float) -> None:
        """Has so many on-demand replicas ready.

        Args:
            count: How many.
            now: The time.
        """
        for _ in range(count):
            node = Node(ON_DEMAND, now, now, now)
            self._nodes[ON_DEMAND].append(node)
            self._open(node, now)
        self._changed(ON_DEMAND)
        self._started = {}

    def pass_time(self, now: float, span_s: float) -> None:
        """Lets a span pass: nodes are paid, replicas get ready, and what has to go is gone.

        Args:
            now: The end of the span.
            span_s: Its length.
        """
        for site, nodes in self._nodes.items():
            if not nodes:
                continue
            calm = self._calm.get(site)
            if calm is not None and now < calm.until_s:
                self.ledger.replica_s[site] += calm.nodes * span_s
                self.ledger.ready_s[site] += calm.open * span_s
                continue
            paid = ready = 0.0
            for node in nodes:
                until = min(now, node.leaves_s)
                paid += max(0.0, until - max(node.born_s, now - span_s))
                if node.open:
                    ready += max(0.0, until - (now - span_s))
                self._go_on(node, now)
            self.ledger.replica_s[site] += paid
            self.ledger.ready_s[site] += ready
            left = [node for node in nodes if node.born_s != float("inf")]
            self._nodes[site] = left
            self._views.pop(site, None)
            self._calm[site] = Calm(
                min((node.next_s(now) for node in left), default=float("inf")),
                len(left),
                sum(node.open for node in left),
            )

    def supply(self, sites: tuple[Site, ...], most: Ints, now: float) -> None:
        """Takes what spot nodes can be held; those that are too many are told to go.

        Args:
            sites: Where.
            most: How many, by site.
            now: The time.
        """
        for site, count in zip(sites, most.tolist(), strict=True):
            nodes = self._nodes[site]
            if len(nodes) <= count:
                continue
            staying = [node for node in nodes if node.leaves_s == float("inf")]
            surplus = len(staying) - count
            if surplus <= 0:
                continue
            # Which one goes does not follow from what runs on it.
            for index in sorted(self._random.permutation(len(staying))[:surplus].tolist()):
                staying[index].leaves_s = now + self._notice_s
            self.ledger.preemptions += surplus
            self._preempted[site] = self._preempted.get(site, 0) + surplus
            self._changed(site)

    def target(
        self,
        wanted: Mapping[Site, int],
        room: Mapping[Site, int],
        now: float,
        standby: Mapping[Site, int] = _NOBODY,
    ) -> None:
        """Starts what is missing, as far as nodes are to be had, and stops what is too much.

        Args:
            wanted: Replicas that should be ready or starting, by site; none where it is left out.
            room: Most replicas that nodes can be had for, by spot site.
            now: The time.
            standby: Replicas that should stand by beside them, by site.
        """
        for site, nodes in self._nodes.items():
            count = wanted.get(site, 0)
            if standby or self._standby:
                spare = standby.get(site, 0)
                if spare or site in self._standby:
                    self._standby[site] = spare
                    count += spare
            staying = len(nodes) if not nodes else sum(node.staying for node in nodes)
            pending = self._pending[site]
            if staying == count and not pending:
                if site in self._standby:
                    self._assign(site, wanted.get(site, 0), now)
                continue
            missing = max(0, count - staying)
            while len(pending) > missing:
                pending.pop()
            while len(pending) < missing:
                pending.append(now)
            free = max(0, room[site] - len(nodes)) if site in room else missing
            for _ in range(min(missing, free)):
                nodes.append(Node(site, pending.popleft(), now, now + self._start_s()))
            if staying > count:
                self._stop(nodes, staying - count, now)
            self._changed(site)
            if site in self._standby:
                self._assign(site, wanted.get(site, 0), now)

    def views(self) -> dict[Site, SiteView]:
        """What there is by site, and what has happened since this was last asked."""
        fresh = {*self._preempted, *self._started, *self._lost, *self._woken}
        for site in self._nodes:
            if site not in self._views or site in fresh:
                self._views[site] = self._view(site)
        views = dict(self._views)
        for site in fresh:
            self._views.pop(site, None)
        self._preempted, self._started, self._lost, self._woken = {}, {}, {}, {}
        return views

    def _view(self, site: Site) -> SiteView:
        nodes = self._nodes[site]
        staying = [node for node in nodes if node.staying]
        ready = [node for node in staying if node.open]
        spare: list[Node] = []
        if site in self._standby:
            spare = [node for node in staying if node.up and not node.open]
        return SiteView(
            ready=len(ready),
            starting=len(staying) - len(ready) - len(spare),
            pending=len(self._pending[site]),
            leaving=len(nodes) - len(staying),
            preempted=self._preempted.get(site, 0),
            born_s=tuple(node.born_s for node in ready),
            started_s=tuple(self._started.get(site, ())),
            lost_s=tuple(self._lost.get(site, ())),
            standby=len(spare),
            standby_born_s=tuple(node.born_s for node in spare),
            woken_s=tuple(self._woken.get(site, ())),
        )

    def _assign(self, site: Site, active: int, now: float) -> None:
        """Has so many take requests and the others stand by; one that is woken is ready soonest."""
        staying = [node for node in self._nodes[site] if node.staying]
        awake = [node for node in staying if node.up and not node.asleep]
        lacking = active - len(awake)
        if lacking < 0:
            awake.sort(key=lambda node: (node.open, -node.born_s))
            for node in awake[:-lacking]:
                node.asleep, node.parks_s = True, now + self._stop_s
                self._shut(node)
            self._changed(site)
        elif lacking > 0:
            idle = [node for node in staying if node.asleep and node.up and node.slot < 0]
            for node in idle[:lacking]:
                node.asleep, node.wanted_s, node.ready_s = False, now, now + self._wake_s
                self._changed(site)
            lacking -= min(lacking, len(idle))
        starting = sorted((n for n in staying if not n.up), key=lambda node: node.ready_s)
        for place, node in enumerate(starting):
            node.asleep = place >= lacking
        if not self._standby[site] and not any(node.asleep for node in self._nodes[site]):
            del self._standby[site]
            self._changed(site)

    def _start_s(self) -> float:
        lead_s, spread = self._lead
        if lead_s <= 0 or spread <= 0:
            return lead_s
        return lead_s * max(_LEAST_START, 1.0 + spread * float(self._random.standard_normal()))

    def _open(self, node: Node, now: float) -> None:
        node.slot, node.open = self._slots.add(now), True
        self._ready += 1
        if node.up:
            self._woken.setdefault(node.site, []).append(now - node.wanted_s)
        else:
            self._came_up(node, now)
        self._views.pop(node.site, None)

    def _came_up(self, node: Node, now: float) -> None:
        node.up = True
        self._started.setdefault(node.site, []).append(now - node.wanted_s)

    def _shut(self, node: Node) -> None:
        if node.open:
            self._slots.close(node.slot)
            node.open = False
            self._ready -= 1
            self._views.pop(node.site, None)

    def _changed(self, site: Site) -> None:
        self._views.pop(site, None)
        self._calm.pop(site, None)

    def _go_on(self, node: Node, now: float) -> None:
        """Lets happen what is due; a node that has come to its end was born never."""
        if now >= node.leaves_s:
            self._lost.setdefault(node.site, []).append(node.leaves_s - node.born_s)
            if node.slot >= 0:
                self._shut(node)
                before = self._slots.lost
                self.ledger.moved_by_preemption += self._slots.remove(node.slot)
                self.ledger.lost_by_preemption += self._slots.lost - before
            node.born_s = float("inf")
            return
        if now >= node.leaves_s - SEE_OFF_S:
            self._shut(node)
        elif node.slot < 0 and now >= node.ready_s and node.stops_s == float("inf"):
            if not node.asleep:
                self._open(node, now)
            elif not node.up:
                self._came_up(node, now)
        if (
            node.asleep
            and node.slot >= 0
            and (now >= node.parks_s or not self._slots.busy(node.slot))
        ):
            self._slots.remove(node.slot)
            node.slot = -1
        if node.stops_s < float("inf"):
            if node.slot < 0:
                node.born_s = float("inf")
            elif now >= node.stops_s or not self._slots.busy(node.slot):
                self._slots.remove(node.slot)
                node.born_s = float("inf")

    def _stop(self, nodes: list[Node], count: int, now: float) -> None:
        staying = [node for node in nodes if node.staying]
        staying.sort(key=lambda node: (node.open, node.up, -node.born_s))
        for node in staying[:count]:
            node.stops_s = now + self._stop_s
            self._shut(node)
