"""What is compared: requests, a service model out of measurements, and figures of two sides.

Latencies of both sides go into the simulator's histograms, so that quantiles mean the same.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from app.errors import SimulationError
from autoscaling.simulator.histogram import Histogram
from autoscaling.simulator.perf_tables import splitwise
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Floats, Ints, Requests, Slo

if TYPE_CHECKING:
    from autoscaling.simulator.engine import Engines

PROMPTS = (32, 1024)
OUTPUTS = (32, 512)
"""Tokens, least and most. The logarithm of a length is even within that."""
MAX_SEQS = 8
KV_TOKENS = 16_384
CHUNK_TOKENS = 512
"""Of the engine, as in serve_config.yaml."""
MOST_WAITING = 65_536
"""All may wait in the engine: nothing stands in front of it."""
PROMISES = (1.5, 2.0, 3.0)
"""Thresholds, as multiples of what the longest prompt and a step take alone."""
_COLUMNS = (
    "model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size",
    "prompt_time", "token_time",
)  # fmt: skip
_FOR_EVER = 1e6
_TICK_S = 0.005
_NOBODY = Requests(np.zeros(0), np.zeros(0, np.int32), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Step:
    """Sequences that were begun together, alone on the engine."""

    prompt: int
    """Tokens of each prompt."""
    batch: int
    """How many sequences."""
    prompt_s: float
    """Seconds to the first token of the last of them."""
    token_s: float
    """Seconds of a step in which all of them decode."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What is compared; times in seconds."""

    requests: int
    ttft_p50: float
    ttft_p95: float
    itl_p50: float
    """Of requests' mean times between tokens."""
    itl_p95: float
    kept: tuple[float, ...]
    """Share of requests within each promise."""


TIMES = ("ttft_p50", "ttft_p95", "itl_p50", "itl_p95")


