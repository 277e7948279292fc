"""Which role may use which route.

Decided on the path that the server has decoded and that routes are found by (`scope["path"]`),
never on an address rebuilt from headers. A path that is written in some other way than the plain
one matches nothing, so that a rule of a proxy in front cannot be walked around by spelling.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.errors import NotFound, RoleForbidden
from app.security.identity import Identity, Role

OPEN_PATHS = frozenset({"/livez", "/readyz"})
"""What needs no key."""

ADMIN_PREFIX = "/admin/v1/"

_ANYBODY = frozenset(Role)
_ASKING = frozenset({Role.DEVELOPER, Role.BATCH, Role.OPERATOR, Role.ADMIN})
_MANAGING = frozenset({Role.OPERATOR, Role.ADMIN})
_ROUTES: Mapping[str, frozenset[Role]] = {
    "/v1/chat/completions": _ASKING,
    "/v1/completions": _ASKING,
    "/v1/responses": _ASKING,
    "/v1/models": _ANYBODY,
    "/openapi.json": _ANYBODY,
}
_MOST_PATH = 1024
# A segment never starts with a dot, so that neither `.` nor `..` is one.
_ADMIN_PATH = re.compile(r"/admin/v1(?:/[A-Za-z0-9_@+:-][A-Za-z0-9._@+:-]*)+")
# Of an address as it was sent, only what a name may hold besides letters and digits may be encoded.
_ENCODED = re.compile(rb"%(?!40|2[Bb]|3[Aa])")


def path_of(scope: Mapping[str, Any]) -> str:
    """The path of an ASGI request, if it was sent plainly.

    Args:
        scope: of the request. Where the server gives no `raw_path`, the decoded one is all there
            is to judge.

    Raises:
        NotFound: it encodes characters that need no encoding or that part a path (`%2F`, `%2e`,
            `%61`), which only serves to get past those who compare spellings.
    """
    path: str = scope["path"]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None and _ENCODED.search(raw.partition(b"?")[0]):
        raise no_route(path)
    return path


def is_open(path: str) -> bool:
    """Whether the path is served to those who show no key."""
    return path in OPEN_PATHS


def authorise(identity: Identity, method: str, path: str) -> None:
    """Checks that one of the identity's roles may use the route.

    What an operator may do on admin routes is narrower still; the operations themselves check it.

    Args:
        identity: who asks, already authenticated.
        method: the HTTP method, for the message.
        path: what `path_of` gave.

    Raises:
        RoleForbidden: the route is there, but not for these roles.
        NotFound: there is no such route.
    """
    if path in OPEN_PATHS:
        return
    roles = _ROUTES.get(path)
    if roles is None:
        if not is_admin(path):
            raise no_route(path)
        roles = _MANAGING
    if identity.roles.isdisjoint(roles):
        allowed = ", ".join(role for role in Role if role in roles)
        own = ", ".join(sorted(identity.roles)) or "none"
        raise RoleForbidden(
            f"{method[:16]} {path[:200]} is for the roles {allowed}; the roles of this key are "
            f"{own}: ask an operator for another key"
        )


def is_admin(path: str) -> bool:
    """Whether the path is, letter by letter, one that admin routes may be found by."""
    return (
        path.startswith(ADMIN_PREFIX)
        and len(path) <= _MOST_PATH
        and _ADMIN_PATH.fullmatch(path) is not None
    )


def no_route(path: str) -> NotFound:
    """The error for a path that leads nowhere."""
    return NotFound(f"there is no route {path[:200]!r}; GET /openapi.json lists them")
