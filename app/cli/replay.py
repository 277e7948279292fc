"""``tidegate replay``: what demand would have cost, and how its requests would have fared."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import times
from app.cli.show import AsJson, fail, plain, print_json, print_tables

if TYPE_CHECKING:
    from app.cli.replaying.run import Replay
    from app.config import FleetConfig

app = typer.Typer()

Tell = Callable[[str, float | None], None]
_JSON = "replay.json"


@app.command(
    epilog="""Examples:

    \b
      tidegate replay examples/demand.csv --most 4
      tidegate replay demand.csv --config serve_config.gpu.yaml --zone private --learn 7d
      tidegate replay --store sqlite:///.tidegate/tidegate.db --since 14d --out replay
      tidegate replay demand.csv --policy serve-tuned --policy skyserve --json"""
)
def replay(
    demand: Annotated[
        Path | None,
        typer.Argument(
            metavar="DEMAND.csv",
            help="CSV with the columns time, tenant, prompt_tokens and output_tokens.",
        ),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help="Take the demand from this store, as `store.url` names it.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Of the store: from when, such as 14d or a date (UTC).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Of the store: up to when. [now]")] = None,
    config: Annotated[Path, typer.Option(dir_okay=False, help="Serve file of the fleet.")] = Path(
        "serve_config.yaml"
    ),
    zone: Annotated[
        str | None, typer.Option(help="Zone of the CSV's requests. [the default zone]")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model of the CSV's requests. [the only one of the zone]")
    ] = None,
    pool: Annotated[
        list[str] | None, typer.Option(help="Replay this pool; may be repeated. [all with demand]")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Who decides on replicas; may be repeated. A static fleet for the peak is always "
            "shown beside. [ours]"
        ),
    ] = None,
    most: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="Most replicas in each market. [as configured]"),
    ] = None,
    lead: Annotated[
        float | None,
        typer.Option(
            min=0, max=86_400, help="Seconds that a replica takes to be ready. [as configured]"
        ),
    ] = None,
    notice: Annotated[
        float, typer.Option(min=0, max=3_600, help="Seconds from a notice to the loss of a node.")
    ] = 120.0,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHERE=DOLLARS",
            help="Dollars an hour of one node: WHERE is on-demand, spot or an availability zone; "
            "may be repeated. [as configured]",
        ),
    ] = None,
    spot_trace: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Where spot nodes were to be had, as bamboo or SpotServe record it. [generated]",
        ),
    ] = None,
    spot_trace_unit: Annotated[
        str, typer.Option(help="Unit of such a trace's times: hours, seconds or milliseconds.")
    ] = "",
    learn: Annotated[
        str, typer.Option(help="How much of the beginning is known beforehand, such as 7d.")
    ] = "0s",
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 1,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Directory for replay.json and the pictures.")
    ] = Path("replay"),
    as_json: AsJson = False,
) -> None:
    """Replay demand under the configuration of a fleet, in simulated time.

    Prints what it would have cost and how requests would have fared, under the configuration's
    planner and with a static fleet for the peak, and draws both. Nothing runs, nothing is changed.
    """
    from app.cli.replaying import inputs, run
    from app.cli.replaying.options import NotReplayable, Options
    from app.cli.replaying.policies import check_names
    from app.errors import SimulationError

    if (demand is None) == (store is None):
        fail("Give a CSV file or --store, one of the two.")
    if demand is not None and (since is not None or until is not None):
        fail("--since and --until are for --store; cut the CSV file instead.")
    if store is not None and (zone is not None or model is not None):
        fail("--zone and --model are for a CSV file; the store knows them of each request.")
    fleet = _fleet(config)
    options = Options(
        policies=tuple(dict.fromkeys([*(policy or ["ours"]), "static"])),
        pools=tuple(dict.fromkeys(pool or ())),
        lead_s=lead,
        notice_s=notice,
        seed=seed,
        most=most,
        learn_s=times.span(learn, "--learn"),
        prices=inputs.prices_of(price or []),
    )
    _try(out)
    try:
        check_names(options.policies)
        with _display() as tell:
            if demand is not None:
                found = inputs.from_file(demand, fleet, zone, model, tell)
            else:
                assert store is not None
                found = inputs.from_store(store, since, until, tell)
            trace = inputs.trace_of(spot_trace, spot_trace_unit)
            result = run.replay(found, fleet, options, str(config), trace, tell)
    except (NotReplayable, SimulationError) as error:
        fail(str(error), code=1)
    _show(result, out, as_json)


def _fleet(config: Path) -> "FleetConfig":
    from app.config import load_config
    from app.errors import ConfigError

    try:
        return load_config(config)
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror or error}")
    except ConfigError as error:
        fail(f"{config}: {error}")


def _try(directory: Path) -> None:
    """Fails now rather than after the last simulation."""
    file = directory / _JSON
    there = file.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file.open("a", encoding="utf-8").close()
        if not there:
            file.unlink()
    except OSError as error:
        fail(f"{directory} cannot be written to: {error.strerror or error}")


@contextlib.contextmanager
def _display() -> Iterator[Tell]:
    """A bar on stderr, to be told what is being done and which share of it is."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn

    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        "{task.description}",
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("", total=None)

        def tell(what: str, share: float | None) -> None:
            total = None if share is None else 1.0
            progress.update(task, description=plain(what), total=total, completed=share or 0.0)

        yield tell


def _show(result: "Replay", out: Path, as_json: bool) -> None:
    from app.cli.replaying.picture import draw
    from app.cli.replaying.told import document, tables

    whole = document(result)
    files = [out / _JSON, *(out / f"{name}.png" for name in result.pools)]
    try:
        files[0].write_text(json.dumps(whole, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        for file, (name, pool) in zip(files[1:], result.pools.items(), strict=True):
            draw(name, pool, result.demand.start, file)
    except OSError as error:
        fail(f"{out} cannot be written to: {error.strerror or error}")
    if as_json:
        print_json(whole)
    else:
        print_tables(*tables(result))
    for note in result.notes:
        typer.secho(f"Note: {note}", err=True, fg="yellow")
    typer.secho(f"Written: {', '.join(map(str, files))}", err=True, dim=True)
