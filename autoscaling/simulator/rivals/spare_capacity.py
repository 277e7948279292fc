"""llm-d's rule of spare capacity: one replica more while too little is left, one fewer if safe.

Source: llm-d workload-variant-autoscaler, docs/saturation-analyzer.md at 6400520b: a replica is
saturated from 80% of its KV cache or 5 waiting requests on. One more if, on average over the
others, less than 10% of the cache or less than 3 places in the queue are spare up to there; one
fewer if as much is spare after their load has been spread over one fewer. Peaks of the last minute
count; looked at once a minute (`GLOBAL_OPT_INTERVAL`). While what was decided is not ready yet,
nothing else is decided. Fewer only once that has been right for 300 s, as the Kubernetes autoscaler
that carries it out has it by default (`behavior.scaleDown.stabilizationWindowSeconds`).

A policy sees means over the fleet, so that all replicas are taken to be alike. Requests that no
replica has taken count as waiting in replicas, which is kind to it.
"""

from __future__ import annotations

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.parts import OnDemand, Rival, checked_headroom, initial
from autoscaling.simulator.rivals.stabilisation import WindowMax
from autoscaling.simulator.terms import Past, Terms

_PEAK_S = 60.0
_LOOK_S = 60.0
_STABLE_S = 300.0
_EPSILON_S = 1e-6
_ROUNDING = 1e-9


class SpareCapacityDemand:
    """Replicas by what is spare.

    Args:
        headroom: Factor on capacity: thresholds and triggers are divided by it.
        kv_threshold: Share of the KV cache from which on a replica is saturated.
        queue_threshold: Waiting requests from which on a replica is saturated.
        kv_trigger: Share of the KV cache that is to be spare up to there.
        queue_trigger: Waiting requests that are to be spare up to there.
    """

    __slots__ = (
        "_down",
        "_kv",
        "_kv_peak",
        "_looked_s",
        "_queue",
        "_queue_peak",
        "_target",
        "_terms",
    )

    def __init__(
        self,
        headroom: float = 1.0,
        kv_threshold: float = 0.8,
        queue_threshold: float = 5.0,
        kv_trigger: float = 0.1,
        queue_trigger: float = 3.0,
    ) -> None:
        factor = 1 / checked_headroom(headroom)
        if not 0 <= kv_trigger < kv_threshold or not 0 <= queue_trigger < queue_threshold:
            raise ValueError("a trigger lies between 0 and its threshold")
        self._kv = (kv_threshold * factor, kv_trigger * factor)
        self._queue = (queue_threshold * factor, queue_trigger * factor)
        self._kv_peak = WindowMax(_PEAK_S)
        self._queue_peak = WindowMax(_PEAK_S)
        self._down = WindowMax(_STABLE_S)
        self._looked_s = float("-inf")
        self._target = 0
        self._terms: Terms | None = None

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Takes the bounds.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._terms = terms
        self._target = initial(terms, past)

    def replicas(self, seen: Observation) -> int:
        """How many there should be.

        Args:
            seen: What is known.
        """
        ready, now = seen.ready, seen.now_s
        if not ready:
            self._target = max(1, self._target)
            return self._target
        kv = self._kv_peak.add(now, seen.kv_use)
        queue = self._queue_peak.add(now, (seen.waiting + seen.queued) / ready)
        if self._down.empty:
            # As Kubernetes does: the window begins with what there is.
            self._down.add(now, self._target)
        if now - self._looked_s >= _LOOK_S - _EPSILON_S:
            self._looked_s = now
            self._look(ready, kv, queue, now)
        return self._target

    def _look(self, ready: int, kv: float, queue: float, now: float) -> None:
        terms = self._terms
        assert terms is not None
        if ready < self._target:
            # Pending ones are waited for.
            self._down.add(now, self._target)
            return
        wanted = self._target
        if not self._spare(kv, queue):
            wanted += 1
        elif ready >= 2 and self._spare(kv * ready / (ready - 1), queue * ready / (ready - 1)):
            wanted -= 1
        wanted = min(max(wanted, terms.least), terms.most)
        # The window holds what was wanted before: it may rise at once, and falls when all agree.
        stable = int(self._down.add(now, wanted))
        self._target = wanted if wanted >= self._target else min(self._target, stable)

    def _spare(self, kv: float, queue: float) -> bool:
        """Whether enough is spare, at some KV cache use and queue of each replica."""
        spare_kv = self._kv[0] - kv
        spare_queue = self._queue[0] - queue
        return spare_kv >= self._kv[1] - _ROUNDING and spare_queue >= self._queue[1] - _ROUNDING


def spare_capacity(headroom: float = 1.0) -> Rival:
    """The policy.

    Args:
        headroom: Factor on capacity.
    """
    return Rival("spare-capacity-like", SpareCapacityDemand(headroom), OnDemand())
