"""The command: ``python -m benchmarks.admission``."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import structlog
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.admission.kill import kill as run_kill
from benchmarks.admission.latency import latency as run_latency
from benchmarks.admission.over import over as run_over
from benchmarks.admission.price import price as run_price
from benchmarks.admission.price import to_markdown
from benchmarks.admission.report import Goal, about, write

__all__ = ["app"]

_OUT = Path("benchmarks/results")
_MODEL = Path("models/demo")
_P50_MS, _P99_MS = 0.3, 2.0
T = TypeVar("T")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"max_content_width": 100},
    help=(
        "Measures admission: the ledger in a process of its own, over TCP, without engines; and "
        "the price of all of it on the whole service.\n\n"
        "Each command writes admission-*.json and .md, and ends with 1 if a goal is missed."
    ),
)
console = Console(log_path=False, soft_wrap=True, markup=False, highlight=False)

Out = Annotated[Path, typer.Option(help="Directory for the results.")]
Store = Annotated[
    str, typer.Option(help="An empty PostgreSQL database, as postgresql://USER@HOST/NAME.")
]


@app.command()
def over(
    out: Out = _OUT,
    store: Store = "",
    seconds: Annotated[float, typer.Option(help="How long.")] = 40.0,
    gateways: Annotated[int, typer.Option(min=1, help="How many gateways.")] = 4,
    factor: Annotated[float, typer.Option(help="Load, in multiples of the limit.")] = 10.0,
) -> None:
    """How many tokens several gateways let past a tenant's limit.

    [b]Example[/b]

      python -m benchmarks.admission over --seconds 60
    """
    result = _run(
        lambda folder, progress: run_over(
            folder,
            gateways=gateways,
            factor=factor,
            seconds=seconds,
            url=store or None,
            progress=progress,
        ),
        f"{gateways} gateways at {factor:g} times the limit",
    )
    past = max(0.0, result.past)
    goals = [
        Goal("tokens past the limit, in any window of time: 0", f"{past:.0f}", past <= 0),
        Goal("use of what the limit allows ≥ 0.9", f"{result.share:.2f}", result.share >= 0.9),
    ]
    _report(out, "admission-over", "Over-admission", _command("over", store), store, goals, result)


@app.command()
def kill(
    out: Out = _OUT,
    store: Store = "",
    kills: Annotated[int, typer.Option(min=1, help="How often.")] = 50,
    gateways: Annotated[int, typer.Option(min=1, help="How many gateways.")] = 4,
    per_second: Annotated[float, typer.Option(help="Requests of all gateways.")] = 200.0,
) -> None:
    """What is lost or counted twice when the ledger is killed (SIGKILL) under load.

    [b]Example[/b]

      python -m benchmarks.admission kill --kills 50
    """
    result = _run(
        lambda folder, progress: run_kill(
            folder,
            kills=kills,
            gateways=gateways,
            per_second=per_second,
            url=store or None,
            progress=progress,
        ),
        f"{kills} kills",
    )
    goals = [
        Goal("settlements lost: 0", f"{result.lost}", not result.lost),
        Goal("micro-dollars counted twice: 0", f"{result.twice}", not result.twice),
        Goal(
            "micro-dollars missing in budgets: 0",
            f"{result.missing_micros}",
            not result.missing_micros,
        ),
    ]
    _report(out, "admission-kill", "Ledger killed", _command("kill", store), store, goals, result)


@app.command()
def latency(
    out: Out = _OUT,
    store: Store = "",
    seconds: Annotated[float, typer.Option(help="How long.")] = 20.0,
    per_second: Annotated[float, typer.Option(help="Requests a second.")] = 300.0,
) -> None:
    """What reserve + settle costs at the gateway while keys are leased.

    [b]Example[/b]

      python -m benchmarks.admission latency --per-second 1000
    """
    result = _run(
        lambda folder, progress: run_latency(
            folder,
            seconds=seconds,
            per_second=per_second,
            url=store or None,
            progress=progress,
        ),
        f"{per_second:g} requests/s",
    )
    p50, p99 = result.leased["p50"], result.leased["p99"]
    goals = [
        Goal(f"reserve + settle p50 < {_P50_MS} ms", f"{p50:.3f} ms", p50 < _P50_MS),
        Goal(f"reserve + settle p99 < {_P99_MS} ms", f"{p99:.3f} ms", p99 < _P99_MS),
    ]
    _report(
        out,
        "admission-latency",
        "Reserve and settle",
        _command("latency", store),
        store,
        goals,
        result,
    )


@app.command()
def price(
    out: Out = _OUT,
    model: Annotated[Path, typer.Option(help="Directory of the demo model.")] = _MODEL,
    rounds: Annotated[int, typer.Option(min=1, help="Times each cell is measured per arm.")] = 5,
    seconds: Annotated[float, typer.Option(help="About so long a sample.")] = 2.0,
) -> None:
    """Requests/s of the whole service with keys, limits, store and audit, against without.

    [b]Example[/b]

      python -m benchmarks.admission price --rounds 7
    """
    # A shell starts background jobs with SIGINT ignored, and what is started would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with console.status("") as status:
        result = run_price(model, rounds, seconds, status.update)
    taken = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    facts = {
        "taken": f"{taken}, by `python -m benchmarks.admission price`",
        "machine": f"{os.cpu_count()} cores; the load runs on them too",
        "rounds": f"{rounds}, interleaved, about {seconds:g} s a sample",
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "admission-price.json").write_text(result.dump(facts))
    (out / "admission-price.md").write_text(to_markdown(result, facts))
    for outcome in result.outcomes:
        console.print(f"{outcome.verdict:>7}  {outcome.ratio:6.3f}  {outcome.goal.title}")
    console.print(f"written: admission-price.json, .md in {out}")


def _run(
    measure: Callable[[Path, Callable[[float], None]], Coroutine[Any, Any, T]], what: str
) -> T:
    # The ledger that is killed makes every gateway say so.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-admission-") as folder,
        Progress(*columns, TimeRemainingColumn(), console=console) as bar,
    ):
        task = bar.add_task(what, total=1.0)
        return uvloop.run(
            measure(Path(folder), lambda done: bar.update(task, completed=min(done, 1.0)))
        )


def _command(name: str, store: str) -> str:
    return f"python -m benchmarks.admission {name}" + (" --store URL" if store else "")


def _report(
    out: Path, stem: str, title: str, command: str, store: str, goals: list[Goal], result: Any
) -> None:
    name = "PostgreSQL" if store else "SQLite (WAL, synchronous=FULL)"
    stem += "-postgresql" if store else ""
    write(out, stem, title, about(command, name), goals, asdict(result))
    for goal in goals:
        console.print(f"{'met' if goal.met else 'MISSED':>7}  {goal.measured:>10}  {goal.title}")
    console.print(f"written: {stem}.json, .md in {out}")
    if not all(goal.met for goal in goals):
        raise typer.Exit(1)
