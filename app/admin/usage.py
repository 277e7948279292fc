"""What was used, summed as it is asked for."""

from typing import Any

from app.admin.params import UsageQuery
from app.admin.rights import own_tenant
from app.admin.session import Session
from app.admin.tenants import require_tenant
from app.admin.values import when
from app.errors import InvalidRequest, RoleForbidden
from app.security.identity import Role
from app.store import usage

_DAY = 86400.0


async def query(session: Session, params: UsageQuery) -> dict[str, Any]:
    """Sums of requests, tokens and micro-dollars.

    An operator sees its own tenant, everybody else their own use.
    """
    tenant = own_tenant(session.caller, params.tenant)
    user = _own_user(session, params.user)
    if user is not None and tenant is None:
        raise InvalidRequest(
            "`user`: names of users are each tenant's own; say `tenant` too", param="user"
        )
    until = session.now if params.until is None else params.until
    since = until - _DAY if params.since is None else params.since
    if since >= until:
        raise InvalidRequest(
            f"`since`: {when(since)} is not before `until`, {when(until)}", param="since"
        )
    if params.tenant is not None:
        # A name that is wrong must not look like a tenant that used nothing.
        await require_tenant(session, params.tenant)
    if tenant is not None:
        session.about(tenant=tenant)
    filters = {"tenant": tenant, "user": user, "model": params.model}
    rows = await usage.summarise(
        session.conn,
        by=[dimension.value for dimension in params.by],
        interval=params.interval.value if params.interval else None,
        where={name: value for name, value in filters.items() if value is not None},
        since=since,
        until=until,
        limit=params.limit + 1,
    )
    return {
        "since": since,
        "until": until,
        "rows": [
            {
                **({} if row.start is None else {"start": row.start}),
                **row.group,
                "requests": row.requests,
                "prompt_tokens": row.prompt_tokens,
                "output_tokens": row.output_tokens,
                "micros": row.micros,
            }
            for row in rows[: params.limit]
        ],
        "truncated": len(rows) > params.limit,
    }


def _own_user(session: Session, asked: str | None) -> str | None:
    caller = session.caller
    if caller.roles & {Role.ADMIN, Role.OPERATOR}:
        return asked
    if asked not in {None, caller.user}:
        raise RoleForbidden(
            "only an admin or an operator may look into the use of others", param="user"
        )
    return caller.user
