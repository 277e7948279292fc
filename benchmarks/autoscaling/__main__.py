"""The command: ``python -m benchmarks.autoscaling``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.errors import SimulationError
from benchmarks.autoscaling.arms import ARMS
from benchmarks.autoscaling.borrowed import forecast_table, speed_of, tick_table
from benchmarks.autoscaling.brackets import lines
from benchmarks.autoscaling.demand_store import prepare
from benchmarks.autoscaling.estimates import estimates, whole
from benchmarks.autoscaling.grid import FULL, REDUCED, SERIES, Cell, Plan
from benchmarks.autoscaling.one_run import Place, play
from benchmarks.autoscaling.playing import Failed, Player, pool_of, seconds_by_arm
from benchmarks.autoscaling.report import write
from benchmarks.autoscaling.run_log import Run, RunLog
from benchmarks.autoscaling.setup import SETUP, code_digest, terms_of
from benchmarks.autoscaling.stages import trials
from benchmarks.autoscaling.summary import summarise

_RESULTS = Path("benchmarks/results")


def main(
    traces: Annotated[Path, typer.Option(help="Directory of the shared traces.")] = Path(
        "../shared/traces"
    ),
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = _RESULTS,
    work: Annotated[
        Path, typer.Option(help="Directory for demand, fits and finished runs.")
    ] = Path("build/autoscaling"),
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 2,
    reduced: Annotated[bool, typer.Option(help="Fewer days, worlds and policies.")] = False,
    plan_only: Annotated[bool, typer.Option(help="Say what would be played, and end.")] = False,
    series: Annotated[str, typer.Option(help="Whose demand, by commas.")] = ",".join(SERIES),
    leads: Annotated[str, typer.Option(help="Lead times of main worlds in s, by commas.")] = "",
    sides: Annotated[bool, typer.Option(help="Whether other worlds are played.")] = True,
    alignments: Annotated[
        int | None, typer.Option(min=1, max=200, help="Of main policies in main worlds.")
    ] = None,
    other_alignments: Annotated[
        int | None, typer.Option(min=1, max=200, help="Of the other policies there.")
    ] = None,
    ablation_alignments: Annotated[
        int | None, typer.Option(min=1, max=200, help="Of ours with a part left out.")
    ] = None,
    side_alignments: Annotated[
        int | None, typer.Option(min=1, max=200, help="In other worlds.")
    ] = None,
    sweep_alignments: Annotated[
        int | None, typer.Option(min=1, max=200, help="Of frontiers.")
    ] = None,
    as_code: Annotated[
        str, typer.Option(help="Go on with the runs of this code, as the report calls it.")
    ] = "",
) -> None:
    """Plays every policy over two weeks of real demand and spot capacity, and writes the report.

    Stopped, it goes on where it was: finished runs are in the work directory.

    [b]Examples[/b]

      python -m benchmarks.autoscaling --reduced
      python -m benchmarks.autoscaling --alignments 40 --out /tmp/results
    """
    console = Console()
    counts = {
        "alignments": alignments,
        "other_alignments": other_alignments,
        "ablation_alignments": ablation_alignments,
        "side_alignments": side_alignments,
        "sweep_alignments": sweep_alignments,
    }
    changed: dict[str, Any] = {name: count for name, count in counts.items() if count is not None}
    if not sides:
        changed |= {"side_leads_s": (), "notices_s": (), "discounts": (), "injections": ()}
    try:
        if leads:
            changed["leads_s"] = tuple(float(lead) for lead in leads.split(","))
        plan = replace(REDUCED if reduced else FULL, series=tuple(series.split(",")), **changed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    days = {"tune": plan.tune_days, "test": plan.test_days}
    terms = terms_of(SETUP, days)
    if as_code:
        terms["code"] = as_code
    work.mkdir(parents=True, exist_ok=True)
    log = RunLog(work / "runs.jsonl", terms)
    _say_plan(console, plan, log, workers)
    if plan_only:
        return
    place = Place(traces.resolve(), work.resolve(), SETUP, tuple(days.items()), code_digest())
    try:
        facts = {}
        for name in plan.series:
            with console.status(f"demand of {name}"):
                facts[name] = prepare(traces, work, SETUP, name)
        document = _play(console, place, plan, log, workers)
    except (SimulationError, Failed) as error:
        console.print(f"[red]{type(error).__name__}[/red]: {error}", highlight=False)
        raise typer.Exit(1) from None
    document["about"] = _about(terms["code"], facts, reduced)
    document["demand"] = facts
    for part, found in (
        ("forecast", forecast_table(_RESULTS)),
        ("tick", tick_table(_RESULTS)),
        ("speed", speed_of(_RESULTS)),
    ):
        if found is not None:
            document[part] = found
    write(out, document)
    console.print(f"Results are in {out / 'autoscaling.md'}, .json and .png.")


def _say_plan(console: Console, plan: Plan, log: RunLog, workers: int) -> None:
    seconds = seconds_by_arm(log, plan)
    stages = estimates(plan, seconds)
    total = whole(stages)
    done = len(log)
    for one in (*stages, total):
        console.print(
            f"{one.stage:10} {one.runs:6,.0f} runs {one.seconds / workers / 60:6.1f} min",
            highlight=False,
        )
    left = max(0.0, total.seconds - sum(_spent(log))) / workers / 60
    console.print(
        f"About {total.runs:,.0f} runs, {done:,} of them done; some {left:,.0f} minutes are left "
        f"on {workers} cores, at {seconds['tidegate']:.1f} s a week of Tidegate's and "
        f"{seconds['static-peak']:.1f} s of a static fleet's. Fits come on top the first time.",
        highlight=False,
    )
    if log.others or log.broken:
        console.print(
            f"{log.others:,} runs in the log are of other code or settings, and {log.broken:,} "
            "lines cannot be read: they are left out.",
            highlight=False,
        )


def _spent(log: RunLog) -> Iterator[float]:
    return (run.seconds for run in log)


def _play(console: Console, place: Place, plan: Plan, log: RunLog, workers: int) -> dict[str, Any]:
    with (
        _bars(console) as progress,
        pool_of(workers) as pool,
    ):
        player = Player(partial(play, place), log, pool)
        with _bar(progress, "tuning", None) as advance:
            player.told = advance
            frozen = player.tune(plan)
        cells: list[Cell] = trials(plan, frozen)
        missing = sum(log.get(cell) is None for cell in cells)
        with _bar(progress, "test", missing) as advance:
            player.told = advance
            player.play(cells)
        with _bar(progress, "frontiers", None) as advance:
            player.told = advance
            player.bracket(lines(plan, frozen))
    return summarise(plan, frozen, log, SETUP.tensor_parallel)


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
        console=console,
    )


def _bar(
    progress: Progress, title: str, total: int | None
) -> AbstractContextManager[Callable[[Run], None]]:
    @contextmanager
    def bar() -> Iterator[Callable[[Run], None]]:
        task = progress.add_task(title, total=total, last="")

        def advance(run: Run) -> None:
            last = f"{ARMS[run.cell.arm].title}, {run.cell.world.series}: {run.seconds:.1f} s"
            progress.update(task, advance=1, last=last)

        yield advance
        progress.update(task, last="")

    return bar()


def _about(code: str, facts: dict[str, dict[str, Any]], reduced: bool) -> dict[str, Any]:
    demand = "; ".join(
        f"{name}: {one['clients']} clients, rates times {one['scale']:.4g}, so that the busiest "
        f"ten minutes of days 1 to 7 keep {SETUP.peak_replicas} replicas busy "
        f"({one['mean_replicas']:.1f} on average over 14 days, {one['busiest_replicas']:.1f} at "
        f"the most), {one['requests']:,} requests, lengths of {one['lengths']} up to "
        f"{SETUP.most_tokens:,} tokens ({one['mean_prompt']:.0f} and {one['mean_output']:.0f} on "
        f"average), {one['requests_per_s_a_replica']:.2f} requests/s a replica within the SLO"
        for name, one in facts.items()
    )
    slo = SETUP.slo
    return {
        "reduced": reduced,
        "arrivals": "alibaba/ServeGen language-m-large and language-m-small (Apache-2.0): rates "
        "and inter-arrival laws of each client, in windows of ten minutes, 14 days",
        "lengths": "Azure 2023 conversations (CC-BY-4.0) and Mooncake conversations (Apache-2.0): "
        "another source than the arrivals, drawn by request",
        "demand": demand,
        "a replica": f"{SETUP.model} on {SETUP.tensor_parallel} {SETUP.hardware}: latencies of "
        f"Mutinifni/splitwise-sim (MIT), {SETUP.max_seqs} sequences, {SETUP.kv_tokens:,} tokens "
        "of KV cache",
        "SLO": f"TTFT up to {slo.ttft_s:g} s and ITL up to {1000 * slo.itl_s:.0f} ms on average "
        "over an answer, both, of a request that is finished",
        "prices": f"${SETUP.price:g} an hour of a replica on demand, an assumption; a spot node "
        "costs the world's discount less, at all times and sites",
        "spot capacity": "a generator fitted to public availability probes (see "
        f"autoscaling-supply.md): 9 availability zones of {SETUP.zone_most} replicas at most",
        "seeds": f"demand {SETUP.demand_seed}, alignments from {SETUP.seed}",
        "constants": ", ".join(f"{name} {value}" for name, value in asdict(SETUP).items()
                               if isinstance(value, int | float)),
        "code": code,
        "command": "make bench-autoscaling" + (" ARGS=--reduced" if reduced else ""),
    }  # fmt: skip


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.autoscaling")
