"""How the commands reach the service: its address, the key, and errors in plain words."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer

from app.cli.show import fail

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
ADMIN_KEY_FILE = Path(".tidegate/admin.key")
"""Where a service that was started in this directory keeps the key that it made for itself."""
PAGE = 1000
"""Most items that are asked for at once."""

Url = Annotated[
    str, typer.Option("--url", envvar="TIDEGATE_URL", help="Where the service listens.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        envvar="TIDEGATE_API_KEY",
        show_envvar=True,
        help=f"API key; for a service on this machine, {ADMIN_KEY_FILE} if it is there.",
    ),
]


def connect(url: str, key: str | None, *, keyless: bool = False) -> "httpx.Client":
    """A client of the service.

    Args:
        url: where it listens.
        key: what to show; None for what lies in `ADMIN_KEY_FILE`, if the service is on this
            machine.
        keyless: show none, since none is asked for.
    """
    import httpx

    key = None if keyless else key or _own_key(url)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(600.0, connect=5.0)
    try:
        return httpx.Client(base_url=url, headers=headers, timeout=timeout)
    except UnicodeEncodeError:
        fail("an API key is written in plain letters and digits")
    except (httpx.InvalidURL, ValueError) as error:
        fail(f"{url} is not a URL: {error}")


def ask(
    url: str,
    key: str | None,
    method: str,
    path: str,
    *,
    query: dict[str, Any] | None = None,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One call of an admin route.

    Args:
        url: where the service listens.
        key: as for `connect`.
        method: of HTTP.
        path: below `/admin/v1/`; its parts are quoted by `part`.
        query: parameters; those that are None are left out.
        body: what is sent as JSON; fields that are None are left out.

    Returns:
        The answer. An error ends the command.
    """
    import httpx

    with connect(url, key) as client:
        try:
            response = client.request(
                method,
                f"/admin/v1/{path}",
                params=_given(query),
                json=None if body is None else _given(body),
            )
        except httpx.HTTPError as error:
            fail_to_reach(url, error)
        if not response.is_success:
            fail_with_answer(response)
        return json_object(response)


def pages(
    url: str, key: str | None, path: str, field: str, query: dict[str, Any], most: int
) -> list[dict[str, Any]]:
    """The items of a list that comes in pages, up to so many."""
    found: list[dict[str, Any]] = []
    after = None
    while len(found) < most:
        limit = min(PAGE, most - len(found))
        answer = ask(url, key, "GET", path, query={**query, "limit": limit, "after": after})
        found += answer.get(field, [])
        after = answer.get("next")
        if after is None:
            break
    return found


def part(name: str) -> str:
    """A name as one part of a path."""
    from urllib.parse import quote

    return quote(name, safe="")


def get(client: "httpx.Client", path: str) -> "httpx.Response":
    """One quick question; a service that cannot be reached ends the command."""
    import httpx

    try:
        return client.get(path, timeout=10.0)
    except httpx.HTTPError as error:
        fail_to_reach(str(client.base_url), error)


def json_object(response: "httpx.Response") -> dict[str, Any]:
    """The answer's JSON object; an empty one if it is something else."""
    try:
        document = response.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {}


def fail_to_reach(url: str, error: Exception) -> NoReturn:
    """Ends the command, since nobody answers."""
    fail(f"{url} cannot be reached ({error or type(error).__name__}): is the service running?")


def fail_with_answer(response: "httpx.Response") -> NoReturn:
    """Ends the command with the service's own error."""
    error = json_object(response).get("error")
    if not isinstance(error, dict):
        fail(
            f"{response.url} answered {response.status_code}, which is not Tidegate's way: "
            "is something else listening there?",
            code=1,
        )
    message = f"{error.get('message')} ({error.get('code')})"
    if error.get("code") == "missing_api_key":
        message += "\nGive one by --key or TIDEGATE_API_KEY."
    fail(message, code=1)


def _given(fields: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (fields or {}).items() if value is not None}


def _own_key(url: str) -> str | None:
    # The key of this directory's service is shown to no other machine.
    if not _is_here(url):
        return None
    try:
        return ADMIN_KEY_FILE.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a key"
        typer.secho(f"{ADMIN_KEY_FILE} cannot be read: {reason}", err=True, fg="yellow")
        return None


def _is_here(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
