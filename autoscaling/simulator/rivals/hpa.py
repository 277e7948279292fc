"""The Kubernetes horizontal pod autoscaler, as KEDA and AIBrix set it up for engines.

Source: kubernetes, docs "Horizontal Pod Autoscaling" and
pkg/controller/podautoscaler/replica_calculator.go (`calcPlainMetricReplicas`):
`ceil(current * metric / target)`, nothing within a tolerance of 0.1; where some are not ready they
count as idle if more are wanted, and if that turns it round nothing is done; of several metrics the
greatest answer counts; down to the greatest answer of the last 300 s; up by 4 or to twice as many
in 15 s, whichever is more. Metrics: AIBrix' example has a target of 50% of the KV cache
(`gpu_cache_usage_perc`), waiting requests have llm-d's threshold of 5 a replica, and the batch
size, which GKE's documentation advises where latency counts, has what follows from the profile: an
engine that is bound by ITL never fills its cache.

It looks once a step, which is 10 s instead of 15. Requests that no replica has taken count as
waiting in replicas, which is kind to it.
"""

from __future__ import annotations

from math import ceil

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.parts import OnDemand, Rival, checked_headroom, initial
from autoscaling.simulator.rivals.serve_default import ongoing_at_capacity
from autoscaling.simulator.rivals.stabilisation import WindowMax
from autoscaling.simulator.terms import Past, Terms

_TOLERANCE = 0.1
_STABLE_S = 300.0
_UP_BY = 4
_UP_TO = 2
_ROUNDING = 1e-9


class HpaDemand:
    """Replicas by KV cache use, waiting requests and batch size.

    Args:
        headroom: Factor on capacity: targets are divided by it.
        kv_target: Share of the KV cache that is to be used.
        queue_target: Requests that may wait for each replica.
        batch_target: Requests that each replica is to have; None for what follows from the profile.
    """

    __slots__ = ("_batch", "_factor", "_kv", "_queue", "_stable", "_target", "_terms")

    def __init__(
        self,
        headroom: float = 1.0,
        kv_target: float = 0.5,
        queue_target: float = 5.0,
        batch_target: float | None = None,
    ) -> None:
        if not kv_target > 0 or not queue_target > 0:
            raise ValueError("targets of the KV cache and of waiting requests are above 0")
        factor = 1 / checked_headroom(headroom)
        self._factor = factor
        self._batch = batch_target
        self._kv = kv_target * factor
        self._queue = queue_target * factor
        self._stable = WindowMax(_STABLE_S)
        self._target = 0
        self._terms: Terms | None = None

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes the bounds.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._terms = terms
        if self._batch is None:
            self._batch = ongoing_at_capacity(terms)
        self._target = initial(terms, past)

    def replicas(self, seen: Observation) -> int:
        """How many there should be.

        Args:
            seen: What is known.
        """
        ready, terms, batch = seen.ready, self._terms, self._batch
        assert terms is not None
        assert batch is not None
        if not ready:
            self._target = max(1, self._target)
            return self._target
        current = max(self._target, 1)
        unready = max(0, current - ready)
        wanted = max(
            proposed(seen.kv_use / self._kv, ready, unready),
            proposed((seen.waiting + seen.queued) / ready / self._queue, ready, unready),
            proposed(seen.ongoing / ready / (batch * self._factor), ready, unready),
        )
        wanted = min(wanted, max(_UP_TO * current, current + _UP_BY), terms.most)
        wanted = max(wanted, terms.least)
        if self._stable.empty:
            # As Kubernetes does: the window begins with what there is.
            self._stable.add(seen.now_s, current)
        stable = int(self._stable.add(seen.now_s, wanted))
        self._target = wanted if wanted >= current else min(current, stable)
        return self._target


def proposed(ratio: float, ready: int, unready: int) -> int:
    """Replicas by one metric.

    Args:
        ratio: Mean of the metric over ready replicas, as a share of its target.
        ready: Replicas that are ready.
        unready: Replicas that are not.
    """
    current = ready + unready
    if abs(ratio - 1) <= _TOLERANCE + _ROUNDING:
        return current
    if ratio < 1 or not unready:
        return ceil(ratio * ready - _ROUNDING)
    damped = ratio * ready / current
    if damped < 1 or abs(damped - 1) <= _TOLERANCE + _ROUNDING:
        return current
    return ceil(damped * current - _ROUNDING)


def hpa(headroom: float = 1.0) -> Rival:
    """The policy.

    Args:
        headroom: Factor on capacity.
    """
    return Rival("hpa-like", HpaDemand(headroom), OnDemand())
