"""``tidegate status`` and ``tidegate chat``: speaking to a running service."""

import json
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from app.cli.show import AsJson, fail, new_table, plain, print_json, print_tables

if TYPE_CHECKING:
    import httpx
    from rich.table import Table

DEFAULT_URL = "http://127.0.0.1:8000"

app = typer.Typer()

Url = Annotated[
    str, typer.Option("--url", envvar="TIDEGATE_URL", help="Where the service listens.")
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="TIDEGATE_API_KEY", help="API key, if the service wants one."),
]


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
    with _client(url, None) as client:
        response = _get(client, "/readyz")
    state = _json_object(response)
    if response.status_code not in (200, 503) or "pools" not in state:
        _fail_with_answer(response)
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

    with _client(url, key) as client:
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
                    _fail_with_answer(response)
                if stream:
                    _print_stream(response)
                else:
                    response.read()
                    _print_answer(response)
                _print_placement(response)
        except UnicodeEncodeError:
            fail(f"a zone is written in plain letters, unlike {zone!r}")
        except httpx.HTTPError as error:
            _fail_to_reach(url, error)


def _print_answer(response: "httpx.Response") -> None:
    try:
        message = _json_object(response)["choices"][0]["message"]
    except LookupError:
        _fail_with_answer(response)
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


def _client(url: str, key: str | None) -> "httpx.Client":
    import httpx

    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(600.0, connect=5.0)
    try:
        return httpx.Client(base_url=url, headers=headers, timeout=timeout)
    except UnicodeEncodeError:
        fail("an API key is written in plain letters and digits")
    except (httpx.InvalidURL, ValueError) as error:
        fail(f"{url} is not a URL: {error}")


def _get(client: "httpx.Client", path: str) -> "httpx.Response":
    import httpx

    try:
        return client.get(path, timeout=10.0)
    except httpx.HTTPError as error:
        _fail_to_reach(str(client.base_url), error)


def _first_model(client: "httpx.Client") -> str:
    response = _get(client, "/v1/models")
    models = _json_object(response).get("data")
    if response.status_code != 200 or not models:
        _fail_with_answer(response)
    return str(models[0]["id"])


def _json_object(response: "httpx.Response") -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}


def _fail_to_reach(url: str, error: Exception) -> NoReturn:
    fail(f"{url} cannot be reached ({error or type(error).__name__}): is the service running?")


def _fail_with_answer(response: "httpx.Response") -> NoReturn:
    error = _json_object(response).get("error")
    if isinstance(error, dict):
        fail(f"{error.get('message')} ({error.get('code')})", code=1)
    fail(
        f"{response.url} answered {response.status_code}, which is not Tidegate's way: "
        "is something else listening there?",
        code=1,
    )


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
