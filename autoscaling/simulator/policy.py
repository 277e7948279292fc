"""What a policy sees of the fleet, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import Past, Terms


@dataclass(frozen=True, slots=True)
class SiteView:
    """Replicas at one site."""

    ready: int = 0
    """That take requests, on nodes that stay."""
    starting: int = 0
    """On nodes that have been got, and not ready yet."""
    pending: int = 0
    """Asked for, and no node is to be had for them."""
    leaving: int = 0
    """Told to go, by the policy or by a notice, and not gone yet."""
    preempted: int = 0
    """Nodes that were told to go since the last step."""
    born_s: tuple[float, ...] = ()
    """When the nodes of the ready replicas came up, oldest first."""
    started_s: tuple[float, ...] = ()
    """Seconds from being asked for to being ready, of replicas that got ready since the last step;
    the wait for a node included."""
    lost_s: tuple[float, ...] = ()
    """Ages of the nodes that were taken away since the last step."""
    standby: int = 0
    """Ready but taking no requests, on nodes that stay; those that are being woken among them."""
    standby_born_s: tuple[float, ...] = ()
    """When the nodes of those came up, oldest first."""
    woken_s: tuple[float, ...] = ()
    """Seconds from being woken to being ready, of replicas that got ready since the last step."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known at one step. Counts of a span are of the time since the last step."""

    now_s: float
    """Seconds since the beginning of the workload."""
    span_s: float
    """Length of that time in seconds."""
    metrics: bool
    """Whether metrics arrive. Where not, everything but `now_s`, `span_s` and `sites` is 0."""
    sites: Mapping[Site, SiteView]
    """By site, `ON_DEMAND` among them."""
    requests: int = 0
    """That arrived in the span."""
    prompt_tokens: int = 0
    """Prompt tokens of those."""
    output_tokens: int = 0
    """Output tokens that those will come to: a good prediction, the same for every policy."""
    finished: int = 0
    """Requests that ended in the span."""
    met: int = 0
    """Those of them that kept to the SLO."""
    ttft_s: float = 0.0
    """Mean time to first token of those that ended in the span; 0 if none did."""
    itl_s: float = 0.0
    """Mean inter-token latency of those; 0 if none did."""
    running: int = 0
    """Requests that replicas compute now."""
    waiting: int = 0
    """Requests that wait in replicas now."""
    queued: int = 0
    """Requests that no replica has taken."""
    queued_tokens: float = 0.0
    """Prompt and output tokens of those."""
    outstanding_tokens: float = 0.0
    """Prompt and output tokens still to be computed on replicas."""
    kv_use: float = 0.0
    """Share of the KV cache that is used, on average over ready replicas."""

    @property
    def ongoing(self) -> int:
        """Requests that are not finished."""
        return self.running + self.waiting + self.queued

    @property
    def ready(self) -> int:
        """Replicas that take requests."""
        return sum(view.ready for view in self.sites.values())

    @property
    def coming(self) -> int:
        """Replicas that start on nodes that have been got."""
        return sum(view.starting for view in self.sites.values())


class WithStandby(dict[Site, int]):
    """An answer that asks for replicas on standby beside those that take requests.

    Args:
        active: Replicas that should take requests, by site.
        standby: Replicas that should stand by, by site.
    """

    __slots__ = ("standby",)

    def __init__(self, active: Mapping[Site, int], standby: Mapping[Site, int]) -> None:
        super().__init__(active)
        self.standby = dict(standby)


class Policy(Protocol):
    """Decides how many replicas should run where.

    It is fed once a step, in order. What it answers is what should be ready or starting at each
    site; a site that it leaves out should have none. Replicas that are missing are started if a
    node is to be had, surplus ones stop: those that start first, then the youngest. One that
    answers `WithStandby` has replicas stand by as well: they are paid as others, are woken where
    one is missing at their site, and surplus ones are parked among them.
    """

    @property
    def name(self) -> str:
        """What it is called in results; of a rival it ends in `-like`."""

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes what is known beforehand, once, before the first step.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        """Replicas that should be ready or starting, by site.

        Args:
            seen: What is known.
        """
