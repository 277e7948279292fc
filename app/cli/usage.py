"""``tidegate usage``: what was used, and what it cost."""

from typing import Annotated, Any

import typer

from app.cli import times
from app.cli.client import DEFAULT_URL, Key, Url, ask
from app.cli.show import AsJson, new_table, plain, print_json, print_tables

app = typer.Typer()

_SUMS = ("requests", "prompt_tokens", "output_tokens")


@app.command(
    epilog="""Examples:

    \b
      tidegate usage
      tidegate usage --by tenant,model --since 7d
      tidegate usage --by user --tenant acme --since 2027-01-01 --until 2027-02-01
      tidegate usage --by zone --interval hour --json"""
)
def usage(
    by: Annotated[
        str,
        typer.Option(
            help="What to sum by, with commas: tenant, user, model, pool, zone, route, "
            "size_class, tier, key, outcome."
        ),
    ] = "tenant",
    since: Annotated[str, typer.Option(help="From when: 24h, 7d, or a date (UTC).")] = "24h",
    until: Annotated[str | None, typer.Option(help="Up to when: as --since. [now]")] = None,
    interval: Annotated[str | None, typer.Option(help="A row for each hour or day.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most rows to show.")] = 1000,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Sum up what was used, the dearest first."""
    query = {
        "by": by,
        "since": times.ago(since, "--since"),
        "until": times.ago(until, "--until"),
        "interval": interval,
        "tenant": tenant,
        "user": user,
        "model": model,
        "limit": limit,
    }
    answer = ask(url, key, "GET", "usage", query=query)
    if as_json:
        print_json(answer)
    else:
        _print(answer, by.split(","))


def _print(answer: dict[str, Any], by: list[str]) -> None:
    rows: list[dict[str, Any]] = answer.get("rows", [])
    timed = any("start" in row for row in rows)
    table = new_table(
        f"Usage from {times.shown(answer.get('since'))} to {times.shown(answer.get('until'))} UTC",
        *(["from"] if timed else []),
        *(plain(name) for name in by),
    )
    for name in ("requests", "prompt tokens", "output tokens", "cost"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            *([times.shown(row.get("start"))] if timed else []),
            *(plain(str(row.get(name, "?"))) for name in by),
            *(f"{row.get(name, 0):,}" for name in _SUMS),
            times.dollars(row.get("micros", 0)),
        )
    if len(rows) > 1 and not answer.get("truncated"):
        table.add_section()
        table.add_row(
            *([""] if timed else []),
            *("all" if index == 0 else "" for index, _ in enumerate(by)),
            *(f"{sum(row.get(name, 0) for row in rows):,}" for name in _SUMS),
            times.dollars(sum(row.get("micros", 0) for row in rows)),
        )
    print_tables(table)
    if answer.get("truncated"):
        typer.secho("There are more rows: raise --limit, or narrow it down.", err=True, dim=True)
