"""What a request carries from its arrival to its end, beside its tokens."""

from collections.abc import Awaitable
from contextvars import ContextVar
from dataclasses import dataclass

from app.admission.tier import Tier
from app.classification.judge import Verdict
from app.errors import TidegateError
from app.security.identity import Identity


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller says of a request beside its body, on whichever way it came.

    Attributes:
        request_id: the id in the response header and in the logs.
        identity: who asks, as proven.
        route: the call, such as `chat`.
        zone: the zone asked for; None for the default.
        priority: the tier asked for; None for the identity's usual one.
    """

    request_id: str
    identity: Identity
    route: str
    zone: str | None = None
    priority: str | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What the tightest token rule still allows, for the rate limit headers.

    Attributes:
        limit: its size, in tokens.
        remaining: what is left of it, in tokens.
        reset_s: seconds until it is whole again.
    """

    limit: int
    remaining: int
    reset_s: float


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a request was sent."""

    zone: str
    pool: str
    market: str
    size_class: str
    overhead_ms: float


@dataclass(slots=True)
class RequestContext:
    """One request's identity, wishes and fate.

    Attributes:
        request_id: the id in the response header and in the logs.
        identity: who asks.
        route: the call, such as `chat`.
        zone: the zone asked for; the classifier may raise it.
        tier: its band in every queue.
        received_at: when the request arrived, in the loop's seconds.
        deadline: when it must have ended, in the loop's seconds.
        max_tokens: the most output tokens the client asked for; None for no limit of its own.
        verdict: the classifier's answer, on its way; None where there is no classifier.
        judged: whether what the verdict found has been recorded.
        allowance: what its reservation left; None where nothing limits the identity.
        placement: where it was sent; set again if it had to be sent anew.
        started: whether a token has come back.
        error: what went wrong in the engine, for those who only see a stream's end.
    """

    request_id: str
    identity: Identity
    route: str
    zone: str
    tier: Tier
    received_at: float
    deadline: float
    max_tokens: int | None = None
    verdict: Awaitable[Verdict] | None = None
    judged: bool = False
    allowance: Allowance | None = None
    placement: Placed | None = None
    started: bool = False
    error: TidegateError | None = None


current_request: ContextVar[RequestContext] = ContextVar("current_request")
"""The context of the request that this task works for."""
