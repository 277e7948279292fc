"""``tidegate limit`` and ``tidegate budget``: how much may be used."""

from typing import Annotated, Any

import typer

from app.cli import times
from app.cli.client import DEFAULT_URL, Key, Url, ask
from app.cli.show import AsJson, new_table, plain, print_json, print_tables

app = typer.Typer(
    help="Limits of tokens and requests, where they differ from the configuration's.",
    epilog="""Examples:

    \b
      tidegate limit set acme tenant_tokens_per_minute 200000
      tidegate limit set acme user_tokens_per_minute 50000 --user ada
      tidegate limit list""",
    no_args_is_help=True,
)
budgets = typer.Typer(
    help="Budgets of money, where they differ from the configuration's.",
    epilog="""Examples:

    \b
      tidegate budget set acme month 500 --policy degrade
      tidegate budget set acme day 2.50 --of-key 2b7qmx4tzr6kvhwd
      tidegate budget list""",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(help="Name of the tenant.")]
OnlyTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's.")]
Rule = Annotated[
    str,
    typer.Argument(
        help="user_tokens_per_minute, user_tokens_per_hour, user_large_requests or "
        "tenant_tokens_per_minute."
    ),
]
User = Annotated[
    str | None, typer.Option(help="For this user; without it, for the tenant or all its users.")
]
Period = Annotated[str, typer.Argument(help="day or month, in UTC.")]
OfKey = Annotated[
    str | None, typer.Option("--of-key", help="For the key of this id; without it, the tenant.")
]


@app.command(
    "set",
    epilog="""Examples:

    \b
      tidegate limit set acme tenant_tokens_per_minute 200000
      tidegate limit set acme user_large_requests 4 --user ada""",
)
def set_(
    tenant: Tenant,
    rule: Rule,
    value: Annotated[int, typer.Argument(min=1, help="Tokens or requests.")],
    user: User = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set a limit of one tenant or user."""
    body = {"tenant": tenant, "user": user, "rule": rule, "value": value}
    answer = ask(url, key, "PUT", "limits", body=body)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{rule} of {_whose(tenant, user)} is {value:,}.")


@app.command(
    "list",
    epilog="""Example:

    \b
      tidegate limit list --tenant acme""",
)
def list_(
    tenant: OnlyTenant = None, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """List the configuration's limits, and those that are set in their place."""
    answer = ask(url, key, "GET", "limits", query={"tenant": tenant})
    if as_json:
        print_json(answer)
        return
    table = new_table("Limits", "tenant", "user", "rule", "value")
    for rule, value in answer.get("defaults", {}).items():
        table.add_row("all others", "", plain(rule), f"{value:,}")
    for row in answer.get("limits", ()):
        table.add_row(
            plain(row["tenant"]), plain(row["user"] or ""), plain(row["rule"]), f"{row['value']:,}"
        )
    print_tables(table)


@app.command(
    epilog="""Example:

    \b
      tidegate limit delete acme tenant_tokens_per_minute"""
)
def delete(
    tenant: Tenant,
    rule: Rule,
    user: User = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the configuration's limit."""
    query = {"tenant": tenant, "user": user, "rule": rule}
    answer = ask(url, key, "DELETE", "limits", query=query)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"{rule} of {_whose(tenant, user)} is the configuration's again.")


@budgets.command(
    "set",
    epilog="""Examples:

    \b
      tidegate budget set acme month 500 --policy degrade
      tidegate budget set acme day 2.50 --of-key 2b7qmx4tzr6kvhwd --alert 0.5""",
)
def set_budget(
    tenant: Tenant,
    period: Period,
    amount: Annotated[str, typer.Argument(help="Dollars, such as 25 or 0.50.")],
    of_key: OfKey = None,
    alert: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share at which an alert is raised.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="What then becomes of requests: refuse, degrade or allow."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set the money that a tenant or a key may use in a day or a month."""
    body = {
        "tenant": tenant,
        "key": of_key,
        "period": period,
        "micros": times.micros(amount, "AMOUNT"),
        "alert": alert,
        "policy": policy,
    }
    answer = ask(url, key, "PUT", "budgets", body=body)
    if as_json:
        print_json(answer)
    else:
        typer.echo(
            f"{_whose(tenant, of_key)} may use {times.dollars(answer['micros'])} a {period}; "
            f"then: {answer['policy']}."
        )


@budgets.command(
    "list",
    epilog="""Example:

    \b
      tidegate budget list --tenant acme""",
)
def list_budgets(
    tenant: OnlyTenant = None, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False
) -> None:
    """List the configuration's budgets, and those that are set in their place."""
    answer = ask(url, key, "GET", "budgets", query={"tenant": tenant})
    if as_json:
        print_json(answer)
        return
    table = new_table("Budgets", "tenant", "key", "period", "amount", "alert at", "then")
    defaults: dict[str, Any] = answer.get("defaults", {})
    for name in ("tenant_day", "tenant_month", "key_day", "key_month"):
        if defaults.get(name) is not None:
            what, period = name.split("_")
            table.add_row(
                "all others",
                "each" if what == "key" else "",
                period,
                times.dollars(defaults[name]),
                f"{defaults['alert']:.0%}",
                plain(defaults["policy"]),
            )
    for row in answer.get("budgets", ()):
        table.add_row(
            plain(row["tenant"]),
            plain(row["key"] or ""),
            plain(row["period"]),
            times.dollars(row["micros"]),
            f"{row['alert']:.0%}",
            plain(row["policy"]),
        )
    print_tables(table)


@budgets.command(
    "delete",
    epilog="""Example:

    \b
      tidegate budget delete acme month""",
)
def delete_budget(
    tenant: Tenant,
    period: Period,
    of_key: OfKey = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the configuration's budget."""
    query = {"tenant": tenant, "key": of_key, "period": period}
    answer = ask(url, key, "DELETE", "budgets", query=query)
    if as_json:
        print_json(answer)
    else:
        typer.echo(f"The budget of {_whose(tenant, of_key)} is the configuration's again.")


def _whose(tenant: str, of: str | None) -> str:
    return f"{of} of {tenant}" if of else tenant
