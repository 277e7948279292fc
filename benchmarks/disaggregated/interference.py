"""What running streams feel of long prompts: disaggregated against colocated engines.

One service has both: a disaggregated pool, and as many engine processes that prefill and decode
both, each in a zone of its own, so that a block of time goes to the one or the other. Streams with
short prompts run all the time; in every other block long prompts arrive beside them. The kinds of
blocks take turns at being first, so that a drift of the machine falls on all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.asks import Ask, ask_of
from benchmarks.disaggregated.client import Answer, read
from benchmarks.disaggregated.configs import COLOCATED, Args, beside_colocated
from benchmarks.disaggregated.load import at_times, endless, streams
from benchmarks.disaggregated.service import Service, started
from benchmarks.gateway.load import run_async
from benchmarks.gateway.processes import busy_seconds
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.stats import quantiles

__all__ = [
    "BLOCKS",
    "SPLIT",
    "Block",
    "Settings",
    "arrivals",
    "colocated_wins",
    "figures",
    "measure",
    "report_of",
]

SPLIT = "disaggregated"
_QUANTILES = ("p50", "p99")
_SHORT_ASKS = 64
_ALIKE = 0.05
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of it.

    Attributes:
        rounds: blocks of each kind.
        seconds: length of a block; its first `skip_s` do not count.
        running: streams with short prompts at a time.
        long_every_s: mean time between two long prompts, which come at random (Poisson).
    """

    rounds: int = 4
    seconds: float = 12.0
    skip_s: float = 1.5
    running: int = 8
    short_tokens: tuple[int, int] = (32, 96)
    output_tokens: int = 48
    long_tokens: int = 4000
    long_output_tokens: int = 8
    long_every_s: float = 2.0
    seed: int = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A kind of block: on which engines, and whether long prompts arrive."""

    engines: str
    long: bool

    @property
    def name(self) -> str:
        return f"{self.engines}, {'long prompts' if self.long else 'alone'}"


BLOCKS = tuple(Block(engines, long) for long in (False, True) for engines in (SPLIT, COLOCATED))


def measure(args: Args, model: Path, settings: Settings, step: Callable[[str], None]) -> Report:
    """Runs it.

    Args:
        args: Tidegate's configuration; its first disaggregated pool is taken.
        model: directory of the model.
        settings: how much.
        step: told what is being done.

    Returns:
        Plain data for the report.
    """
    both = beside_colocated(args)
    zones = {SPLIT: both["default_zone"], COLOCATED: COLOCATED}
    maker = PromptMaker(model)
    taken: dict[Block, list[dict[str, Any]]] = {block: [] for block in BLOCKS}
    with started(both, model, step) as (service, cluster):
        for engines, zone in zones.items():
            # Also teaches the gateway from where on a hand-off is worth it.
            step(f"warming {engines}")
            _run(service, maker, settings, Block(engines, long=True), zone, "warm")
        for number in range(settings.rounds):
            turn = number % len(BLOCKS)
            for block in BLOCKS[turn:] + BLOCKS[:turn]:
                step(f"round {number + 1} of {settings.rounds}: {block.name}")
                zone = zones[block.engines]
                taken[block].append(_run(service, maker, settings, block, zone, str(number)))
        handoffs = cluster.gateway().get("handoffs", {})
    return report_of(settings, taken, handoffs)


def report_of(
    settings: Settings,
    taken: Mapping[Block, Sequence[dict[str, Any]]],
    handoffs: Mapping[str, Any],
) -> Report:
    """Plain data for the report, of what was seen in the blocks of each kind."""
    report: Report = {
        "settings": asdict(settings),
        "blocks": {block.name: figures(samples) for block, samples in taken.items()},
        "handoffs": dict(handoffs),
        "samples": {
            block.name: {
                "itl_ms": [round(gap * 1e3, 2) for s in samples for gap in s["itl"]],
                "ttft_ms": [round(ttft * 1e3, 2) for s in samples for ttft in s["ttft"]],
            }
            for block, samples in taken.items()
        },
    }
    report["ratios"] = _ratios(report["blocks"])
    report["colocated_wins"] = colocated_wins(report["ratios"])
    return report


def arrivals(rng: random.Random, seconds: float, every_s: float) -> list[float]:
    """Random moments (Poisson) within so many seconds."""
    found = []
    at = rng.expovariate(1 / every_s)
    while at < seconds:
        found.append(at)
        at += rng.expovariate(1 / every_s)
    return found


def _run(
    service: Service,
    maker: PromptMaker,
    settings: Settings,
    block: Block,
    zone: str,
    seed: str,
) -> dict[str, Any]:
    """One block: what was seen in it after its first moments."""
    # The same asks at the same moments for either kind of engines.
    rng = random.Random(f"{settings.seed}/{seed}/{block.long}")
    short = [
        ask_of(maker, rng, rng.randint(*settings.short_tokens), settings.output_tokens, zone)
        for _ in range(_SHORT_ASKS)
    ]
    moments = arrivals(rng, settings.seconds, settings.long_every_s) if block.long else []
    plan = [
        (at, ask_of(maker, rng, settings.long_tokens, settings.long_output_tokens, zone))
        for at in moments
    ]
    began = time.perf_counter()
    busy, own = busy_seconds(), time.process_time()
    answers, long_answers = run_async(_load(service, settings, short, plan))
    cpu = busy_seconds() - busy - (time.process_time() - own)
    until = time.perf_counter()
    since = began + settings.skip_s
    end = began + settings.seconds
    return {
        "itl": [
            later - earlier
            for answer in answers
            for (earlier, _), (later, _) in pairwise(answer.reads)
            if since <= earlier and later <= end
        ],
        "ttft": [a.ttft for a in answers if a.reads and since <= a.sent <= end],
        "tokens_per_s": _tokens(answers, since, end) / (end - since),
        "long_ttft": [a.ttft for a in long_answers if a.reads],
        "errors": [a.error for a in (*answers, *long_answers) if a.error],
        "cores": cpu / (until - began),
    }


def _tokens(answers: Sequence[Answer], since: float, end: float) -> int:
    return sum(count for a in answers for when, count in a.reads if since <= when < end)


async def _load(
    service: Service,
    settings: Settings,
    short: Sequence[Ask],
    plan: Sequence[tuple[float, Ask]],
) -> tuple[list[Answer], list[Answer]]:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(settings.seconds, stop.set)
    running, arriving = await asyncio.gather(
        streams(service, endless(short, stop), settings.running), at_times(service, plan)
    )
    return [read(reply) for _, reply in running], [read(reply) for reply in arriving]


def figures(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one kind of block, over all of its rounds."""

    def pooled(name: str) -> list[float]:
        return [value for sample in samples for value in sample[name]]

    tokens = [sample["tokens_per_s"] for sample in samples]
    return {
        "itl_ms": quantiles(pooled("itl"), 1e3),
        "ttft_ms": quantiles(pooled("ttft"), 1e3),
        "long_ttft_ms": quantiles(pooled("long_ttft"), 1e3),
        "tokens_per_s": sum(tokens) / len(tokens),
        "cores": sum(sample["cores"] for sample in samples) / len(samples),
        "requests": len(pooled("ttft")),
        "long_prompts": len(pooled("long_ttft")),
        "errors": sum(len(sample["errors"]) for sample in samples),
        "problems": sorted({error for sample in samples for error in sample["errors"]})[:5],
        "itl_p99_by_round": [quantiles(sample["itl"], 1e3)["p99"] for sample in samples],
    }


def _ratios(blocks: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Disaggregated over colocated, of each figure, with long prompts and without."""
    found = {}
    for long in (True, False):
        split, whole = (blocks[Block(e, long).name] for e in (SPLIT, COLOCATED))
        ratios = {
            f"{name} {q}": split[name][q] / whole[name][q]
            for name in ("ttft_ms", "itl_ms", *(["long_ttft_ms"] if long else []))
            for q in _QUANTILES
        }
        ratios["tokens_per_s"] = split["tokens_per_s"] / whole["tokens_per_s"]
        found["long prompts" if long else "alone"] = ratios
    return found


def colocated_wins(ratios: dict[str, dict[str, float]]) -> list[str]:
    """The figures in which colocated engines do better by more than one in twenty."""
    return [
        f"{name}, {when}: {ratio:.2f} times colocated"
        for when, of in ratios.items()
        for name, ratio in of.items()
        if (ratio < 1 - _ALIKE if name == "tokens_per_s" else ratio > 1 + _ALIKE)
    ]
