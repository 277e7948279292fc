"""What rivals are shown in tests: one replica carries one request a second of 100 + 100 tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.policy import Observation, Policy, SiteView
from autoscaling.simulator.terms import ON_DEMAND, Past, Slo, SpotSupply, Terms

A = Site("spot", "north", "north-a")
B = Site("spot", "north", "north-b")
C = Site("spot", "south", "south-a")
STEP_S = 10.0


def terms(sites: tuple[Site, ...] = (A, B, C), **changes: Any) -> Terms:
    settings: dict[str, Any] = {
        "capacity": Capacity(200.0, 200.0, measured=True),
        "slo": Slo(ttft_s=2.0, itl_s=0.1),
        "mean_prompt": 100.0,
        "mean_output": 100.0,
        "lead_s": 180.0,
        "notice_s": 120.0,
        "prices": {ON_DEMAND: 4.0, **dict.fromkeys(sites, 1.0)},
        "least": 1,
        "most": 50,
        "max_seqs": 32,
    }
    return Terms(**{**settings, **changes})


def past(requests: list[float], step_s: float = 180.0) -> Past:
    """A past in requests a second."""
    counts = np.asarray(requests, dtype=np.float64) * step_s
    return Past(0.0, step_s, counts, counts * 100, counts * 100)


def seen(step: int, on_demand: int = 0, rate: float = 0.0, **known: Any) -> Observation:
    """A step of ten seconds, in which requests came at a rate a second."""
    sites: dict[Site, SiteView] = {ON_DEMAND: SiteView(ready=on_demand)}
    sites.update(known.pop("sites", {}))
    count = round(rate * STEP_S)
    settings: dict[str, Any] = {
        "now_s": step * STEP_S,
        "span_s": STEP_S,
        "metrics": True,
        "sites": sites,
        "requests": count,
        "prompt_tokens": count * 100,
        "output_tokens": count * 100,
    }
    return Observation(**{**settings, **known})


def supply(rows: Sequence[tuple[int, ...]], sites: tuple[Site, ...] = (A, B, C)) -> SpotSupply:
    return SpotSupply(STEP_S, sites, np.asarray(rows, dtype=np.int32))


class Fleet:
    """A fleet that does what a policy says: starts take a lead time, spot nodes may be missing."""

    def __init__(self, policy: Policy, what: Terms, spot: SpotSupply | None = None) -> None:
        self.policy = policy
        self.terms = what
        self.spot = spot
        self.ready_at: dict[Site, list[int]] = {site: [] for site in what.prices}
        self.asked: dict[Site, int] = dict.fromkeys(what.prices, 0)
        self.step = 0
        self.seconds: dict[Site, float] = dict.fromkeys(what.prices, 0.0)
        self._lead = round(what.lead_s / STEP_S)

    def begin(self, ready: int, before: Past | None = None) -> Fleet:
        self.ready_at[ON_DEMAND] = [0] * ready
        self.policy.begin(self.terms, before)
        return self

    def go(self, rate: float = 0.0, **known: Any) -> Mapping[Site, int]:
        """One step; what was asked for in it."""
        room = self._room()
        lost = {}
        for site, nodes in self.ready_at.items():
            lost[site] = max(0, len(nodes) - room[site])
            del nodes[room[site] :]
        asked = self.policy.decide(
            seen(self.step, rate=rate, sites=self._views(lost), **known),
        )
        for site, nodes in self.ready_at.items():
            del nodes[asked.get(site, 0) :]
            more = min(asked.get(site, 0), room[site]) - len(nodes)
            nodes.extend([self.step + self._lead] * more)
            self.asked[site] = asked.get(site, 0)
            self.seconds[site] += len(nodes) * STEP_S
        self.step += 1
        return asked

    @property
    def ready(self) -> int:
        return sum(view.ready for view in self._views({}).values())

    def _room(self) -> dict[Site, int]:
        room = dict.fromkeys(self.terms.prices, 10**6)
        if self.spot is not None:
            now = self.spot.at(self.step * STEP_S).tolist()
            room.update(zip(self.spot.sites, now, strict=True))
        return room

    def _views(self, lost: Mapping[Site, int]) -> dict[Site, SiteView]:
        return {
            site: SiteView(
                ready=sum(at <= self.step for at in nodes),
                starting=sum(at > self.step for at in nodes),
                pending=max(0, self.asked[site] - len(nodes) - lost.get(site, 0)),
                preempted=lost.get(site, 0),
            )
            for site, nodes in self.ready_at.items()
        }
