"""One simulated span: what comes, what there is, what it costs, and what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Slo, SpotSupply, Terms, Workload


@dataclass(frozen=True, slots=True)
class Scenario:
    """All of it. Times are seconds of the workload."""

    workload: Workload
    """Demand."""
    begin_s: float
    """When the simulation begins; a multiple of the workload's `window_s`."""
    end_s: float
    """When arrivals end. What has arrived is then seen to its end."""
    model: ServiceModel
    """How fast a replica is."""
    capacity: Capacity
    """What one carries within the SLO: policies are told it, and need is judged by it."""
    means: tuple[float, float]
    """Prompt and output tokens of a request on average; policies are told them."""
    slo: Slo
    """What is promised."""
    supply: SpotSupply
    """Where spot nodes can be had."""
    prices: Mapping[Site, float]
    """Dollars an hour of one replica, by site."""
    lead_s: float
    """Seconds from the start of a replica on a node to its readiness, on average."""
    lead_spread: float = 0.1
    """Standard deviation of that, as a share of it."""
    wake_s: float = 5.0
    """Seconds from waking a replica on standby to its readiness; seen at the next step."""
    notice_s: float = 120.0
    """Seconds from the notice of a preemption to the loss of the node."""
    least: int = 1
    """Fewest replicas in all."""
    most: int = 100
    """Most replicas in all."""
    step_s: float = 10.0
    """Seconds between two decisions."""
    patience_s: float = 60.0
    """Seconds for which a request waits for a replica before it is given up."""
    stop_s: float = 60.0
    """Seconds that a replica which is stopped has to finish its requests; then they are moved."""
    first: int = 1
    """Replicas that are ready on demand at the beginning."""
    unseen: tuple[tuple[float, float], ...] = ()
    """Spans in which metrics are lost."""
    seed: int = 1
    """Of everything random but the demand and the supply."""

    @property
    def terms(self) -> Terms:
        """What policies are told of it."""
        return Terms(
            capacity=self.capacity,
            slo=self.slo,
            mean_prompt=self.means[0],
            mean_output=self.means[1],
            lead_s=self.lead_s,
            notice_s=self.notice_s,
            prices=dict(self.prices),
            least=self.least,
            most=self.most,
            max_seqs=self.model.max_seqs,
            wake_s=self.wake_s,
        )
