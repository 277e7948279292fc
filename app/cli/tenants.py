"""``tidegate tenant`` and ``tidegate user``: who pays and who asks."""

from typing import Annotated

import typer

from app.cli import times
from app.cli.client import DEFAULT_URL, Key, Url, ask, pages, part
from app.cli.show import AsJson, new_table, plain, print_json, print_tables

app = typer.Typer(
    help="Tenants: who pays.",
    epilog="""Examples:

    \b
      tidegate tenant create acme --weight 2
      tidegate tenant list""",
    no_args_is_help=True,
)
users = typer.Typer(
    help="A tenant's users.",
    epilog="""Examples:

    \b
      tidegate user list acme
      tidegate user forget acme ada""",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(help="Name of the tenant.")]
User = Annotated[str, typer.Argument(help="Name of the user.")]
Weight = Annotated[float, typer.Option(help="Share of a busy engine, against others' weights.")]
Most = Annotated[int, typer.Option("--limit", min=1, help="Most to show.")]


@app.command(
    epilog="""Examples:

    \b
      tidegate tenant create acme
      tidegate tenant create acme --weight 2"""
)
def create(
    tenant: Tenant,
    weight: Weight = 1.0,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant; `key create` does so too."""
    answer = ask(url, key, "POST", "tenants", body={"tenant": tenant, "weight": weight})
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{tenant} is made, with weight {answer.get('weight'):g}.")


@app.command(
    "list",
    epilog="""Example:

    \b
      tidegate tenant list""",
)
def list_(
    limit: Most = 1000, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """List tenants."""
    tenants = pages(url, key, "tenants", "tenants", {}, limit)
    if as_json:
        print_json({"tenants": tenants})
        return
    table = new_table("Tenants", "tenant", "weight", "since")
    for tenant in tenants:
        table.add_row(
            plain(tenant.get("tenant", "?")),
            f"{tenant.get('weight', 1):g}",
            times.shown(tenant.get("created_at")),
        )
    print_tables(table)


@app.command(
    epilog="""Example:

    \b
      tidegate tenant set acme --weight 3"""
)
def set(  # noqa: A001 - the command line's name for it
    tenant: Tenant,
    weight: Weight,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Change a tenant's share of busy engines."""
    answer = ask(url, key, "PUT", f"tenants/{part(tenant)}", body={"weight": weight})
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{tenant} has weight {answer.get('weight'):g}.")


@users.command(
    "create",
    epilog="""Example:

    \b
      tidegate user create acme ada""",
)
def create_user(
    tenant: Tenant, user: User, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """Make a user before it has a key; `key create` does so too."""
    answer = ask(url, key, "POST", f"tenants/{part(tenant)}/users", body={"user": user})
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{user} of {tenant} is made.")


@users.command(
    "list",
    epilog="""Example:

    \b
      tidegate user list acme""",
)
def list_users(
    tenant: Tenant,
    limit: Most = 1000,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List a tenant's users, with the pseudonyms that the audit log has for them."""
    found = pages(url, key, f"tenants/{part(tenant)}/users", "users", {}, limit)
    if as_json:
        print_json({"users": found})
        return
    table = new_table(f"Users of {plain(tenant)}", "user", "pseudonym", "since")
    for user in found:
        table.add_row(
            plain(user.get("user", "?")),
            plain(user.get("subject", "?")),
            times.shown(user.get("created_at")),
        )
    print_tables(table)


@users.command(
    epilog="""Examples:

    \b
      tidegate user forget acme ada
      tidegate user forget acme ada --yes"""
)
def forget(
    tenant: Tenant,
    user: User,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Delete a user's personal data: the name, and the keys.

    Usage and the audit log keep a pseudonym that leads to nobody. There is no way back.
    """
    if not yes:
        typer.confirm(f"Forget {user} of {tenant}, and revoke all keys?", abort=True, err=True)
    answer = ask(url, key, "DELETE", f"tenants/{part(tenant)}/users/{part(user)}")
    if as_json:
        print_json(answer)
    else:
        revoked = len(answer.get("keys_revoked", ()))
        typer.echo(f"Forgotten; {revoked} key{'' if revoked == 1 else 's'} revoked.")
