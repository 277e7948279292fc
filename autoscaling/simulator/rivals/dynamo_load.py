"""Dynamo's reactive loop: one replica more or fewer, by estimated TTFT and ITL.

Source: NVIDIA Dynamo, components/src/dynamo/planner/core/load_scaling.py at 0c6da1ec
(`_agg_prefill_scaling`, `_agg_decode_scaling`, `_scale_decision`) and planner/config/defaults.py
at 1ca60155. TTFT and ITL of the next request are estimated from regressions over the last 64
observations, at least 5:

- one more if all engines are above the SLO's TTFT, or all above its ITL;
- one fewer if the load of `n` on `n - 1` fits the KV cache, leaves ITL within 80% of the SLO, and
  leaves what the queue adds to TTFT within 80% of what the prompt's own prefill leaves of the SLO.

Dynamo regresses on the tokens of each forward pass of each engine. A policy sees means over the
fleet, so that here ITL is regressed on requests per replica, TTFT is its mean while nothing waits
plus the prefill of what waits, and all engines are taken to be alike.
"""

from __future__ import annotations

from collections import deque

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.terms import Terms

_SAMPLES = 64
_LEAST_SAMPLES = 5


class LoadLoop:
    """Says whether one replica more or fewer should run.

    Args:
        terms: The terms that are the same for all policies.
        sensitivity: Share of the SLO that must be kept with one fewer.
    """

    __slots__ = (
        "_lines",
        "_own",
        "_own_sum",
        "_prompt",
        "_sensitivity",
        "_sx",
        "_sxx",
        "_sxy",
        "_sy",
        "_terms",
    )

    def __init__(self, terms: Terms, sensitivity: float = 0.8) -> None:
        self._terms = terms
        self._sensitivity = sensitivity
        self._prompt = terms.mean_prompt
        self._lines: deque[tuple[float, float]] = deque()
        self._sx = self._sy = self._sxx = self._sxy = 0.0
        self._own: deque[float] = deque()
        self._own_sum = 0.0

    def change(self, seen: Observation) -> int:
        """One more, one fewer, or none.

        Args:
            seen: What is known.
        """
        ready = seen.ready
        if not ready:
            return 0
        waiting = seen.waiting + seen.queued
        load = (seen.running + waiting) / ready
        self._learn(seen, load, waiting)
        if len(self._lines) < _LEAST_SAMPLES:
            return 0
        slo = self._terms.slo
        intercept, slope = self._line()
        alone = self._alone()
        queue = waiting / ready * self._prompt / self._terms.capacity.prefill_tps
        if alone + queue > slo.ttft_s or intercept + slope * load > slo.itl_s:
            return 1
        if ready == 1:
            return 0
        fewer = ready / (ready - 1)
        fits = (
            seen.kv_use * fewer < 1
            and intercept + slope * load * fewer < slo.itl_s * self._sensitivity
            and queue * fewer < (slo.ttft_s - alone) * self._sensitivity
        )
        return -1 if fits else 0

    def _learn(self, seen: Observation, load: float, waiting: int) -> None:
        if seen.requests:
            self._prompt = seen.prompt_tokens / seen.requests
        if not seen.finished:
            return
        if seen.itl_s > 0:
            self._add(load, seen.itl_s, 1)
            self._lines.append((load, seen.itl_s))
            if len(self._lines) > _SAMPLES:
                self._add(*self._lines.popleft(), -1)
        if seen.ttft_s > 0 and not waiting:
            self._own.append(seen.ttft_s)
            self._own_sum += seen.ttft_s
            if len(self._own) > _SAMPLES:
                self._own_sum -= self._own.popleft()

    def _add(self, x: float, y: float, sign: int) -> None:
        self._sx += sign * x
        self._sy += sign * y
        self._sxx += sign * x * x
        self._sxy += sign * x * y

    def _line(self) -> tuple[float, float]:
        """ITL of an idle replica, and what each request adds; it never takes any off."""
        count = len(self._lines)
        spread = count * self._sxx - self._sx * self._sx
        slope = 0.0
        if spread > 1e-9 * count * max(self._sxx, 1e-12):
            slope = max(0.0, (count * self._sxy - self._sx * self._sy) / spread)
        return max(0.0, (self._sy - slope * self._sx) / count), slope

    def _alone(self) -> float:
        """TTFT of a request that does not wait."""
        if self._own:
            return self._own_sum / len(self._own)
        return self._prompt / self._terms.capacity.prefill_tps
