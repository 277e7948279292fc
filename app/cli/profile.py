"""``tidegate profile``: what one replica of a pool carries within what the pool promises."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from app.cli.client import DEFAULT_URL, Key, Url, connect, fail_to_reach
from app.cli.show import fail, new_table, plain, print_tables

if TYPE_CHECKING:
    from rich.table import Table

    from app.cli.profiling.judge import Judgement
    from app.cli.profiling.result import Profile
    from app.cli.profiling.run import Profiler
    from app.config import FleetConfig

app = typer.Typer()


@app.command(
    epilog="""Examples:

    \b
      tidegate profile public-small
      tidegate profile llama-70b --config serve_config.gpu.yaml --url http://gateway.example:8000
      tidegate profile public-small --seconds 300 --out public-small.json"""
)
def profile(
    pool: Annotated[str, typer.Argument(help="Name of the pool.")],
    config: Annotated[
        Path, typer.Option(dir_okay=False, help="Serve file that the service runs with.")
    ] = Path("serve_config.yaml"),
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="About how long to measure.")
    ] = 90.0,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Length of prompts. [half of what its shortest class holds]"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="File to write everything to, as JSON.")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
) -> None:
    """Measure what one replica of a pool carries within the pool's `slo`.

    Puts as much load on the pool as it bears: whoever uses it meanwhile will feel it, and spoils
    the figures. Prints what to paste into the pool's configuration. Use the admin key, which has no
    limits.
    """
    from app.cli.profiling.prompts import UnfitPool, shapes
    from app.cli.profiling.run import Profiler

    fleet = _fleet(config)
    try:
        found = fleet.pool(pool)
        pair = shapes(found, prompt_tokens)
    except KeyError:
        _fail_to_find(fleet, pool, config)
    except UnfitPool as error:
        fail(str(error))
    if out is not None:
        _try_to_write(out)
    typer.secho(
        f"Pool {pool} gets as much load as it bears, for about {seconds:.0f} s.",
        err=True,
        fg="yellow",
    )
    with _display(seconds) as tell:
        profiler = Profiler(fleet, found, pair, seconds, tell)
        measured = _measured(profiler, url, key)
    _print(measured, config)
    if out is not None:
        out.write_text(json.dumps(measured.document(), indent=2) + "\n", encoding="utf-8")


def _measured(profiler: "Profiler", url: str, key: str | None) -> "Profile":
    import httpx

    from app.cli.profiling.replies import ServiceRefused
    from app.cli.profiling.run import NotMeasured
    from app.cli.profiling.terms import OutOfReach

    with connect(url, key) as plain_client:
        base_url, headers = plain_client.base_url, plain_client.headers

    async def run() -> "Profile":
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        timeout = httpx.Timeout(600.0, connect=5.0)
        async with httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=timeout, limits=limits
        ) as client:
            return await profiler.run(client)

    try:
        return asyncio.run(run())
    except ServiceRefused as error:
        if not error.reachable:
            fail_to_reach(url, error)
        fail(str(error), code=1)
    except (OutOfReach, NotMeasured) as error:
        fail(str(error), code=1)


def _fleet(config: Path) -> "FleetConfig":
    from app.config import load_config
    from app.errors import ConfigError

    try:
        return load_config(config)
    except OSError as error:
        fail(f"{config} cannot be read: {error.strerror or error}")
    except ConfigError as error:
        fail(f"{config}: {error}")


def _fail_to_find(fleet: "FleetConfig", name: str, config: Path) -> NoReturn:
    from app.config.explain import did_you_mean

    names = [pool.name for pool in fleet.pools]
    hint = did_you_mean(name, names) or f"its pools are {', '.join(names)}"
    fail(f"{config} has no pool {name!r}: {hint}")


def _try_to_write(file: Path) -> None:
    """Fails now rather than after a minute and a half."""
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def _display(seconds: float) -> Iterator[Callable[[str], None]]:
    """A bar of the time on stderr, to be told what is being done."""
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
        task = progress.add_task("", total=seconds)

        def tell(what: str) -> None:
            progress.update(task, description=plain(what), completed=progress.tasks[0].elapsed or 0)

        yield tell


def _print(measured: "Profile", config: Path) -> None:
    print_tables(_table(measured))
    for note in measured.notes:
        typer.secho(f"Note: {note}.", err=True, fg="yellow")
    typer.echo(f"# Under the pool {measured.pool} in {config}:\n{measured.yaml()}")


def _table(measured: "Profile") -> "Table":
    from app.cli.profiling.terms import Side

    slo = measured.slo
    table = new_table(
        f"One replica of {plain(measured.pool)}: {slo.attainment * 100:g} of 100 requests within "
        f"TTFT {slo.ttft_s:g} s and ITL {slo.itl_s:g} s",
        "side",
        "tokens/s",
        "requests/s",
        "TTFT",
        "ITL",
        "in time",
        "full batch, tokens/s",
        "too much, tokens/s",
        "replicas that shared it",
    )
    for side, result in measured.sides.items():
        carried, broke = result.carried, result.search.broke
        figure = measured.prefill if side is Side.PREFILL else measured.decode
        table.add_row(
            side.value,
            f"{figure:,g}",
            f"{carried.rate:.3g}",
            *_times(carried.judgement),
            f"{carried.judgement.in_time:.1%} of {carried.judgement.judged}",
            f"{result.search.most or 0:,.0f}",
            f"{broke.tokens_per_s:,.0f}" if broke else "-",
            str(result.replicas),
        )
    return table


def _times(judgement: "Judgement") -> tuple[str, str]:
    values = (judgement.ttft_s, judgement.itl_s)
    first, gap = ("-" if value is None else f"{value:.3g} s" for value in values)
    return first, gap
