"""``tidegate config``: what can be known about a configuration without a cluster."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.show import AsJson, fail, new_table, plain, print_json, print_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from app.config import FleetConfig, PoolConfig
    from app.errors import ConfigError

app = typer.Typer(
    help="Everything under `args:` in serve_config.yaml.",
    epilog="""Examples:

    \b
      tidegate config check serve_config.yaml
      tidegate config schema > schema.json""",
    no_args_is_help=True,
)


@app.command(
    epilog="""Examples:

    \b
      tidegate config check serve_config.yaml
      tidegate config check examples/*.yaml
      tidegate config check serve_config.yaml --json | jq .errors"""
)
def check(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Ray Serve files with Tidegate's application."),
    ],
    as_json: AsJson = False,
) -> None:
    """Validate configurations, without a cluster.

    Prints the models, zones and pools of each, or every mistake with its path and the way out. With
    `--json`, several files give a list.
    """
    reports = {str(file): _checked(file, as_json) for file in files}
    if as_json:
        several = [{"file": file} | report for file, report in reports.items()]
        print_json(several if len(files) > 1 else next(iter(reports.values())))
    if not all(report["valid"] for report in reports.values()):
        raise typer.Exit(1)


@app.command(
    epilog="""Example:

    \b
      tidegate config schema > schema.json"""
)
def schema() -> None:
    """Print the JSON schema of everything under `args:`."""
    from app.config import config_schema

    print_json(config_schema())


def _checked(file: Path, as_json: bool) -> dict[str, Any]:
    """What there is to say of one file; unless it is wanted as JSON, it is printed."""
    from app.config import load_config
    from app.errors import ConfigError

    try:
        fleet = load_config(file)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror or error}")
    except ConfigError as error:
        if not as_json:
            _print_issues(file, error)
        return {"valid": False, "errors": [issue._asdict() for issue in error.issues]}
    if as_json:
        return {"valid": True, "config": fleet.model_dump(mode="json")}
    print_tables(_models_table(fleet), _zones_table(fleet), _pools_table(fleet))
    typer.echo(f"{file} is valid.")
    return {"valid": True}


def _print_issues(file: Path, error: "ConfigError") -> None:
    count = len(error.issues)
    typer.secho(f"{file}: {count} error{'s' if count > 1 else ''}", err=True, fg="red")
    for issue in error.issues:
        typer.echo(f"  {typer.style(issue.path, bold=True)}: {issue.message}", err=True)


def _models_table(fleet: "FleetConfig") -> "Table":
    table = new_table("Models", "model", "source", "context", "tool calls")
    for model in fleet.models:
        table.add_row(
            plain(model.name),
            plain(model.source),
            f"{model.max_model_len:,}",
            plain(model.tool_call_parser or "-"),
        )
    return table


def _zones_table(fleet: "FleetConfig") -> "Table":
    table = new_table("Zones, lowest first", "zone", "isolation", "pools", "description")
    for name, zone in fleet.zones.items():
        table.add_row(
            f"{name} (default)" if name == fleet.default_zone else name,
            zone.isolation.value,
            ", ".join(pool.name for pool in fleet.pools if pool.zone == name),
            plain(zone.description),
        )
    return table


def _pools_table(fleet: "FleetConfig") -> "Table":
    table = new_table(
        "Pools", "pool", "model", "zone", "size classes", "context", "replicas", "each on"
    )
    for pool in fleet.pools:
        sides = [pool.side(role) for role in pool.roles]
        # Where there are two sides, each has one line.
        between = "\n" if len(sides) == 1 else ", "
        table.add_row(
            pool.name,
            plain(pool.model),
            pool.zone,
            ", ".join(pool.size_classes),
            f"{pool.engine.max_model_len:,}",
            "\n".join(between.join(_replicas(side)) for side in sides),
            "\n".join(
                plain(_each_on(side) if role == "whole" else f"{role}: {_each_on(side)}")
                for role, side in zip(pool.roles, sides, strict=True)
            ),
        )
    return table


def _replicas(pool: "PoolConfig") -> "Iterator[str]":
    for market, config in pool.markets.items():
        yield f"{market} {_range(config.min_replicas, config.max_replicas)}"


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _each_on(pool: "PoolConfig") -> str:
    engine, resources = pool.engine, pool.resources
    if resources.device == "gpu":
        what = f"{engine.world_size} {resources.accelerator_type or 'GPU'}"
    else:
        what = f"{resources.cpus:g} CPU"
    if engine.world_size > 1:
        what += f", TP {engine.tensor_parallel_size} x PP {engine.pipeline_parallel_size}"
    return what
