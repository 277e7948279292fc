"""Every replica of a busy pool replaced in turn: what the clients see of it.

::

    python -m benchmarks.weights.recycling --out benchmarks/results

A steady load runs against a pool of two. After a while both come of age and are replaced, one after
the other, on the machine that also serves and makes the load. Requests that began before the first
replacement did are held against those that began while it went on.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.disaggregated.asks import Ask, ask_of
from benchmarks.disaggregated.client import Answer, read
from benchmarks.disaggregated.configs import read as read_args
from benchmarks.disaggregated.load import at_times
from benchmarks.disaggregated.service import authenticate, started
from benchmarks.gateway.prompts import PromptMaker
from benchmarks.gateway.stats import quantiles
from benchmarks.weights.service import DEPLOYMENT, counts, one_pool

REPLICAS = 2
PROMPT_TOKENS, OUTPUT_TOKENS = 64, 48
_LOOK_S = 0.5


def main(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path("serve_config.yaml"),
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 3.0,
    calm: Annotated[float, typer.Option(help="Seconds of load before replicas are due.")] = 60.0,
    age: Annotated[float, typer.Option(help="Seconds after which a replica is due.")] = 120.0,
    most: Annotated[float, typer.Option(help="Most seconds of load.")] = 300.0,
) -> None:
    """Replace all replicas of a pool under load, and say what was lost and what it cost.

    [b]Example[/b]

      python -m benchmarks.weights.recycling --rate 3
    """
    authenticate()
    markets = {"min_replicas": REPLICAS, "max_replicas": REPLICAS}
    terms = {"age_s": age, "jitter": 0.0, "drain_s": 30.0, "fragmentation": 0.9}
    args = one_pool(read_args(config), markets, terms)
    model = Path(args["models"][0]["source"])
    maker, rng = PromptMaker(model), random.Random(5)
    asks = [ask_of(maker, rng, PROMPT_TOKENS, OUTPUT_TOKENS) for _ in range(round(rate * most))]
    with started(args, model, print) as (service, cluster):
        began = time.perf_counter()
        answers: list[Answer] = []
        plan = [(number / rate, ask) for number, ask in enumerate(asks)]
        stop = threading.Event()
        load = threading.Thread(target=_run, args=(service, plan, began, stop, answers))
        load.start()
        first = last = None
        before = set(cluster.pids(DEPLOYMENT))
        while load.is_alive():
            now, state = time.perf_counter() - began, counts()
            if first is None and state["recycling"]:
                first = now
                print(f"{now:.0f} s: the first replacement begins")
            gone = not before & set(cluster.pids(DEPLOYMENT))
            if last is None and first is not None and gone and state["recycled"] >= REPLICAS:
                last = now
                print(f"{now:.0f} s: all have been replaced")
                stop.set()
            time.sleep(_LOOK_S)
        load.join()
        final = counts()
    if first is None or last is None:
        raise SystemExit(f"not all were replaced within {most:g} s: {final}")
    report = _report(answers, began, calm, first, last) | {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": (
            f"python -m benchmarks.weights.recycling --rate {rate:g} --calm {calm:g} --age {age:g}"
        ),
        "replicas": REPLICAS,
        "counts": {name: final[name] for name in ("recycled", "woken", "put_off", "lost")},
    }
    _write(out, report)
    raise typer.Exit(1 if report["failed"] else 0)


def _run(
    service: Any,
    plan: list[tuple[float, Ask]],
    began: float,
    stop: threading.Event,
    answers: list[Answer],
) -> None:
    async def all_of_it() -> None:
        tasks: list[asyncio.Task[Any]] = []
        for at, ask in plan:
            if stop.is_set():
                break
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            now = time.perf_counter() - began
            tasks.append(asyncio.create_task(at_times(service, [(now, ask)], began)))
        for replies in await asyncio.gather(*tasks):
            answers.extend(read(reply) for reply in replies)

    asyncio.run(all_of_it())


def _report(
    answers: list[Answer], began: float, calm: float, first: float, last: float
) -> dict[str, Any]:
    sent = {id(answer): answer.sent - began for answer in answers}
    before = [each for each in answers if 5.0 <= sent[id(each)] < min(calm, first)]
    during = [each for each in answers if first <= sent[id(each)] <= last]
    return {
        "requests": len(answers),
        "failed": sum(bool(answer.error) for answer in answers),
        "problems": sorted({answer.error for answer in answers if answer.error})[:10],
        "took_s": round(last - first, 1),
        "before": _phase(before),
        "during": _phase(during),
    }


def _phase(answers: list[Answer]) -> dict[str, Any]:
    whole = [answer for answer in answers if not answer.error]
    return {
        "requests": len(answers),
        "failed": len(answers) - len(whole),
        "ttft_ms": quantiles([answer.ttft for answer in whole if answer.reads], 1e3),
        "total_ms": quantiles([answer.ended - answer.sent for answer in whole], 1e3),
    }


def _write(out: Path, report: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights-recycling.json").write_text(json.dumps(report, indent=2) + "\n")
    summary = (
        f"{report['replicas']} replicas, {report['requests']} requests, {report['failed']} failed. "
        f"Replacing all of them took {report['took_s']} s, on two cores that serve, make the load "
        "and start the fresh replicas."
    )
    lines = [
        "# Recycling every replica of a busy pool",
        "",
        f"Taken {report['taken']}: `{report['command']}`",
        "",
        summary,
        "",
        "| requests that began | count | failed | TTFT p50 | p99 | whole p50 | p99 (ms) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in ("before", "during"):
        phase = report[name]
        figures = [phase["ttft_ms"]["p50"], phase["ttft_ms"]["p99"]]
        figures += [phase["total_ms"]["p50"], phase["total_ms"]["p99"]]
        cells = " | ".join(f"{figure:,.0f}" for figure in figures)
        lines.append(f"| {name} | {phase['requests']} | {phase['failed']} | {cells} |")
    (out / "weights-recycling.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.weights.recycling")
