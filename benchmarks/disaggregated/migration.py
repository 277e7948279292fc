"""Migration: streams over two replicas, one of which is killed, or drained and then killed.

The same asks are first answered undisturbed. Then streams are kept open while a replica dies; it
dies again as soon as Serve has replaced it. Every answer is compared with the undisturbed one.

The pause that a client sees is the gap between the two tokens around the death. The gateway says
how many streams it moved then; theirs are the longest of the gaps that all open streams had.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.disaggregated.asks import Ask, ask_of
from benchmarks.disaggregated.client import Answer, Reply, read
from benchmarks.disaggregated.compare import compare, gap_over, gaps, longest_gap
from benchmarks.disaggregated.configs import PAIR, Args, pair_of_replicas
from benchmarks.disaggregated.load import endless, streams
from benchmarks.disaggregated.service import Cluster, Service, started, until
from benchmarks.gateway.load import run_async
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.stats import quantiles

__all__ = ["Blow", "Settings", "measure", "pauses", "verdicts"]

_REPLACED_S = 180.0
_NOTICED_S = 30.0
_LISTED = 20
_FAIL = "fail"
_SETTLE_S = 1.0
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """How much of it.

    Attributes:
        prompts: different asks; with fewer streams than these before the last death, more are sent.
        blows: deaths by SIGKILL, and as many drains.
        concurrency: streams open at a time.
        output_tokens: the least and the most tokens of an answer.
        notice_s: how long before its death a replica is told to drain.
        ahead_s: how long both replicas serve before one is struck.
    """

    prompts: int = 200
    blows: int = 4
    concurrency: int = 16
    prompt_tokens: tuple[int, int] = (16, 400)
    output_tokens: tuple[int, int] = (64, 200)
    notice_s: float = 1.0
    ahead_s: float = 2.0
    seed: int = 4


@dataclass(frozen=True, slots=True)
class Blow:
    """What befell a replica; times of ``time.perf_counter``.

    Attributes:
        began: it was told to drain, or killed.
        killed: it was killed.
        moves: streams that the gateway took elsewhere, by the way it did.
        whole_after_s: seconds from its death until both replicas were ready again.
    """

    deployment: str
    began: float
    killed: float
    moves: dict[str, int]
    whole_after_s: float

    @property
    def moved(self) -> int:
        """Streams that went on."""
        return sum(count for way, count in self.moves.items() if way != _FAIL)


def measure(args: Args, model: Path, settings: Settings, step: Callable[[str], None]) -> Report:
    """Runs it.

    Args:
        args: Tidegate's configuration; its first pool of the default zone is taken.
        model: directory of the model.
        settings: how much.
        step: told what is being done.

    Returns:
        Plain data for the report.
    """
    rng = random.Random(settings.seed)
    maker = PromptMaker(model)
    asks = [
        ask_of(
            maker, rng, rng.randint(*settings.prompt_tokens), rng.randint(*settings.output_tokens)
        )
        for _ in range(settings.prompts)
    ]
    with started(pair_of_replicas(args), model, step) as (service, cluster):
        victims = cluster.engines(f"{PAIR}--")
        step(f"{len(asks)} streams, undisturbed")
        calm = run_async(streams(service, enumerate(asks), settings.concurrency))
        calm_answers = {number: read(reply) for number, reply in calm}
        bad = [answer.error for answer in calm_answers.values() if answer.error]
        if bad:
            raise RuntimeError(f"{len(bad)} undisturbed streams failed, the first: {bad[0]}")
        report: Report = {
            "settings": asdict(settings),
            "calm_gap_ms": quantiles(
                [g for a in calm_answers.values() for g in gaps(a.reads)], 1e3
            ),
        }
        for arm in ("killed", "drained"):
            scene = _Scene(service, cluster, settings, arm, victims)
            blows, replies = run_async(scene.play(asks, step))
            answers = [(number, read(reply)) for number, reply in replies]
            report[arm] = {
                **verdicts(answers, {n: a.tokens for n, a in calm_answers.items()}),
                **pauses([answer for _, answer in answers], blows),
                "moves": dict(sum((Counter(blow.moves) for blow in blows), Counter())),
                "blows": [asdict(blow) for blow in blows],
            }
    return report


class _Scene:
    """Streams, and somebody who strikes."""

    def __init__(
        self,
        service: Service,
        cluster: Cluster,
        settings: Settings,
        arm: str,
        victims: Sequence[str],
    ) -> None:
        self._service = service
        self._cluster = cluster
        self._settings = settings
        self._arm = arm
        self._notice_s = settings.notice_s if arm == "drained" else 0.0
        self._victims = victims

    async def play(
        self, asks: Sequence[Ask], step: Callable[[str], None]
    ) -> tuple[list[Blow], list[tuple[int, Reply]]]:
        stop = asyncio.Event()
        replies: list[tuple[int, Reply]] = []
        load = asyncio.create_task(
            streams(self._service, endless(asks, stop), self._settings.concurrency, replies)
        )
        blows: list[Blow] = []
        try:
            for number in range(self._settings.blows):
                step(f"{self._arm} {number + 1} of {self._settings.blows}, after {len(replies)}")
                await asyncio.sleep(self._settings.ahead_s)
                victim = self._victims[number % len(self._victims)]
                blows.append(await asyncio.to_thread(self._strike, victim))
            await asyncio.sleep(_SETTLE_S)
            while len(replies) < self._settings.prompts:  # noqa: ASYNC110
                await asyncio.sleep(_SETTLE_S)
        finally:
            stop.set()
            await load
        return blows, replies

    def _strike(self, victim: str) -> Blow:
        """Kills a replica, after notice where it gets one, and waits until Serve has another."""
        cluster = self._cluster
        before = Counter(cluster.moves())
        (pid,) = cluster.pids(victim)
        began = time.perf_counter()
        if self._notice_s:
            cluster.drain(victim, self._notice_s)
            time.sleep(max(0.0, began + self._notice_s - time.perf_counter()))
        killed = cluster.kill(victim)
        until(lambda: pid not in cluster.pids(victim), _NOTICED_S)
        until(lambda: bool(cluster.pids(victim)) and self._service.ready(), _REPLACED_S)
        whole_after_s = time.perf_counter() - killed
        moves = Counter(cluster.moves()) - before
        # Without notice there is one moment, so that it is seen in one gap of each stream.
        return Blow(victim, began if self._notice_s else killed, killed, dict(moves), whole_after_s)


def verdicts(
    answers: Sequence[tuple[int, Answer]], expected: dict[int, list[int]]
) -> dict[str, Any]:
    """Counts of what went wrong, each stream at most once, and the first few of each kind.

    Args:
        answers: with the number of what was asked.
        expected: the tokens of the undisturbed answer by that number.
    """
    broken: list[str] = []
    unequal: list[str] = []
    doubled: list[str] = []
    miscounted: list[str] = []
    for number, answer in answers:
        if answer.error:
            broken.append(answer.error)
            continue
        difference = compare(expected[number], answer.tokens)
        if difference is not None:
            (doubled if difference.doubled else unequal).append(str(difference))
        elif answer.usage != len(answer.tokens):
            miscounted.append(f"{answer.usage} in usage, {len(answer.tokens)} came")
    return {
        "streams": len(answers),
        "broken": len(broken),
        "unequal": len(unequal),
        "doubled": len(doubled),
        "miscounted": len(miscounted),
        "problems": [*broken, *unequal, *doubled, *miscounted][:_LISTED],
    }


def pauses(answers: Sequence[Answer], blows: Sequence[Blow]) -> dict[str, Any]:
    """The pauses of the streams that were moved; one that broke has none."""
    seen: list[float] = []
    others: list[float] = []
    for blow in blows:
        found = []
        for answer in answers:
            if answer.error:
                continue
            if blow.killed > blow.began:
                gap = longest_gap(answer.reads, blow.began, blow.killed)
            else:
                gap = gap_over(answer.reads, blow.killed)
            if gap is not None:
                found.append(gap)
        found.sort(reverse=True)
        seen += found[: blow.moved]
        others += found[blow.moved :]
    return {
        "pause_ms": quantiles(seen, 1e3) | {"max": max(seen, default=float("nan")) * 1e3},
        "pauses": len(seen),
        "others_gap_ms": quantiles(others, 1e3),
        "pause_ms_samples": [round(gap * 1e3, 1) for gap in seen],
    }
