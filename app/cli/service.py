"""``tidegate status`` and ``tidegate chat``: speaking to a running service."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.client import (
    DEFAULT_URL,
    Key,
    Url,
    connect,
    fail_to_reach,
    fail_with_answer,
    get,
    json_object,
)
from app.cli.show import AsJson, fail, new_table, plain, print_json, print_tables

if TYPE_CHECKING:
    import httpx
    from rich.table import Table

app = typer.Typer()


@app.command(
    epilog="""Examples:

    \b
      tidegate status
      tidegate status --url http://gateway.example:8000 --json"""
)
def status(url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Show whether the service is ready, and its pools.

    Exits with 1 as long as some pool has fewer replicas ready than it wants.
    """
    with connect(url, None, keyless=True) as client:
        response = get(client, "/readyz")
    state = json_object(response)
    if response.status_code not in (200, 503) or "pools" not in state:
        fail_with_answer(response)
    if as_json:
        print_json(state)
    else:
        print_tables(_status_table(state["pools"]))
        typer.echo(f"{url}: {state.get('status', 'unknown')}")
    if response.status_code != 200:
        raise typer.Exit(1)


@app.command(
    epilog="""Examples:

    \b
      tidegate chat "What is a tide gate?"
      tidegate chat "Count to ten." --stream --max-tokens 40
      tidegate chat "Summarise the contract." --zone confidential"""
)
def chat(
    text: Annotated[str, typer.Argument(help="What to say to the model.")],
    url: Url = DEFAULT_URL,
    key: Key = None,
    model: Annotated[
        str | None, typer.Option(help="A model of /v1/models; the first one by default.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Security zone; the service's default if not given.")
    ] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the answer while it is made.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer, in tokens.")
    ] = None,
) -> None:
    """Ask the service one question.

    The answer goes to stdout; which pool served it, to stderr.
    """
    import httpx

    with connect(url, key) as client:
        body: dict[str, Any] = {
            "model": model or _first_model(client),
            "messages": [{"role": "user", "content": text}],
            "stream": stream,
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        headers = {"x-tidegate-zone": zone} if zone else {}
        path = "/v1/chat/completions"
        try:
            with client.stream("POST", path, json=body, headers=headers) as response:
                if response.status_code != 200:
                    response.read()
                    fail_with_answer(response)
                if stream:
                    _print_stream(response)
                else:
                    response.read()
                    _print_answer(response)
                _print_placement(response)
        except UnicodeEncodeError:
            fail(f"a zone is written in plain letters, unlike {zone!r}")
        except httpx.HTTPError as error:
            fail_to_reach(url, error)


def _print_answer(response: "httpx.Response") -> None:
    try:
        message = json_object(response)["choices"][0]["message"]
    except LookupError:
        fail_with_answer(response)
    # A call of a tool has no text.
    typer.echo(_printable(message.get("content") or json.dumps(message)))


def _print_stream(response: "httpx.Response") -> None:
    for line in response.iter_lines():
        data = line.removeprefix("data:").strip()
        if not line.startswith("data:") or data == "[DONE]":
            continue
        event = json.loads(data)
        if "error" in event:
            typer.echo()
            fail(event["error"].get("message", data), code=1)
        for choice in event.get("choices", ()):
            typer.echo(_printable(choice.get("delta", {}).get("content") or ""), nl=False)
    typer.echo()


def _printable(text: str) -> str:
    """Text without the control characters by which a model could command the terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _print_placement(response: "httpx.Response") -> None:
    names = ("zone", "pool", "size-class", "overhead-ms")
    shown = [
        f"{name} {response.headers[f'x-tidegate-{name}']}"
        for name in names
        if f"x-tidegate-{name}" in response.headers
    ]
    if shown:
        typer.secho(", ".join(shown), err=True, dim=True)


def _first_model(client: "httpx.Client") -> str:
    response = get(client, "/v1/models")
    models = json_object(response).get("data")
    if response.status_code != 200 or not models:
        fail_with_answer(response)
    return str(models[0]["id"])


def _status_table(pools: list[dict[str, Any]]) -> "Table":
    table = new_table("Pools", "pool", "zone", "market", "ready", "outstanding tokens", "breaker")
    for pool in pools:
        ready, wanted = pool.get("ready", 0), pool.get("wanted", 0)
        colour = "green" if ready >= wanted else "yellow"
        table.add_row(
            plain(pool.get("pool", "?")),
            plain(pool.get("zone", "?")),
            plain(pool.get("market", "?")),
            f"[{colour}]{ready} of {wanted}[/{colour}]",
            f"{pool.get('outstanding_tokens', 0):,}",
            plain(pool.get("breaker", "?")),
        )
    return table
