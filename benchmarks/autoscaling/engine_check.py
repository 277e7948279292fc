"""The simulator's engine beside a real one: ``python -m benchmarks.autoscaling.engine_check``.

A vLLM engine with the scheduler of production runs in this process and takes requests over its
stream. Its steps are measured one batch at a time and made into service times; then requests that
it has not seen arrive at random, in real time, and in the simulator.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

# vLLM reads these when it is imported, so every import of it is inside functions.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    OMP_NUM_THREADS="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_LOGGING_LEVEL=os.environ.get("VLLM_LOGGING_LEVEL", "CRITICAL"),
    TOKENIZERS_PARALLELISM="false",
)

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from autoscaling.simulator.histogram import Histogram
from autoscaling.simulator.terms import Requests
from benchmarks.autoscaling import engine_check_compare as compare
from benchmarks.autoscaling.engine_check_report import markdown, write

if TYPE_CHECKING:
    from benchmarks.isolation.engine import Answer, LoneEngine

_LOADS = (0.30, 0.60, 0.85)
_ALONE = (32, 64, 128, 256, 512, 1024)
"""Prompts that are read alone."""
_USUAL = 256
"""The prompt length at which every batch size is measured: about the mean of what is replayed."""
_BATCHES = (1, 2, 3, 4, 6, 8)
_OTHERS = (64, 1024)
"""Lengths at which only a full batch is measured, to see what length does."""
_STEPS = 48
_LONGER = 24
_BACKLOG = 72
_SHARES = tuple(round(0.02 * step, 2) for step in range(1, 50))
_TENANT = "check"
Tell = Callable[[str], None]


def main(
    seconds: Annotated[float, typer.Option(min=1, help="Of each load and round.")] = 36.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often the same requests come.")] = 2,
    repeats: Annotated[int, typer.Option(min=1, help="Of each step that is measured.")] = 5,
    warm_up: Annotated[bool, typer.Option(help="Compute every size of a step once first.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, lengths and tokens.")] = 1,
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    render: Annotated[
        Path | None, typer.Option(help="Measure nothing: page and picture of this JSON again.")
    ] = None,
) -> None:
    """Checks the simulator's service times against a real vLLM engine on this machine.

    About five and a half minutes, in which nothing else should run.

    [b]Examples[/b]

      python -m benchmarks.autoscaling.engine_check
      python -m benchmarks.autoscaling.engine_check --seconds 5 --rounds 1 --out /tmp/results
      python -m benchmarks.autoscaling.engine_check --render benchmarks/results/autoscaling-engine-check.json
    """  # noqa: E501 - a command is one line
    console = Console(stderr=True)
    if render is not None:
        document = json.loads(render.read_text())
    else:
        document = _measured(console, seconds, rounds, repeats, seed, warm_up=warm_up)
    paths = write(out, document)
    Console().print(markdown(document), markup=False, highlight=False, soft_wrap=True)
    console.print("written: " + ", ".join(str(path) for path in paths))


def _measured(
    console: Console, seconds: float, rounds: int, repeats: int, seed: int, *, warm_up: bool
) -> dict[str, Any]:
    parts = ("{task.description}", BarColumn(), TimeElapsedColumn())
    columns = [TextColumn(part) if isinstance(part, str) else part for part in parts]
    # Drawing takes the engine's interpreter for a moment: once a second is enough.
    with Progress(*columns, console=console, refresh_per_second=1) as progress:
        turns = 4 + rounds * len(_LOADS)
        task = progress.add_task("starting the engine", total=turns)

        def tell(what: str) -> None:
            progress.update(task, description=what, advance=1)

        from benchmarks.isolation.engine import LoneEngine

        with LoneEngine() as engine:
            check = _Check(engine, seed)
            if warm_up:
                tell("warming up")
                check.warm_up()
            tell("measuring steps")
            steps = check.steps(repeats)
            tell("measuring a backlog")
            found = check.compared(steps, seconds, rounds, tell)
            tell("done")
    return {"about": _about(seconds, rounds, repeats, seed, warm_up=warm_up)} | found


class _Check:
    """One engine and what is asked of it.

    Args:
        engine: That runs.
        seed: Of all draws.
    """

    def __init__(self, engine: LoneEngine, seed: int) -> None:
        self._engine = engine
        self._seed = seed
        self._tokens = np.random.default_rng([seed, 0])

    def warm_up(self) -> None:
        """Steps of a size that is new take longer, once."""
        for size in range(1, compare.CHUNK_TOKENS + 1):
            self._send(self._prompt(size), 1).wait()

    def steps(self, repeats: int) -> list[compare.Step]:
        """Measures steps; each is the median of its repeats.

        Args:
            repeats: How often.
        """
        grid = [(prompt, 1) for prompt in _ALONE]
        grid += [(_USUAL, batch) for batch in _BATCHES if batch > 1]
        grid += [(prompt, _BATCHES[-1]) for prompt in _OTHERS]
        # The first of each is dropped; repeats are far apart, so that a noisy moment hits few.
        turns = [[self._step(*cell) for cell in grid] for _ in range(repeats + 1)][1:]
        found = []
        for place, (prompt, batch) in enumerate(grid):
            times = [turn[place] for turn in turns]
            found.append(
                compare.Step(
                    prompt,
                    batch,
                    median(each.prompt_s for each in times),
                    median(each.token_s for each in times),
                )
            )
        return found

    def _step(self, prompt: int, batch: int) -> compare.Step:
        prompts = [self._prompt(prompt) for _ in range(batch)]
        # Who begins last ends first: all of its tokens but the first come while all decode.
        longer = _LONGER if batch > 1 else 0
        sent = [self._send(each, _STEPS + longer) for each in prompts[:-1]]
        sent.append(self._send(prompts[-1], _STEPS))
        last = [answer.wait() for answer in sent][-1]
        return compare.Step(prompt, batch, last.ttft, _itl(last))

    def compared(
        self, steps: list[compare.Step], seconds: float, rounds: int, tell: Tell
    ) -> dict[str, Any]:
        """Replays what is held out, and simulates it.

        Args:
            steps: What was measured.
            seconds: Of each load and round.
            rounds: How often the same requests come.
            tell: Is told what begins.
        """
        model = compare.service_model(steps)
        slos = compare.promises(model)
        batch = compare.backlog([self._seed, 1], _BACKLOG)
        answers, _ = self._play(batch)
        carried = compare.carried(np.array([_ended(each) for each in answers]))
        loads = [
            (share, compare.arrivals([self._seed, 2, place], share * carried, seconds))
            for place, share in enumerate(_LOADS)
        ]
        played: list[list[dict[str, Any]]] = [[] for _ in loads]
        for number in range(rounds):
            for place, (share, requests) in enumerate(loads):
                tell(f"{share:.0%} of what it carries, round {number + 1} of {rounds}")
                played[place].append(self._round(requests))
        return {
            "steps": [asdict(each) for each in steps],
            "lengths": {"prompt": compare.PROMPTS, "output": compare.OUTPUTS},
            "model": asdict(model),
            "full_batch_by_prompt": compare.grows(steps, _BATCHES[-1]),
            "promises": [asdict(slo) for slo in slos],
            "backlog": {
                "requests": _BACKLOG,
                "measured": carried,
                "simulated": compare.carried(compare.ends(model, batch)),
            },
            "loads": [
                _load(share, requests, each, model, slos)
                for (share, requests), each in zip(loads, played, strict=True)
            ],
        }

    def _round(self, requests: Requests) -> dict[str, Any]:
        from benchmarks.gateway.processes import busy_seconds

        wall, own, busy = time.perf_counter(), time.process_time(), busy_seconds()
        answers, late = self._play(requests)
        wall = time.perf_counter() - wall
        foreign = busy_seconds() - busy - (time.process_time() - own)
        return {
            "ttft_s": [answer.ttft for answer in answers],
            "itl_s": [_itl(answer) for answer in answers],
            "late_s": late,
            "foreign_cpu": max(0.0, foreign / wall),
        }

    def _play(self, requests: Requests) -> tuple[list[Answer], list[float]]:
        """Sends each when it is due; the answers, and how late each was sent."""
        prompts = [self._prompt(int(tokens)) for tokens in requests.prompt]
        begun = time.perf_counter()
        answers, late = [], []
        for at, prompt, output in zip(requests.arrival_s, prompts, requests.output, strict=True):
            if (wait := begun + float(at) - time.perf_counter()) > 0:
                time.sleep(wait)
            answers.append(self._send(prompt, int(output)))
            late.append(answers[-1].sent_at - begun - float(at))
        return [answer.wait() for answer in answers], late

    def _prompt(self, tokens: int) -> list[int]:
        """Tokens that no request had before, so that the prefix cache has none of them."""
        drawn: list[int] = self._tokens.integers(100, 1800, tokens).tolist()
        return drawn

    def _send(self, prompt: list[int], output: int) -> Answer:
        return self._engine.send(prompt, _TENANT, max_tokens=output)


def _load(
    share: float, requests: Requests, rounds: list[dict[str, Any]], model: Any, slos: Any
) -> dict[str, Any]:
    each = [
        compare.measured(np.array(one["ttft_s"]), np.array(one["itl_s"]), slos) for one in rounds
    ]
    ttft = np.concatenate([one["ttft_s"] for one in rounds])
    itl = np.concatenate([one["itl_s"] for one in rounds])
    engine = compare.measured(ttft, itl, slos)
    real_ttft, real_itl = Histogram.of(ttft), Histogram.of(itl)
    figures, said_ttft, said_itl = compare.simulated(model, requests, slos)
    return {
        "share": share,
        "rate": len(requests) / float(requests.arrival_s[-1]),
        "measured": asdict(engine),
        "simulated": asdict(figures),
        "errors": compare.errors(figures, engine),
        "spread": compare.spread(each),
        "quantiles": {
            "share": _SHARES,
            "ttft_measured": [real_ttft.quantile(at) for at in _SHARES],
            "ttft_simulated": [said_ttft.quantile(at) for at in _SHARES],
            "itl_measured": [real_itl.quantile(at) for at in _SHARES],
            "itl_simulated": [said_itl.quantile(at) for at in _SHARES],
        },
        "requests": {
            "arrival_s": [round(float(at), 6) for at in requests.arrival_s],
            "prompt": requests.prompt.tolist(),
            "output": requests.output.tolist(),
        },
        "rounds": [
            {
                name: [round(value, 6) for value in one[name]]
                for name in ("ttft_s", "itl_s", "late_s")
            }
            | {"foreign_cpu": round(one["foreign_cpu"], 3)}
            for one in rounds
        ],
    }


def _ended(answer: Answer) -> float:
    assert answer.ended_at is not None
    return answer.ended_at


def _itl(answer: Answer) -> float:
    assert answer.first_at is not None
    return (_ended(answer) - answer.first_at) / (len(answer.tokens) - 1)


def _about(
    seconds: float, rounds: int, repeats: int, seed: int, *, warm_up: bool
) -> dict[str, str]:
    from importlib.metadata import version

    arguments = " ".join(sys.argv[1:])
    return {
        "command": f"python -m benchmarks.autoscaling.engine_check {arguments}".strip(),
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "engine": f"vLLM {version('vllm-cpu')}, models/demo in float32, eager, one thread, 8 "
        "sequences, steps of 512 tokens, the scheduler of production, in the process of the load",
        "warm-up": "every size of a step once" if warm_up else "none",
        "measured": f"{repeats} repeats of a step; each load for {seconds:g} s, {rounds} times "
        "with the same arrivals and lengths and new tokens, all loads in turn",
        "seed": str(seed),
    }


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.autoscaling.engine_check")
