"""Ray Serve's autoscaling: by the mean of ongoing requests, with delays.

Source: Ray 2.60.0, python/ray/serve/autoscaling_policy.py (`_core_replica_queue_length_policy`,
`_apply_scaling_factors`, `_apply_delay_logic`, `_get_cold_start_scale_up_replicas`) and
python/ray/serve/config.py (`AutoscalingConfig`): ongoing requests, running and queued, are averaged
over `look_back_period_s` 30; replicas are those over `target_ongoing_requests` 2, moved there by
the factors, rounded up; up after 30 s that ask for more, down after 600 s that ask for less. Ray
looks ten times a second at numbers that come each 10 s; here it is once a step.

For an LLM a target of 2 is far too low, since an engine computes dozens at once. The tuned one has
the target that follows from the profile by Little's law.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.parts import (
    OnDemand,
    Rival,
    SpotShare,
    busy,
    checked_headroom,
    initial,
)
from autoscaling.simulator.terms import Past, Terms

_EPSILON_S = 1e-6


class ServeDemand:
    """Replicas by ongoing requests.

    Args:
        headroom: Factor on capacity: the target of ongoing requests is divided by it.
        target_ongoing: Ongoing requests a replica; None for what follows from the profile.
        upscale_delay_s: Seconds for which more must be asked for.
        downscale_delay_s: Seconds for which less must be asked for.
        look_back_s: Seconds over which ongoing requests are averaged.
        upscaling_factor: Share of the way up that is gone.
        downscaling_factor: Share of the way down that is gone.
    """

    __slots__ = (
        "_delays",
        "_direction",
        "_factors",
        "_headroom",
        "_look_back_s",
        "_samples",
        "_since_s",
        "_span_s",
        "_sum",
        "_target",
        "_target_ongoing",
        "_terms",
    )

    def __init__(
        self,
        headroom: float = 1.0,
        target_ongoing: float | None = 2.0,
        upscale_delay_s: float = 30.0,
        downscale_delay_s: float = 600.0,
        look_back_s: float = 30.0,
        upscaling_factor: float = 1.0,
        downscaling_factor: float = 1.0,
    ) -> None:
        if target_ongoing is not None and not target_ongoing > 0:
            raise ValueError(f"{target_ongoing:g} ongoing requests a replica is no target")
        self._headroom = checked_headroom(headroom)
        self._target_ongoing = target_ongoing
        self._delays = (upscale_delay_s, downscale_delay_s)
        self._factors = (upscaling_factor, downscaling_factor)
        self._look_back_s = look_back_s
        self._samples: deque[tuple[float, float, float]] = deque()
        self._sum = self._span_s = 0.0
        self._direction = 0
        self._since_s = 0.0
        self._target = 0
        self._terms: Terms | None = None

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes what a replica carries.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._terms = terms
        if self._target_ongoing is None:
            self._target_ongoing = ongoing_at_capacity(terms)
        self._target = initial(terms, past, self._headroom)

    def replicas(self, seen: Observation) -> int:
        """How many there should be.

        Args:
            seen: What is known.
        """
        ongoing = self._mean(seen)
        current = seen.ready
        if not current:
            if seen.ongoing or ongoing:
                self._target = max(ceil(self._factors[0]), self._target)
            return self._target
        assert self._target_ongoing is not None
        desired = ongoing * self._headroom / self._target_ongoing
        self._delayed(self._scaled(desired, current), seen.now_s)
        return self._target

    def _mean(self, seen: Observation) -> float:
        """Mean of ongoing requests over the time looked back on."""
        span, weight = seen.span_s, seen.ongoing * seen.span_s
        self._samples.append((seen.now_s, span, weight))
        self._span_s += span
        self._sum += weight
        oldest = seen.now_s - self._look_back_s + _EPSILON_S
        while self._samples[0][0] <= oldest and len(self._samples) > 1:
            _, span, weight = self._samples.popleft()
            self._span_s -= span
            self._sum -= weight
        return self._sum / self._span_s if self._span_s > 0 else float(seen.ongoing)

    def _scaled(self, desired: float, current: int) -> int:
        delta = desired - current
        scaled = ceil(current + self._factors[delta <= 0] * delta)
        if ceil(desired) < current and scaled == current:
            scaled -= 1
        return scaled

    def _delayed(self, desired: int, now_s: float) -> None:
        """Moves the target once it has been asked for long enough without a break."""
        terms = self._terms
        assert terms is not None
        # Ray compares before it bounds, and never goes from above one replica to none at once.
        if desired < self._target > 1:
            desired = max(1, desired)
        direction = (desired > self._target) - (desired < self._target)
        if direction == 0:
            self._direction = 0
            return
        if direction != self._direction:
            self._direction = direction
            self._since_s = now_s
        if now_s - self._since_s + _EPSILON_S >= self._delays[direction < 0]:
            self._direction = 0
            self._target = min(max(desired, terms.least), terms.most)


def ongoing_at_capacity(terms: Terms) -> float:
    """Ongoing requests of a replica that carries all it can, by Little's law.

    Requests a second at the mean lengths, times half the latency that the SLO allows: where nearly
    all are within it, the mean is far below it. No more than an engine computes at once.

    Args:
        terms: The terms that are the same for all policies.
    """
    rate = 1 / busy(terms.capacity, terms.mean_prompt, terms.mean_output)
    latency_s = terms.slo.ttft_s + terms.slo.itl_s * max(0.0, terms.mean_output - 1)
    return min(float(terms.max_seqs), max(1.0, rate * latency_s / 2))


def serve_default(headroom: float = 1.0) -> Rival:
    """The policy as it comes.

    Args:
        headroom: Factor on capacity.
    """
    return Rival("serve-default-like", ServeDemand(headroom), OnDemand())


def serve_tuned(
    headroom: float = 1.0,
    target_ongoing: float | None = None,
    upscale_delay_s: float = 10.0,
    downscale_delay_s: float = 300.0,
) -> Rival:
    """The policy with a target that suits the engine, and shorter delays.

    Args:
        headroom: Factor on capacity.
        target_ongoing: Ongoing requests a replica; None for what follows from the profile.
        upscale_delay_s: Seconds for which more must be asked for.
        downscale_delay_s: Seconds for which less must be asked for.
    """
    demand = ServeDemand(headroom, target_ongoing, upscale_delay_s, downscale_delay_s)
    return Rival("serve-tuned-like", demand, OnDemand())


def serve_spot_share(
    spot_share: float = 0.5,
    headroom: float = 1.0,
    target_ongoing: float | None = None,
    upscale_delay_s: float = 10.0,
    downscale_delay_s: float = 300.0,
) -> Rival:
    """The tuned policy with a fixed share on spot nodes.

    Args:
        spot_share: Share of the replicas on spot nodes, from 0 to 1.
        headroom: Factor on capacity.
        target_ongoing: Ongoing requests a replica; None for what follows from the profile.
        upscale_delay_s: Seconds for which more must be asked for.
        downscale_delay_s: Seconds for which less must be asked for.
    """
    demand = ServeDemand(headroom, target_ongoing, upscale_delay_s, downscale_delay_s)
    return Rival("serve-spot-share-like", demand, SpotShare(spot_share))
