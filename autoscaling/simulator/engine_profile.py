"""What one simulated replica carries within its promise: a profile by the engine itself.

It is measured as `tidegate profile` measures a real one: requests arrive at random, and the
greatest rate at which enough of them are in time is searched for.
"""

from __future__ import annotations

from math import log

import numpy as np

from app.errors import Infeasible, SimulationError
from autoscaling.demand.terms import Work
from autoscaling.needs import replicas_for
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.engine import Engines
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Floats, Ints, Requests, Slo

SAMPLE = 40_000
"""Requests of one measurement: 400 of them are late at 99%."""
_STEPS = 16
_CALIBRATIONS = 14
_MOST_FACTOR = 64.0


def profile(
    model: ServiceModel,
    prompt: Ints,
    output: Ints,
    slo: Slo,
    attainment: float,
    seed: int,
) -> Capacity:
    """The greatest rate of Poisson arrivals that one replica carries, as tokens a second.

    The two rates are in the ratio of the raw speeds, and such that at the greatest rate
    `prompt / prefill_tps + decode / decode_tps` is 1, see `autoscaling.needs.replicas_for`.

    Args:
        model: The replica.
        prompt: Prompt tokens of requests as they come.
        output: Output tokens of the same requests.
        slo: What is promised.
        attainment: Share of requests for which it is to be kept, such as 0.99.
        seed: Of the arrivals, and of the requests drawn.

    Returns:
        What it carries.

    Raises:
        SimulationError: There are no requests, or the attainment is not between 0 and 1.
        Infeasible: The promise is not kept however few requests there are.
    """
    load = _Load(model, prompt, output, slo, seed)
    if not 0 < attainment < 1:
        raise SimulationError(f"the attainment must be between 0 and 1, not {attainment}")
    # Nobody carries more than takes no time but that of a full batch.
    high = 1 / (load.prefill_s + load.mean_output * load.token_s)
    low = high / 1000
    if load.attained(low) < attainment:
        raise Infeasible(
            f"one request at a time is not within TTFT {slo.ttft_s:g} s and ITL {slo.itl_s:g} s "
            f"for {attainment:.2%} of these requests: faster replicas, a longer promise or shorter "
            "requests are needed"
        )
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if load.attained(middle) >= attainment:
            low = middle
        else:
            high = middle
    read_tps, token_tps = load.mean_prompt / load.prefill_s, 1 / load.token_s
    prefill_tps = low * (load.mean_prompt + load.mean_output * read_tps / token_tps)
    return Capacity(
        prefill_tps=prefill_tps,
        decode_tps=prefill_tps * token_tps / read_tps,
        measured=True,
        reason=f"simulated at {attainment:.2%}",
    )


def calibrated(
    model: ServiceModel,
    capacity: Capacity,
    prompt: Ints,
    output: Ints,
    slo: Slo,
    attainment: float,
    seed: int,
) -> ServiceModel:
    """A replica made as fast or slow that it carries just what a profile says of a demand.

    Args:
        model: A replica whose steps are guessed, see `ServiceModel.of_rates`.
        capacity: What the real one carries.
        prompt: Prompt tokens of requests as they come.
        output: Output tokens of the same requests.
        slo: What is promised.
        attainment: Share of requests for which that was kept.
        seed: Of the arrivals, and of the requests drawn.

    Returns:
        The model, faster or slower by one factor.

    Raises:
        SimulationError: There are no requests, or the attainment is not between 0 and 1.
        Infeasible: Not even 64 times as fast would it keep the promise at that rate.
    """
    load = _Load(model, prompt, output, slo, seed)
    rate = 1 / replicas_for(Work(load.mean_prompt, load.mean_output), capacity)
    if not 0 < attainment < 1:
        raise SimulationError(f"the attainment must be between 0 and 1, not {attainment}")
    low, high = -log(_MOST_FACTOR), log(_MOST_FACTOR)
    if _Load(model.faster(_MOST_FACTOR), prompt, output, slo, seed).attained(rate) < attainment:
        raise Infeasible(
            f"{rate:g} requests a second are not within the promise on a replica {_MOST_FACTOR:g} "
            "times as fast: the profile is not of such requests, or its cache holds too few of them"
        )
    for _ in range(_CALIBRATIONS):
        middle = (low + high) / 2
        faster = _Load(model.faster(float(np.exp(middle))), prompt, output, slo, seed)
        if faster.attained(rate) >= attainment:
            high = middle
        else:
            low = middle
    return model.faster(float(np.exp(high)))


class _Load:
    """The same requests at any rate, through one replica."""

    def __init__(
        self, model: ServiceModel, prompt: Ints, output: Ints, slo: Slo, seed: int
    ) -> None:
        if not len(prompt) or len(prompt) != len(output):
            raise SimulationError("a profile needs as many prompts as outputs, 1 or more")
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        drawn = rng.integers(0, len(prompt), SAMPLE)
        self._prompt, self._output = prompt[drawn], output[drawn]
        self._arrivals: Floats = np.cumsum(rng.exponential(1.0, SAMPLE))
        self._model, self._slo, self._seed = model, slo, seed
        self.mean_prompt = float(self._prompt.mean())
        self.mean_output = float(self._output.mean())
        self.prefill_s = float(model.prefill_times(self._prompt).mean())
        kept = [each / seqs for seqs, each in enumerate(model.itl_s) if seqs and each <= slo.itl_s]
        self.token_s = min(kept, default=model.itl_s[1])

    def attained(self, rate: float) -> float:
        """Share of requests that are in time.

        Args:
            rate: Requests a second.
        """
        arrivals = self._arrivals / rate
        engines = Engines(
            self._model,
            1,
            self._slo,
            patience_s=10 * self._slo.ttft_s,
            seed=self._seed,
            queue_most=SAMPLE,
        )
        engines.add(0.0)
        end = float(arrivals[-1])
        engines.run(Requests(arrivals, self._prompt, self._output), np.nextafter(end, np.inf))
        engines.run(_NOBODY, end + 1e7)
        return engines.tally().met / SAMPLE


_NOBODY = Requests(np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32))
