"""The ``tidegate`` command: checks configurations, speaks to a running service, administers it.

This package owns the command line and how results look in a terminal. It must not know anything
that the service or ``app.config`` does not tell it, and it starts in a blink: what a single command
needs is imported there, and neither ray nor vllm is ever.

Exit codes: 0, all is well; 1, what was asked about is not (an invalid configuration, a service that
is not ready, an error answer); 2, the file cannot be read, the service cannot be reached, or the
command line is wrong.
"""

import typer

from app.cli import (
    audit,
    config,
    keys,
    limits,
    model,
    plan,
    profile,
    replay,
    service,
    tenants,
    usage,
)

app = typer.Typer(
    name="tidegate",
    help="Check configurations of a Tidegate fleet, speak to a running one, and administer it.",
    epilog="""Examples:

    \b
      tidegate config check serve_config.yaml
      tidegate status
      tidegate key create acme ada --zone private
      tidegate chat "What is a tide gate?" --stream
      tidegate plan examples/fleet-profile.yaml
      tidegate replay examples/demand.csv
      tidegate usage --by tenant,model --since 7d""",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(config.app, name="config")
app.add_typer(service.app)
app.add_typer(profile.app)
app.add_typer(plan.app)
app.add_typer(replay.app)
app.add_typer(keys.app, name="key")
app.add_typer(model.app, name="model")
app.add_typer(tenants.app, name="tenant")
app.add_typer(tenants.users, name="user")
app.add_typer(limits.app, name="limit")
app.add_typer(limits.budgets, name="budget")
app.add_typer(usage.app)
app.add_typer(audit.app, name="audit")


def main() -> None:
    """Run the command."""
    app(prog_name="tidegate")