def lengths(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
    """Prompt and output tokens: all lengths evenly (a Latin hypercube), in random order.

    Args:
        rng: Draws.
        count: How many.
    """
    columns = []
    for least, most in (PROMPTS, OUTPUTS):
        share = (rng.permutation(count) + rng.random(count)) / count
        columns.append(np.rint(least * (most / least) ** share).astype(np.int32))
    return columns[0], columns[1]


def arrivals(seed: Sequence[int], rate: float, seconds: float) -> Requests:
    """Poisson arrivals of requests of such lengths.

    Args:
        seed: Of everything.
        rate: Requests a second.
        seconds: For how long.
    """
    rng = np.random.default_rng(list(seed))
    count = int(rng.poisson(rate * seconds))
    return Requests(np.sort(rng.random(count)) * seconds, *lengths(rng, count))


def backlog(seed: Sequence[int], count: int) -> Requests:
    """Requests of such lengths that all come at once.

    Args:
        seed: Of the lengths.
        count: How many.
    """
    return Requests(np.zeros(count), *lengths(np.random.default_rng(list(seed)), count))


def service_model(steps: Iterable[Step]) -> ServiceModel:
    """What was measured, made into service times by what reads the published tables.

    Args:
        steps: The measurements.

    Raises:
        TraceInvalid: A time cannot be.
        SimulationError: There are not enough of them.
    """
    lines = io.StringIO()
    table = csv.writer(lines)
    table.writerow(_COLUMNS)
    for each in steps:
        times = (1e3 * each.prompt_s, 1e3 * each.token_s)
        table.writerow(("engine", "here", 1, each.prompt, each.batch, 1, *times))
    return splitwise(
        lines.getvalue().splitlines(),
        model="engine",
        hardware="here",
        tensor_parallel=1,
        kv_tokens=KV_TOKENS,
        max_seqs=MAX_SEQS,
        most_waiting=MOST_WAITING,
        chunk_tokens=CHUNK_TOKENS,
    )


def promises(model: ServiceModel) -> tuple[Slo, ...]:
    """The thresholds of `PROMISES`, in seconds.

    Args:
        model: The engine alone.
    """
    longest = float(model.prefill_times(np.array([PROMPTS[1]], np.int32))[0])
    return tuple(Slo(times * longest, times * model.itl_s[1]) for times in PROMISES)


def measured(ttft: Floats, itl: Floats, slos: Sequence[Slo]) -> Figures:
    """Figures of requests that were played.

    Args:
        ttft: Seconds to the first token.
        itl: Mean seconds between the tokens of the same requests.
        slos: The promises.

    Raises:
        ValueError: There are no requests.
    """
    if not len(ttft) or len(ttft) != len(itl):
        raise ValueError("figures are of as many first tokens as answers, 1 or more")
    kept = [float(np.mean((ttft <= slo.ttft_s) & (itl <= slo.itl_s))) for slo in slos]
    return _figures(Histogram.of(ttft), Histogram.of(itl), kept)


def simulated(
    model: ServiceModel, requests: Requests, slos: Sequence[Slo]
) -> tuple[Figures, Histogram, Histogram]:
    """Figures of the same requests in the simulator's engine, with TTFT and ITL themselves.

    Args:
        model: The engine.
        requests: What arrives.
        slos: The promises.

    Raises:
        SimulationError: There are no requests, or some were refused.
    """
    kept = []
    for slo in slos:
        engines = _engine(model, slo)
        engines.run(requests, _FOR_EVER)
        tally = engines.tally()
        if not tally.finished or tally.finished < len(requests):
            raise SimulationError(f"{tally.finished:,} of {len(requests):,} requests were finished")
        kept.append(tally.met / tally.finished)
    return _figures(tally.ttft, tally.itl, kept), tally.ttft, tally.itl


def ends(model: ServiceModel, requests: Requests) -> Floats:
    """When the simulator's engine has finished its first request, its second, and so on.

    Args:
        model: The engine.
        requests: What arrives at 0 s.

    Raises:
        SimulationError: Some were refused.
    """
    engines = _engine(model, Slo(1.0, 1.0))
    found: list[float] = []
    now = _TICK_S
    engines.run(requests, now)
    while (finished := engines.tally(latencies=False).finished) < len(requests):
        if now > _FOR_EVER * _TICK_S:
            raise SimulationError(f"{finished:,} of {len(requests):,} requests were finished")
        found += [now] * (finished - len(found))
        now += _TICK_S
        engines.run(_NOBODY, now)
    return np.array(found + [now] * (len(requests) - len(found)))


def carried(ended: Floats, max_seqs: int = MAX_SEQS) -> float:
    """Requests a second of a backlog, while every place is taken.

    Args:
        ended: When requests ended, in any order.
        max_seqs: Places: as many are under way at the first end that counts as at the last.

    Raises:
        ValueError: There are too few, or they ended all at once.
    """
    order = np.sort(ended)
    if len(order) < 3 * max_seqs:
        raise ValueError(f"a backlog needs {3 * max_seqs} requests or more, not {len(order)}")
    first, last = order[max_seqs - 1], order[-max_seqs - 1]
    if last <= first:
        raise ValueError("requests ended all at once")
    return float((len(order) - 2 * max_seqs) / (last - first))


def errors(model: Figures, engine: Figures) -> dict[str, float | list[float]]:
    """Times of the simulator against measured ones (0.1 is a tenth too long), and shares less them.

    Args:
        model: Of the simulator.
        engine: Of the real engine.
    """
    said, real = asdict(model), asdict(engine)
    found: dict[str, float | list[float]] = {
        name: float(said[name] / real[name] - 1) for name in TIMES
    }
    found["kept"] = [a - b for a, b in zip(model.kept, engine.kept, strict=True)]
    return found


def spread(rounds: Sequence[Figures]) -> dict[str, float] | None:
    """How far the engine is from itself: largest time over the least, less 1; None for one round.

    Args:
        rounds: The same requests, played again.
    """
    if len(rounds) < 2:
        return None
    by_name = {name: [asdict(each)[name] for each in rounds] for name in TIMES}
    return {name: max(values) / min(values) - 1 for name, values in by_name.items()}


def grows(steps: Sequence[Step], batch: int) -> list[tuple[int, float]]:
    """Seconds of a step by prompt length, with one number of sequences.

    Args:
        steps: The measurements.
        batch: How many sequences.

    Raises:
        ValueError: A length was measured twice.
    """
    found = sorted((each.prompt, each.token_s) for each in steps if each.batch == batch)
    if any(one[0] == other[0] for one, other in pairwise(found)):
        raise ValueError("a length was measured twice: take the median first")
    return found


def _engine(model: ServiceModel, slo: Slo) -> Engines:
    # Late: as it starts, vLLM looks at all that has been imported, and stumbles over numba's parts.
    from autoscaling.simulator.engine import Engines

    engines = Engines(model, 1, slo, patience_s=_FOR_EVER, seed=0)
    engines.add(0.0)
    return engines


def _figures(ttft: Histogram, itl: Histogram, kept: Sequence[float]) -> Figures:
    return Figures(
        requests=ttft.count,
        ttft_p50=ttft.quantile(0.5),
        ttft_p95=ttft.quantile(0.95),
        itl_p50=itl.quantile(0.5),
        itl_p95=itl.quantile(0.95),
        kept=tuple(kept),
    )
