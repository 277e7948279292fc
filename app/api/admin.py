"""The admin routes: from a method and a path to an operation and its parameters."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from app.errors import InvalidRequest, MethodNotAllowed, NotFound

PREFIX = "/admin/v1/"
EXPORT = "/admin/v1/audit/export"
"""Answers JSON lines instead of one document."""

_MOST_QUERY = 4096
_MOST_FIELDS = 32


class Call(NamedTuple):
    """An operation that was asked for.

    Attributes:
        name: of the operation, such as `keys.create`.
        params: by name; still as they came from outside.
        status: of the answer, when there is no error.
        lines: the answer's `lines` are to be sent as JSON lines, page after page: as long as the
            answer has a `next`, the call is repeated with it as `after`.
    """

    name: str
    params: dict[str, Any]
    status: int
    lines: bool = False


class Route(NamedTuple):
    """One method of one path.

    Attributes:
        method: of HTTP.
        path: below the prefix; a name in braces stands for one segment.
        name: of the operation.
        summary: for the OpenAPI document.
        status: of the answer.
        body: whether the parameters come as a JSON body, or in the query.
    """

    method: str
    path: str
    name: str
    summary: str
    status: int = 200
    body: bool = False


ROUTES = (
    Route("POST", "keys", "keys.create", "Make a key; it is shown this once", 201, body=True),
    Route("GET", "keys", "keys.list", "Keys"),
    Route("GET", "keys/{id}", "keys.get", "One key"),
    Route("DELETE", "keys/{id}", "keys.revoke", "Withdraw a key, within a second everywhere"),
    Route("POST", "keys/{id}/rotate", "keys.rotate", "Replace a key, with overlap", 201, body=True),
    Route("POST", "tenants", "tenants.create", "Make a tenant", 201, body=True),
    Route("GET", "tenants", "tenants.list", "Tenants"),
    Route("PUT", "tenants/{tenant}", "tenants.update", "Change a tenant's weight", body=True),
    Route("POST", "tenants/{tenant}/users", "users.create", "Make a user", 201, body=True),
    Route("GET", "tenants/{tenant}/users", "users.list", "A tenant's users"),
    Route("DELETE", "tenants/{tenant}/users/{user}", "users.forget", "Delete personal data"),
    Route("PUT", "limits", "limits.set", "Set a limit of a tenant or user", body=True),
    Route("GET", "limits", "limits.list", "Limits that are not the configuration's"),
    Route("DELETE", "limits", "limits.delete", "Go back to the configuration's limit"),
    Route("PUT", "budgets", "budgets.set", "Set a budget of a tenant or key", body=True),
    Route("GET", "budgets", "budgets.list", "Budgets that are not the configuration's"),
    Route("DELETE", "budgets", "budgets.delete", "Go back to the configuration's budget"),
    Route("GET", "usage", "usage.query", "Sums of what was used"),
    Route("GET", "forecast", "forecast.get", "Demand that is expected, and why"),
    Route("GET", "plan", "plan.get", "Replicas that are asked for, and why"),
    Route("GET", "audit", "audit.list", "Entries of the audit log"),
    Route("GET", "audit/checkpoints", "audit.checkpoints", "Signed checkpoints of the log"),
    Route("GET", "audit/verify", "audit.verify", "Whether the log is whole"),
    Route("GET", "audit/export", "audit.export", "The log as JSON lines, to be verified elsewhere"),
)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


_PATTERNS = tuple((_pattern(route.path), route) for route in ROUTES)


def resolve(method: str, path: str, query: str, body: dict[str, Any] | None) -> Call:
    """The operation that an HTTP request asks for.

    Args:
        method: of HTTP.
        path: decoded, as in `scope["path"]`.
        query: as it came, undecoded.
        body: the parsed JSON body; None where there was none.

    Raises:
        NotFound: no route has this path.
        MethodNotAllowed: none has it for this method.
        InvalidRequest: the query cannot be read, or a parameter is given twice.
    """
    below = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
    found = [(match, r) for pattern, r in _PATTERNS if (match := pattern.fullmatch(below))]
    if not found:
        raise NotFound(f"there is no route {path[:200]!r}; GET /openapi.json lists them")
    allowed = tuple(route.method for _, route in found)
    for match, route in found:
        if route.method == method:
            given = body or {} if route.body else _query(query)
            params = _joined(match.groupdict(), given)
            return Call(route.name, params, route.status, lines=path == EXPORT)
    raise MethodNotAllowed(f"{path} takes {' or '.join(allowed)}, not {method[:16]}", allow=allowed)


def takes_body(method: str) -> bool:
    """Whether a request of this method is read for a JSON body."""
    return method in {"POST", "PUT"}


def _joined(of_path: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
    for name in of_path:
        if name in given:
            raise InvalidRequest(f"`{name}` is in the path already; leave it out here", param=name)
    return {**given, **of_path}


def _query(query: str) -> dict[str, Any]:
    if len(query) > _MOST_QUERY:
        raise InvalidRequest(
            f"the query has {len(query)} characters, at most {_MOST_QUERY} are allowed"
        )
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except (ValueError, UnicodeDecodeError):
        raise InvalidRequest(
            "the query cannot be read; write it like ?tenant=acme&limit=100"
        ) from None
    return dict(_once(pairs))


def _once(pairs: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            raise InvalidRequest(
                f"`{name[:64]}` is given twice; where several are meant, put commas between",
                param=name[:64],
            )
        seen.add(name)
        yield name, value
