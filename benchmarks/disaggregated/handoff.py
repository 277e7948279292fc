"""The hand-off: whether answers are those of an undivided engine, and how long it takes.

Every prompt is handed over (`handoff_from: 0`). First prompts of all lengths at some concurrency,
compared token for token with vLLM's own engine in one process; what decode engines computed of them
themselves is read from their status. Then prompts of a few lengths, one at a time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.asks import Ask, ask_of, log_uniform
from benchmarks.disaggregated.client import Answer, fetch, read
from benchmarks.disaggregated.compare import compare
from benchmarks.disaggregated.configs import Args, disaggregated_pool, handing_over
from benchmarks.disaggregated.load import streams
from benchmarks.disaggregated.reference import Reference, reference_answers
from benchmarks.disaggregated.service import Cluster, Service, started
from benchmarks.gateway.load import run_async
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.stats import quantiles

__all__ = ["Settings", "equality", "measure"]

_LISTED = 20
_COUNTERS = ("prompt_tokens_computed", "prompt_tokens_cached", "prompt_tokens_transferred")
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of it.

    Attributes:
        prompts: how many are compared.
        lengths: the shortest and the longest of them; as likely 10 to 100 as 100 to 1,000.
        sizes: the lengths whose hand-off is timed.
        times: how often each.
    """

    prompts: int = 200
    lengths: tuple[int, int] = (10, 8000)
    output_tokens: int = 32
    concurrency: int = 16
    sizes: tuple[int, ...] = (100, 1000, 8000)
    times: int = 20
    timed_output_tokens: int = 4
    seed: int = 4


def measure(args: Args, model: Path, settings: Settings, step: Callable[[str], None]) -> Report:
    """Runs both.

    Args:
        args: Tidegate's configuration; its first disaggregated pool is taken.
        model: directory of the model.
        settings: how much.
        step: told what is being done.

    Returns:
        Plain data for the report.
    """
    rng = random.Random(settings.seed)
    maker = PromptMaker(model)
    asks = [
        ask_of(maker, rng, log_uniform(rng, *settings.lengths), settings.output_tokens)
        for _ in range(settings.prompts)
    ]
    pool = disaggregated_pool(args)
    step(f"{len(asks)} answers of an undivided engine")
    expected = reference_answers(Reference.of(pool["engine"], model), asks)
    with started(handing_over(args), model, step) as (service, cluster):
        # What only the first of all requests pays is not measured.
        for size in settings.sizes:
            run_async(_each(service, maker, rng, size, 1, settings))
        step(f"{len(asks)} answers of the disaggregated pool")
        failed = _handoffs(cluster, pool["name"])["failed"]
        before = _counters(cluster, pool["name"])
        replies = run_async(streams(service, enumerate(asks), settings.concurrency))
        after = _counters(cluster, pool["name"])
        answers = [(number, read(reply)) for number, reply in replies]
        failed, since = _handoffs(cluster, pool["name"])["failed"], failed
        report: Report = {
            "settings": asdict(settings),
            "equality": equality(answers, expected)
            | {
                "prompt_tokens": sum(len(a.prompt) for a in asks),
                "decode": _since(before, after),
                "handoffs_failed": failed - since,
            },
        }
        report["times"] = {
            str(size): _timed(service, cluster, pool["name"], maker, rng, size, settings, step)
            for size in settings.sizes
        }
        report["timed"] = {
            "decode": _since(after, _counters(cluster, pool["name"])),
            "handoffs_failed": _handoffs(cluster, pool["name"])["failed"] - failed,
        }
    return report


def equality(
    answers: Sequence[tuple[int, Answer]], expected: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """How many answers are not those expected, and the first few that are not.

    Args:
        answers: with the number of what was asked.
        expected: the tokens of each answer, by number.
    """
    failed = [answer.error for _, answer in answers if answer.error]
    unequal = [
        f"{len(answer.ask.prompt)} tokens: {difference}"
        for number, answer in answers
        if not answer.error and (difference := compare(expected[number], answer.tokens)) is not None
    ]
    return {
        "prompts": len(answers),
        "failed": len(failed),
        "unequal": len(unequal),
        "problems": [*failed, *unequal][:_LISTED],
        "ttft_ms": quantiles([a.ttft for _, a in answers if a.reads], 1e3),
    }


def _counters(cluster: Cluster, pool: str) -> dict[str, int]:
    """What the decode engines have done with prompts so far."""
    statuses = [cluster.engine(name) for name in cluster.engines(f"{pool}--decode--")]
    return {name: sum(int(status[name]) for status in statuses) for name in _COUNTERS}


def _since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in _COUNTERS}


def _handoffs(cluster: Cluster, pool: str) -> dict[str, Any]:
    told: dict[str, Any] = cluster.gateway()["handoffs"][pool]
    return told


async def _each(
    service: Service,
    maker: PromptMaker,
    rng: random.Random,
    size: int,
    count: int,
    settings: Settings,
) -> list[Answer]:
    asks: list[Ask] = [ask_of(maker, rng, size, settings.timed_output_tokens) for _ in range(count)]
    return [read(await fetch(service.target, ask, service.headers)) for ask in asks]


def _timed(
    service: Service,
    cluster: Cluster,
    pool: str,
    maker: PromptMaker,
    rng: random.Random,
    size: int,
    settings: Settings,
    step: Callable[[str], None],
) -> dict[str, Any]:
    """One prompt at a time: what the gateway says its hand-off took, and the time to its token."""
    took: list[float] = []
    waits: list[float] = []
    errors: list[str] = []
    step(f"{settings.times} hand-offs of {size:,} tokens")
    for _ in range(settings.times):
        count = _handoffs(cluster, pool)["count"]
        (answer,) = run_async(_each(service, maker, rng, size, 1, settings))
        told = _handoffs(cluster, pool)
        if answer.error:
            errors.append(answer.error)
            continue
        waits.append(answer.ttft)
        if told["count"] == count + 1:
            took.append(float(told["last_s"]))
    return {
        "handoffs": len(took),
        "errors": errors[:_LISTED],
        "handoff_ms": quantiles(took, 1e3),
        "ttft_ms": quantiles(waits, 1e3),
        "handoff_ms_samples": [round(each * 1e3, 2) for each in took],
    }
