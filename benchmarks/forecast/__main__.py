"""The command: ``python -m benchmarks.forecast``."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, Queue
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.forecast.measures import measure
from benchmarks.forecast.replay import Replayed, read, replay
from benchmarks.forecast.report import markdown, write

_SERIES = ("m-large", "m-small")
_HOUR_BINS = 6


def main(
    traces: Annotated[Path, typer.Option(help="Directory with servegen/total_rate_*.csv.")] = Path(
        "../shared/traces"
    ),
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    workers: Annotated[int, typer.Option(min=1, help="Series that are played at a time.")] = 2,
    show: Annotated[bool, typer.Option(help="Print the tables as well.")] = False,
) -> None:
    """Forecasts two weeks of real demand, bin by bin, and judges days 8 to 14.

    [b]Examples[/b]

      python -m benchmarks.forecast
      python -m benchmarks.forecast --traces /data/traces --out /tmp/results --show
    """
    console = Console()
    missing = [name for name in _SERIES if not (traces / "servegen" / _file(name)).is_file()]
    if missing:
        where = traces / "servegen" / _file(missing[0])
        raise typer.BadParameter(f"{where} is not there: say where the traces are with --traces")
    context = multiprocessing.get_context("spawn")
    with (
        context.Manager() as manager,
        ProcessPoolExecutor(workers, context) as pool,
        Progress(console=console) as progress,
    ):
        said: Queue[str] = manager.Queue()
        bars = {
            name: progress.add_task(name, total=len(read(traces, name)) - 1) for name in _SERIES
        }
        runs = [pool.submit(replay, traces, name, said) for name in _SERIES]
        _follow(runs, said, progress, bars)
        results = [run.result() for run in runs]
    document = {
        "about": _about(traces),
        "hourly": {one.name: measure(one, _HOUR_BINS) for one in results},
        "all": {one.name: measure(one, 1) for one in results},
        "times": _times(results),
    }
    write(out, document)
    if show:
        console.print(markdown(document), markup=False, highlight=False)
    console.print(f"Results are in {out / 'forecast.md'}, .json and .png.")


def _file(name: str) -> str:
    return f"total_rate_language-{name}.csv"


def _follow(
    runs: Iterable[Future[Replayed]], said: Queue[str], progress: Progress, bars: dict[str, Any]
) -> None:
    while not all(run.done() for run in runs) or not said.empty():
        try:
            progress.advance(bars[said.get(timeout=0.5)])
        except Empty:
            continue


def _times(results: Iterable[Replayed]) -> dict[str, Any]:
    every: dict[str, list[float]] = {}
    for one in results:
        every.setdefault("taking a bin", []).extend(one.update_seconds)
        for model, seconds in one.fit_seconds.items():
            every.setdefault(f"a fit of {model}", []).extend(seconds)
    return {
        name: {
            "median_s": float(np.median(seconds)),
            "longest_s": max(seconds),
            "count": len(seconds),
        }
        for name, seconds in every.items()
    }


def _about(traces: Path) -> dict[str, str]:
    return {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "demand": "alibaba/ServeGen language-m-large and language-m-small (Apache-2.0), requests/s "
        "of all clients in bins of 10 minutes, 14 days; 37 bins of m-small that are exactly 0 are "
        "gaps and are neither known nor judged",
        "what runs": "the SeriesForecaster of production, `step_s: 600`, otherwise with its "
        "defaults, fed bin by bin from the first day; Prophet is fitted each 6 hours, ETS and "
        "Theta each 10 minutes, always to what was known then",
        "horizons": "the bins that end 10, 30 and 60 minutes after the last known one",
        "tuned": "on days 1 to 7 alone, judged on 3 to 7: Prophet's seasonal order (4), how its "
        "residual fades (12 hours) and is smoothed (5 minutes), sharpness (6) and half-life (144 "
        "bins) of weights, what errors are relative to (demand plus its mean), window (512), rate "
        "(0.008) and widening in turbulence (0.8 over the root of the steps) of the calibration",
        "command": f"python -m benchmarks.forecast --traces {traces}",
    }


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.forecast")
