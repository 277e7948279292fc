"""NVIDIA Dynamo's planner for engines that do both halves: a predictive floor, a reactive loop.

Sources: NVIDIA Dynamo, components/src/dynamo/planner/core/throughput_scaling.py at 0c9050c9
(`_throughput_agg`), core/state_machine.py at 0272cbdd and config/defaults.py at 1ca60155. Each
180 s requests, their prompt and their output length are predicted for the next 180 s, each by
itself; replicas are `ceil(requests a second / requests a second that an engine carries at those
lengths within the SLO)`. That is the floor of the reactive loop in `dynamo_load`, which moves by
one and only observes while a change is under way.

Where Dynamo's users complain, it is spared: demand is counted when it arrives, not when it is done
(#8861); the floor rises while replicas are pending (#14251) and falls when traffic stops (#6985).
The reactive loop runs once a step, which is 10 s instead of 5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from autoscaling.simulator.policy import Observation
from autoscaling.simulator.rivals.dynamo_load import LoadLoop
from autoscaling.simulator.rivals.parts import OnDemand, Rival, busy, checked_headroom, whole
from autoscaling.simulator.rivals.predictors import ConstantPredictor, Predictor
from autoscaling.simulator.terms import Floats, Past, Terms

INTERVAL_S = 180.0
"""Seconds between two predictions."""
_MOST_WARM = 480  # a day; no predictor looks further back
_EPSILON_S = 1e-6


class DynamoDemand:
    """Replicas by two loops.

    Args:
        predictor: Makes a predictor; called for requests, prompt and output lengths.
        headroom: Factor on the predicted work.
        reactive: Whether the reactive loop runs.
        interval_s: Seconds between two predictions.
        sensitivity: Share of the SLO that must be kept with one replica fewer.
    """

    __slots__ = (
        "_elapsed_s",
        "_floor",
        "_headroom",
        "_interval_s",
        "_load",
        "_make",
        "_output",
        "_predictors",
        "_prompt",
        "_reactive",
        "_requests",
        "_sensitivity",
        "_target",
        "_terms",
    )

    def __init__(
        self,
        predictor: Callable[[], Predictor] = ConstantPredictor,
        headroom: float = 1.0,
        reactive: bool = True,
        interval_s: float = INTERVAL_S,
        sensitivity: float = 0.8,
    ) -> None:
        self._make = predictor
        self._headroom = checked_headroom(headroom)
        self._reactive = reactive
        self._interval_s = interval_s
        self._sensitivity = sensitivity
        self._predictors: tuple[Predictor, Predictor, Predictor] = (
            predictor(),
            predictor(),
            predictor(),
        )
        self._load: LoadLoop | None = None
        self._terms: Terms | None = None
        self._elapsed_s = 0.0
        self._requests = self._prompt = self._output = 0
        self._floor = 0
        self._target = 0

    def begin(self, terms: Terms, past: Past | None) -> None:
        """Warms the predictors with what is known.

        Args:
            terms: The terms that are the same for all policies.
            past: Demand so far; None if there has been none.
        """
        self._terms = terms
        self._load = LoadLoop(terms, self._sensitivity) if self._reactive else None
        self._predictors = (self._make(), self._make(), self._make())
        self._floor = terms.least
        if past is not None:
            for requests, prompt, output in _intervals(past, self._interval_s):
                self._take(requests, prompt, output)
            self._predict(terms)
        self._target = self._floor

    def replicas(self, seen: Observation) -> int:
        """How many there should be.

        Args:
            seen: What is known.
        """
        terms = self._terms
        assert terms is not None
        self._elapsed_s += seen.span_s
        self._requests += seen.requests
        self._prompt += seen.prompt_tokens
        self._output += seen.output_tokens
        due = self._elapsed_s >= self._interval_s - _EPSILON_S
        if due:
            # Steps that do not divide the interval make it a little longer.
            scale = self._interval_s / self._elapsed_s
            self._take(self._requests * scale, self._prompt * scale, self._output * scale)
            self._elapsed_s = 0.0
            self._requests = self._prompt = self._output = 0
            self._predict(terms)
        if self._load is None:
            if due:
                self._target = self._floor
            return self._target
        change = self._load.change(seen)
        if seen.ready < self._target:
            change = 0
        self._target = min(max(self._target + change, self._floor, terms.least), terms.most)
        return self._target

    def _take(self, requests: float, prompt: float, output: float) -> None:
        """One interval. Without requests their lengths are unknown, and stay what they were."""
        number, prompts, outputs = self._predictors
        number.add(requests)
        if requests > 0:
            prompts.add(prompt / requests)
            outputs.add(output / requests)

    def _predict(self, terms: Terms) -> None:
        requests, prompt, output = (predictor.next() for predictor in self._predictors)
        each_s = busy(terms.capacity, prompt, output)
        floor = whole(self._headroom * requests / self._interval_s * each_s)
        self._floor = min(max(floor, terms.least), terms.most)


def dynamo(
    name: str,
    predictor: Callable[[], Predictor] = ConstantPredictor,
    headroom: float = 1.0,
    reactive: bool = True,
) -> Rival:
    """The policy, on demand: Dynamo knows no spot nodes.

    Args:
        name: What the predictor is called.
        predictor: Makes a predictor.
        headroom: Factor on the predicted work.
        reactive: Whether the reactive loop runs.
    """
    return Rival(f"dynamo-{name}-like", DynamoDemand(predictor, headroom, reactive), OnDemand())


def _intervals(past: Past, interval_s: float) -> list[tuple[float, float, float]]:
    """The past in intervals, as far as it is known; no request is lost or counted twice."""
    known = np.isfinite(past.requests)
    edges = past.step_s * np.arange(known.size + 1)
    count = int(edges[-1] / interval_s + 1e-9)
    if count == 0:
        return []
    # The last interval ends where the past ends.
    wanted = edges[-1] - interval_s * np.arange(min(count, _MOST_WARM), -1, -1)

    def cut(values: Floats) -> Floats:
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
        return np.asarray(np.diff(np.interp(wanted, edges, sums)), dtype=np.float64)

    heard = cut(np.full(known.size, past.step_s)) > 0.999 * interval_s
    columns = (cut(values)[heard] for values in (past.requests, past.prompt, past.output))
    return list(zip(*(column.tolist() for column in columns), strict=True))
