"""``tidegate key``: who may ask."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import times
from app.cli.client import DEFAULT_URL, Key, Url, ask, pages, part
from app.cli.show import AsJson, new_table, plain, print_json, print_tables

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(
    help="API keys: make, show, replace and withdraw them.",
    epilog="""Examples:

    \b
      export TIDEGATE_API_KEY=$(tidegate key create acme ada --zone private)
      tidegate key list --tenant acme
      tidegate key revoke 2b7qmx4tzr6kvhwd""",
    no_args_is_help=True,
)

KeyId = Annotated[str, typer.Argument(help="Id of the key, as `key list` shows it.")]


@app.command(
    epilog="""Examples:

    \b
      tidegate key create acme ada --zone private
      tidegate key create acme nightly --zone public --role batch --expires 90d
      tidegate key create acme boss --zone private --role operator --role developer --json"""
)
def create(
    tenant: Annotated[str, typer.Argument(help="Who pays; made if new.")],
    user: Annotated[str, typer.Argument(help="Who asks; made if new.")],
    zone: Annotated[str, typer.Option(help="The highest zone the key may ask for.")],
    role: Annotated[
        list[str] | None,
        typer.Option(help="admin, operator, developer or batch; may be repeated. [developer]"),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Model it may ask; may be repeated. [all]")
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(help="critical, standard or batch; may be repeated. [standard and batch]"),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90d, or a date. [never]")
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed to stdout this once, and stored nowhere."""
    body = {
        "tenant": tenant,
        "user": user,
        "zone": zone,
        "roles": role or None,
        "models": model or None,
        "tiers": tier or None,
        "expires_at": times.ahead(expires, "--expires"),
    }
    _print_new(ask(url, key, "POST", "keys", body=body), as_json=as_json)


@app.command(
    "list",
    epilog="""Examples:

    \b
      tidegate key list
      tidegate key list --tenant acme --user ada --revoked""",
)
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    revoked: Annotated[
        bool, typer.Option("--revoked", help="Also those that are revoked or expired.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most keys to show.")] = 1000,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List keys, without their secrets."""
    query = {"tenant": tenant, "user": user, "revoked": "true" if revoked else None}
    keys = pages(url, key, "keys", "keys", query, limit)
    if as_json:
        print_json({"keys": keys})
    else:
        print_tables(_table(keys))


@app.command(
    epilog="""Example:

    \b
      tidegate key show 2b7qmx4tzr6kvhwd"""
)
def show(
    id: KeyId,  # noqa: A002 - the command line's name for it
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show one key, without its secret."""
    answer = ask(url, key, "GET", f"keys/{part(id)}")
    if as_json:
        print_json(answer)
    else:
        print_tables(_table([answer]))


@app.command(
    epilog="""Example:

    \b
      tidegate key revoke 2b7qmx4tzr6kvhwd"""
)
def revoke(
    id: KeyId,  # noqa: A002 - the command line's name for it
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a key: within a second no gateway takes it any more."""
    answer = ask(url, key, "DELETE", f"keys/{part(id)}")
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{id} is revoked since {times.shown(answer.get('revoked_at'))}.")


@app.command(
    epilog="""Examples:

    \b
      tidegate key rotate 2b7qmx4tzr6kvhwd
      tidegate key rotate 2b7qmx4tzr6kvhwd --overlap 0s"""
)
def rotate(
    id: KeyId,  # noqa: A002 - the command line's name for it
    overlap: Annotated[str, typer.Option(help="For how long the old key still works.")] = "1h",
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key by one with the same rights and budgets.

    The new key is printed to stdout this once, and stored nowhere.
    """
    body = {"overlap_s": times.span(overlap, "--overlap")}
    _print_new(ask(url, key, "POST", f"keys/{part(id)}/rotate", body=body), as_json=as_json)


def _print_new(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    expires = answer.get("expires_at")
    ends = f"until {times.shown(expires)}" if expires else "until it is revoked"
    text = (
        f"key {answer.get('id')} of {answer.get('user')} ({answer.get('tenant')}), "
        f"zone {answer.get('zone')}, {ends}; shown this once:"
    )
    typer.secho(text, err=True, dim=True)
    if old := answer.get("replaces"):
        until = old.get("revoked_at") or old.get("expires_at")
        typer.secho(f"{old.get('id')} works until {times.shown(until)}", err=True, dim=True)
    typer.echo(answer.get("key"))


def _table(keys: list[dict[str, Any]]) -> "Table":
    table = new_table(
        "Keys", "id", "state", "tenant", "user", "zone", "roles", "models", "tiers", "expires"
    )
    for key in keys:
        models = key.get("models")
        table.add_row(
            plain(key.get("id", "?")),
            plain(key.get("state", "?")),
            plain(key.get("tenant", "?")),
            plain(key.get("user", "?")),
            plain(key.get("zone", "?")),
            plain(", ".join(key.get("roles", ()))),
            "all" if models is None else plain(", ".join(models)),
            plain(", ".join(key.get("tiers", ()))),
            times.shown(key.get("expires_at")),
        )
    return table
