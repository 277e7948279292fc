"""How the command prints: tables, JSON and failures."""

import json
import os
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def fail(message: str, *, code: int = 2) -> NoReturn:
    """Print why the command cannot go on, and end it with an exit code."""
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(code)


def print_json(document: object) -> None:
    """Print JSON to stdout, whatever the terminal."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def print_tables(*tables: "Table") -> None:
    """Print tables to stdout."""
    from rich.console import Console

    # Piped into a file, a table keeps its columns instead of being squeezed into 80.
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 160
    for table in tables:
        console.print(table)


def new_table(title: str, *columns: str) -> "Table":
    """An empty table in the command's style."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def plain(text: str) -> str:
    """Text from outside, which may hold what rich would take for markup."""
    from rich.markup import escape

    return escape(text)
