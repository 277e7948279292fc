"""How fast a replica computes: the time between tokens, the time to read a prompt, its room.

A replica works in steps, as engines with continuous batching do. A step of b sequences takes
`itl_s[b]` and gives each of them a token. A prompt that is read meanwhile is cut into chunks, and
the steps take longer by the time that a chunk takes by itself (chunked prefill: Agrawal et al.,
"Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve", OSDI 2024). That the two
times add up is pessimistic by what an engine gains from computing both at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from app.errors import SimulationError
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.engine_records import MOST_POINTS, MOST_SEQS
from autoscaling.simulator.terms import Floats, Ints, Slo

MOST_WAITING = 65_536
CHUNK_TOKENS = 2048
"""Prompt tokens of a step, as vLLM has it for online serving by default."""
_PROMISED = 0.8
_ALONE = 0.5


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """One replica. Two are equal if they are equally fast.

    Raises:
        SimulationError: A value is out of its range; the message names it.
    """

    itl_s: tuple[float, ...]
    """Seconds of a step by the number of sequences that get a token; that of 0 is not used."""
    prefill_tokens: tuple[int, ...]
    """Prompt lengths with a known time, ascending, from 1."""
    prefill_s: tuple[float, ...]
    """Seconds to read each of those alone. In between it is a line, beyond them the last one."""
    kv_tokens: int
    """Tokens of prompts and answers that the KV cache holds."""
    chunk_tokens: int = CHUNK_TOKENS
    """Prompt tokens of a step, at most, while others decode."""
    most_waiting: int = 32
    """Requests that a replica takes beyond those that it computes."""

    def __post_init__(self) -> None:
        """Checks it.

        Raises:
            SimulationError: A value is out of its range; the message names it.
        """
        times = self.itl_s[1:]
        if not 1 <= len(times) <= MOST_SEQS:
            raise SimulationError(f"itl_s needs the times of 1 to {MOST_SEQS:,} sequences")
        if not all(0 < each < float("inf") for each in times):
            raise SimulationError("every time of itl_s[1:] must be a number of seconds above 0")
        if any(after < before for before, after in pairwise(times)):
            raise SimulationError("itl_s must not fall as sequences are added")
        points = self.prefill_tokens
        if not points or len(points) != len(self.prefill_s):
            raise SimulationError("prefill_tokens and prefill_s must be of one length, 1 or more")
        if len(points) > MOST_POINTS:
            raise SimulationError(f"prefill_tokens may have {MOST_POINTS:,} lengths at most")
        if points[0] < 1 or any(after <= before for before, after in pairwise(points)):
            raise SimulationError("prefill_tokens must ascend from 1 or more")
        if not all(0 < each < float("inf") for each in self.prefill_s):
            raise SimulationError("every time of prefill_s must be a number of seconds above 0")
        if any(after < before for before, after in pairwise(self.prefill_s)):
            raise SimulationError("prefill_s must not fall as prompts grow")
        if self.kv_tokens < 1 or self.chunk_tokens < 1:
            raise SimulationError("kv_tokens and chunk_tokens must be 1 or more")
        if not 0 <= self.most_waiting <= MOST_WAITING:
            raise SimulationError(f"most_waiting must be from 0 to {MOST_WAITING:,}")

    @classmethod
    def of_rates(
        cls,
        prefill_tps: float,
        decode_tps: float,
        slo: Slo,
        max_seqs: int,
        kv_tokens: int,
        most_waiting: int = 32,
    ) -> ServiceModel:
        """A replica of which only the rates within its promise are known, as a profile has them.

        How its steps grow is assumed: when it decodes at its rate, they take 0.8 of the promised
        time (random arrivals go above it at times), half of which one sequence alone would take.
        Prompts are read at their rate divided by 0.8, since a replica that read without a pause
        would let them wait for ever. `calibrated` scales such a model to a demand's lengths.

        Args:
            prefill_tps: Prompt tokens a second if it did nothing else.
            decode_tps: Output tokens a second if it did nothing else.
            slo: What was promised when that was measured.
            max_seqs: Requests that it computes at once, at most.
            kv_tokens: Tokens that its KV cache holds.
            most_waiting: Requests that it takes beyond those.

        Raises:
            SimulationError: A value is out of its range.
        """
        for name, rate in (("prefill_tps", prefill_tps), ("decode_tps", decode_tps)):
            if not 0 < rate < float("inf"):
                raise SimulationError(f"{name} must be a number of tokens a second above 0")
        if not 0 < slo.itl_s < float("inf") or not 1 <= max_seqs <= MOST_SEQS:
            raise SimulationError(
                f"the promised time between tokens must be above 0 and max_seqs 1 to {MOST_SEQS:,}"
            )
        full = min(float(max_seqs), max(1.0, decode_tps * _PROMISED * slo.itl_s))
        step_s = full / decode_tps
        growth = (1 - _ALONE) * np.arange(max_seqs + 1) / full
        return cls(
            itl_s=tuple((step_s * (_ALONE + growth)).tolist()),
            prefill_tokens=(1,),
            prefill_s=(_PROMISED / prefill_tps,),
            kv_tokens=kv_tokens,
            most_waiting=most_waiting,
        )

    @property
    def max_seqs(self) -> int:
        """Requests that it computes at once, at most."""
        return len(self.itl_s) - 1

    def prefill_times(self, prompt: Ints) -> Floats:
        """Seconds to read prompts, each alone.

        Args:
            prompt: Their lengths in tokens.
        """
        points, times = np.array(self.prefill_tokens, float), np.array(self.prefill_s)
        seconds: Floats = np.interp(prompt, points, times)
        per_token = times[-1] / points[-1]
        if len(points) > 1:
            per_token = (times[-1] - times[-2]) / (points[-1] - points[-2])
        seconds += np.maximum(0, prompt - points[-1]) * per_token
        return seconds

    def faster(self, factor: float) -> ServiceModel:
        """The same replica, so many times as fast.

        Args:
            factor: Above 0.

        Raises:
            SimulationError: The factor is not.
        """
        if not 0 < factor < float("inf"):
            raise SimulationError(f"a replica is some number above 0 times as fast, not {factor}")
        return replace(
            self,
            itl_s=tuple(each / factor for each in self.itl_s),
            prefill_s=tuple(each / factor for each in self.prefill_s),
        )


def profile(
    model: ServiceModel, prompt: Ints, output: Ints, slo: Slo, attainment: float, seed: int
) -> Capacity:
    """What a replica carries; see `engine_profile.profile`, which takes the compiled engine.

    Args:
        model: The replica.
        prompt: Prompt tokens of requests as they come.
        output: Output tokens of the same requests.
        slo: What is promised.
        attainment: Share of requests for which it is to be kept, such as 0.99.
        seed: Of the arrivals, and of the requests drawn.

    Raises:
        SimulationError: There are no requests, or the attainment is not between 0 and 1.
        Infeasible: The promise is not kept however few requests there are.
    """
    from autoscaling.simulator import engine_profile

    return engine_profile.profile(model, prompt, output, slo, attainment, seed)
