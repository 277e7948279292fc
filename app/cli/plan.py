"""``tidegate plan``: what a fleet should be, before it is bought."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli.show import AsJson, fail, plain, print_json, print_tables

if TYPE_CHECKING:
    from app.cli.planning.reading import Recorded
    from app.errors import ConfigError
    from autoscaling.optimizer.advice import Advice
    from autoscaling.optimizer.terms import FleetProfile

app = typer.Typer()


@app.command(
    epilog="""Examples:

    \b
      tidegate plan examples/fleet-profile.yaml
      tidegate plan profile.yaml --out plan/
      tidegate plan profile.yaml --demand requests.csv --json | jq .plan.pools"""
)
def plan(
    profile: Annotated[
        Path, typer.Argument(dir_okay=False, help="Demand, GPUs, engines and prices, as YAML.")
    ],
    demand: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Recorded requests (CSV of time, tenant, prompt_tokens, output_tokens), for the "
            "streams that have no `sizes`.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Directory for plan.json and plan.png."),
    ] = None,
    latencies: Annotated[
        int, typer.Option(min=3, max=100, help="Latencies on the frontier, at most.")
    ] = 9,
    as_json: AsJson = False,
) -> None:
    """Find the cheapest fleet for a demand profile, and what it would cost otherwise.

    Chooses GPU types, operating points, markets, replicas, and which streams share a pool. Shows
    cost against latency and isolation, what each step of isolation costs, what a point of
    utilisation is worth, and where a hosted API is cheaper.
    """
    from app.cli.planning import document, tables
    from app.errors import Infeasible, SimulationError
    from autoscaling.optimizer.advice import advise

    fleet, remarks = _fleet(profile, demand)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"{out} cannot be written: {error.strerror or error}")
    try:
        with _display() as tell:
            advice = advise(fleet, latencies, tell)
    except Infeasible as error:
        fail(f"{profile} cannot be met: {error}.", code=1)
    except SimulationError as error:
        fail(f"{profile}: {error}.", code=1)
    remarks += tables.notes(advice)
    found = document.document(advice, remarks)
    if out is not None:
        _write(out, found, advice)
    if as_json:
        print_json(found)
        return
    print_tables(*tables.all_tables(advice, fleet))
    for sentence in tables.sentences(advice):
        typer.echo(sentence)
    for remark in remarks:
        typer.secho(f"Note: {remark}.", err=True, fg="yellow")
    if out is not None:
        typer.echo(f"Written: {out / 'plan.json'} and {out / 'plan.png'}.")


def _write(out: Path, found: object, advice: "Advice") -> None:
    from app.cli.planning.picture import draw

    try:
        text = json.dumps(found, indent=2, ensure_ascii=False)
        (out / "plan.json").write_text(text + "\n", encoding="utf-8")
        draw(advice, out / "plan.png")
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror or error}")


def _fleet(profile: Path, demand: Path | None) -> "tuple[FleetProfile, list[str]]":
    """What to plan for, and what is to be known of it."""
    from app.cli.planning.profile_file import parse_profile
    from app.cli.planning.reading import fleet_profile
    from app.errors import ConfigError

    try:
        file = parse_profile(profile.read_bytes())
        recorded, remarks = (None, []) if demand is None else _recorded(demand)
        return fleet_profile(file, recorded), remarks
    except OSError as error:
        fail(f"{profile} cannot be read: {error.strerror or error}")
    except ConfigError as error:
        _fail_invalid(profile, error)


def _recorded(demand: Path) -> "tuple[Recorded, list[str]]":
    from app.errors import SimulationError
    from autoscaling.optimizer.recorded import recorded_work
    from autoscaling.simulator.demand.own import read_demand

    try:
        with demand.open(encoding="utf-8-sig", newline="") as lines:
            workload = read_demand(lines, str(demand))
        return recorded_work(workload, str(demand)), list(workload.notes)
    except OSError as error:
        fail(f"{demand} cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"{demand} is not UTF-8: save it as CSV in UTF-8")
    except SimulationError as error:
        fail(f"{error}.", code=1)


def _fail_invalid(profile: Path, error: "ConfigError") -> NoReturn:
    count = len(error.issues)
    typer.secho(f"{profile}: {count} error{'s' if count > 1 else ''}", err=True, fg="red")
    for issue in error.issues:
        typer.echo(f"  {typer.style(issue.path, bold=True)}: {issue.message}", err=True)
    raise typer.Exit(1)


@contextlib.contextmanager
def _display() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, to be told what is being done and how much of it is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TimeElapsedColumn(),
        "{task.description}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=1.0)

        def tell(what: str, share: float) -> None:
            progress.update(task, description=plain(what), completed=share)

        yield tell
