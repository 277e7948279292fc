"""What has come and happened since the planner was told last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaling.demand.terms import Sample, Work
from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation, SiteView


@dataclass(slots=True)
class Arrivals:
    """What has come since the planner was told last."""

    span_s: float = 0.0
    requests: int = 0
    prompt: float = 0.0
    output: float = 0.0
    answers: int = 0
    met: int = 0

    def add(self, seen: Observation) -> None:
        """Takes a step.

        Args:
            seen: What is known of it.
        """
        self.span_s += seen.span_s
        self.requests += seen.requests
        self.prompt += seen.prompt_tokens
        self.output += seen.output_tokens
        self.answers += seen.finished
        self.met += seen.met

    def sample(self, backlog: Work) -> Sample:
        """What a gateway would say of it.

        Args:
            backlog: Tokens that wait for a replica now.
        """
        return Sample(
            requests=self.requests,
            arrived=Work(self.prompt, self.output),
            backlog=backlog,
            answers=self.answers,
            late=self.answers - self.met,
        )


class Events:
    """What has happened to replicas since the planner was told last."""

    __slots__ = ("lost", "starts", "woken")

    def __init__(self) -> None:
        self.starts: list[tuple[Site, float]] = []
        self.woken: list[tuple[Site, float]] = []
        self.lost: list[tuple[Site, float]] = []

    def add(self, sites: Mapping[Site, SiteView]) -> None:
        """Takes a step.

        Args:
            sites: What there is by site.
        """
        for site, view in sites.items():
            if view.started_s:
                self.starts += [(site, seconds) for seconds in view.started_s]
            if view.woken_s:
                self.woken += [(site, seconds) for seconds in view.woken_s]
            if view.lost_s and site.market == "spot":
                self.lost += [(site, age) for age in view.lost_s]
