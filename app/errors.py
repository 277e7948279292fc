"""Every error that Tidegate answers with, in one tree.

::

    TidegateError
    ├── InvalidRequest            400  invalid_request
    │   ├── InvalidJson           400  invalid_json
    │   ├── BodyTooLarge          413  body_too_large
    │   ├── ContextLengthExceeded 400  context_length_exceeded
    │   ├── UnknownModel          404  model_not_found
    │   ├── UnknownZone           400  unknown_zone
    │   ├── NotFound              404  not_found
    │   ├── MethodNotAllowed      405  method_not_allowed
    │   ├── Conflict              409  conflict
    │   └── SimulationError       400  simulation_invalid
    │       ├── TraceInvalid      400  trace_invalid
    │       ├── PolicyFailed      400  policy_failed
    │       └── Infeasible        400  infeasible
    ├── Unauthenticated           (a group: never raised itself)
    │   ├── MissingKey            401  missing_api_key
    │   ├── InvalidKey            401  invalid_api_key
    │   ├── KeyExpired            401  expired_api_key
    │   ├── KeyRevoked            401  revoked_api_key
    │   └── InvalidToken          401  invalid_token
    ├── Refused                   (a group: never raised itself)
    │   ├── ZoneForbidden         403  zone_forbidden
    │   ├── RoleForbidden         403  role_forbidden
    │   ├── ModelForbidden        403  model_forbidden
    │   ├── TierForbidden         403  tier_forbidden
    │   └── ContentRefused        403  content_refused
    ├── Limited                   (a group: never raised itself)
    │   ├── RateLimited           429  rate_limit_exceeded
    │   ├── TooManyLarge          429  too_many_large_requests
    │   ├── RequestTooLarge       429  request_too_large
    │   └── BudgetExhausted       429  insufficient_quota
    ├── Unavailable               (a group: never raised itself)
    │   ├── Overloaded            503  overloaded
    │   ├── NoCapacity            503  no_capacity
    │   ├── ClassifierUnavailable 503  classifier_unavailable
    │   ├── LedgerUnavailable     503  ledger_unavailable
    │   ├── StoreUnavailable      503  store_unavailable
    │   ├── ReplicaUnreachable    503  replica_unreachable
    │   ├── HandoffFailed         503  handoff_failed
    │   ├── WeightsUnavailable    503  weights_unavailable
    │   └── ForecasterUnavailable 503  forecaster_unavailable
    └── Failed                    (a group: never raised itself)
        ├── InternalError         500  internal_error
        ├── ZoneMismatch          500  zone_mismatch
        ├── IsolationViolated     500  isolation_violated
        ├── EngineLost            502  engine_lost
        ├── RequestTimeout        504  request_timeout
        ├── WeightsRefused        500  weights_refused
        ├── LoadingAnomaly        500  loading_anomaly
        └── ConfigError           500  config_invalid

``code`` is what clients may rely on: it never changes once it has been released. Errors cross
process boundaries (Ray pickles them, the token stream sends code and message), so each one can be
pickled whatever its constructor takes, and :func:`error_from_code` rebuilds one from its parts.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple


class TidegateError(Exception):
    """The root of the tree; raise one of its leaves.

    Args:
        message: What went wrong and what to do about it, for the client to read.
        param: The request field or header that is at fault.
        retry_after_s: Seconds after which trying again may help.
    """

    status: ClassVar[int]
    """The HTTP status code."""
    code: ClassVar[str]
    """The stable, snake_case name of the error."""
    type: ClassVar[str]
    """OpenAI's class of error, such as ``invalid_request_error``."""
    default_param: ClassVar[str | None] = None
    default_retry_after_s: ClassVar[float | None] = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = self.default_param if param is None else param
        self.retry_after_s = self.default_retry_after_s if retry_after_s is None else retry_after_s

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with ``args``, which keyword-only constructors do not take.
        return _restore, (type(self), self.args, self.__dict__)

    def body(self) -> dict[str, dict[str, Any]]:
        """The response body in OpenAI's shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def headers(self) -> dict[str, str]:
        """The response headers that belong to the error, their names in lower case."""
        if self.retry_after_s is None:
            return {}
        return {"retry-after": str(max(1, math.ceil(self.retry_after_s)))}


class InvalidRequest(TidegateError):
    """The request cannot be served as it was sent; sending it again does not help."""

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"


class InvalidJson(InvalidRequest):
    """The body is not JSON, or not UTF-8."""

    code = "invalid_json"


class BodyTooLarge(InvalidRequest):
    """The body is longer than the gateway accepts."""

    status = 413
    code = "body_too_large"


class ContextLengthExceeded(InvalidRequest):
    """Prompt and requested output do not fit into the model's context.

    Args:
        prompt_tokens: The exact length of the prompt, in tokens.
        max_tokens: The output that the request asks for, in tokens; None if it does not say.
        limit: The longest sequence that can be served, in tokens.
        param: The request field that is at fault.
    """

    code = "context_length_exceeded"
    default_param = "messages"
    # None where the error was rebuilt from its parts by another process.
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    limit: int | None = None

    def __init__(
        self, *, prompt_tokens: int, max_tokens: int | None, limit: int, param: str | None = None
    ) -> None:
        if max_tokens is None:
            asked = f"the prompt has {prompt_tokens} tokens, which leaves no room for an answer"
        else:
            asked = (
                f"{prompt_tokens + max_tokens} tokens were requested "
                f"({prompt_tokens} in the prompt, {max_tokens} for the output)"
            )
        super().__init__(
            f"The longest sequence that can be served here is {limit} tokens, but {asked}. "
            "Shorten the prompt or ask for fewer output tokens.",
            param=param,
        )
        self.prompt_tokens = prompt_tokens
        self.max_tokens = max_tokens
        self.limit = limit


class UnknownModel(InvalidRequest):
    """No pool that the request may use serves a model of that name."""

    status = 404
    code = "model_not_found"
    default_param = "model"


class UnknownZone(InvalidRequest):
    """The zone that was asked for is not configured."""

    code = "unknown_zone"
    default_param = "x-tidegate-zone"


class NotFound(InvalidRequest):
    """There is no such route or object."""

    status = 404
    code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """The route exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    allow: tuple[str, ...] = ()

    def __init__(
        self,
        message: str,
        *,
        allow: Iterable[str] = (),
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.allow = tuple(allow)

    def headers(self) -> dict[str, str]:
        """As for every error, with ``allow``, which HTTP demands of a 405."""
        return super().headers() | {"allow": ", ".join(self.allow)}


class Conflict(InvalidRequest):
    """What is to be made exists already, or has changed meanwhile."""

    status = 409
    code = "conflict"


class SimulationError(InvalidRequest, ValueError):
    """What a simulation or an optimisation is made of makes no sense.

    Commands and benchmarks meet it, no route does.
    """

    code = "simulation_invalid"


class TraceInvalid(SimulationError):
    """Demand, capacity or latency data is not what it should be.

    Args:
        what: What was read, such as a file's name.
        line: Number of the line, from 1; 0 where it is about all of it.
        problem: What is wrong with it, and the way out.
    """

    code = "trace_invalid"
    # Nothing where the error was rebuilt from its parts by another process.
    what: str = ""
    line: int = 0
    problem: str = ""

    def __init__(self, what: str, line: int, problem: str) -> None:
        where = f"{what}, line {line:,}" if line else what
        super().__init__(f"{where}: {problem}")
        self.what = what
        self.line = line
        self.problem = problem


class PolicyFailed(SimulationError):
    """A policy raised, or asked for what it may not have."""

    code = "policy_failed"


class Infeasible(SimulationError):
    """Nothing satisfies all that is asked; the message names what cannot be met."""

    code = "infeasible"


class Unauthenticated(TidegateError):
    """Nobody knows who asks; what was shown as proof is never repeated."""

    status = 401
    type = "authentication_error"
    default_param = "authorization"

    def headers(self) -> dict[str, str]:
        """As for every error, with ``www-authenticate``, which HTTP demands of a 401."""
        return super().headers() | {"www-authenticate": 'Bearer realm="tidegate"'}


class MissingKey(Unauthenticated):
    """The request shows neither a key nor a token."""

    code = "missing_api_key"


class InvalidKey(Unauthenticated):
    """The key is not one of ours; whether its id exists is not said."""

    code = "invalid_api_key"


class KeyExpired(Unauthenticated):
    """The key was valid once."""

    code = "expired_api_key"


class KeyRevoked(Unauthenticated):
    """The key has been withdrawn."""

    code = "revoked_api_key"


class InvalidToken(Unauthenticated):
    """The token is not from the identity provider, not for this service, or not valid now."""

    code = "invalid_token"


class Refused(TidegateError):
    """The request is well-formed, but policy forbids it."""

    status = 403
    type = "permission_error"


class ZoneForbidden(Refused):
    """The caller may not use the zone that was asked for."""

    code = "zone_forbidden"
    default_param = "x-tidegate-zone"


class RoleForbidden(Refused):
    """None of the caller's roles may do this."""

    code = "role_forbidden"
    default_param = "authorization"


class ModelForbidden(Refused):
    """The key may not ask this model."""

    code = "model_forbidden"
    default_param = "model"


class TierForbidden(Refused):
    """The key may not use the tier that was asked for."""

    code = "tier_forbidden"
    default_param = "x-tidegate-priority"


class ContentRefused(Refused):
    """The classifier judged the text to be something that this fleet refuses."""

    code = "content_refused"


class Limited(TidegateError):
    """A limit has been met. Everything about it is in the error, for programs too.

    Args:
        message: What was met and the way out.
        rule: The name of the limit, as in the configuration.
        limit: Its size: tokens, requests or micro-dollars.
        used: What is used of it.
        retry_after_s: Seconds after which trying again may help; None where it never will.
    """

    status = 429
    type = "rate_limit_error"
    # Empty where the error was rebuilt from its parts by another process.
    rule: str = ""
    limit: int | None = None
    used: int | None = None

    def __init__(
        self,
        message: str,
        *,
        rule: str,
        limit: int,
        used: int,
        retry_after_s: float | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after_s=retry_after_s)
        self.rule = rule
        self.limit = limit
        self.used = used

    def body(self) -> dict[str, dict[str, Any]]:
        """OpenAI's shape, with the rule, its limit, the use and the wait beside it."""
        body = super().body()
        body["error"] |= {
            "rule": self.rule,
            "limit": self.limit,
            "used": self.used,
            "retry_after_s": self.retry_after_s,
        }
        return body


class RateLimited(Limited):
    """So many tokens may not be used in so little time."""

    code = "rate_limit_exceeded"

    def headers(self) -> dict[str, str]:
        """As for every error, with OpenAI's headers about the limit."""
        headers = super().headers()
        if self.limit is None or self.used is None:
            return headers
        return headers | {
            "x-ratelimit-limit-tokens": str(self.limit),
            "x-ratelimit-remaining-tokens": str(max(0, self.limit - self.used)),
            "x-ratelimit-reset-tokens": f"{self.retry_after_s or 0.0:.3f}s",
        }


class TooManyLarge(Limited):
    """The user has as many large or xl requests running as it may have."""

    code = "too_many_large_requests"


class RequestTooLarge(Limited):
    """This one request is larger than a limit ever allows."""

    code = "request_too_large"


class BudgetExhausted(Limited):
    """The money set aside for the day or the month is used up."""

    code = "insufficient_quota"
    type = "insufficient_quota"


class Unavailable(TidegateError):
    """The request could be served at another time."""

    status = 503
    type = "server_error"
    default_retry_after_s = 1.0


class Overloaded(Unavailable):
    """The gateway has as many open requests as it may have."""

    code = "overloaded"


class NoCapacity(Unavailable):
    """No replica that may serve the request is ready."""

    code = "no_capacity"


class ClassifierUnavailable(Unavailable):
    """The text could not be judged, and the fleet refuses what has not been judged."""

    code = "classifier_unavailable"


class LedgerUnavailable(Unavailable):
    """Nobody can say what may be used, and the zone's policy is to refuse then."""

    code = "ledger_unavailable"


class StoreUnavailable(Unavailable):
    """The store cannot be read or written."""

    code = "store_unavailable"


class ReplicaUnreachable(Unavailable):
    """A replica's stream cannot be opened; requests go to another one."""

    code = "replica_unreachable"


class HandoffFailed(Unavailable):
    """A prompt's KV cache did not come over from prefill to decode."""

    code = "handoff_failed"


class WeightsUnavailable(Unavailable):
    """A model's files cannot be fetched from where they are kept."""

    code = "weights_unavailable"


class ForecasterUnavailable(Unavailable):
    """Nobody can say what is forecast and planned; requests are served as before."""

    code = "forecaster_unavailable"


class Failed(TidegateError):
    """Something on our side broke."""

    status = 500
    type = "server_error"


class InternalError(Failed):
    """A failure that has no name of its own."""

    code = "internal_error"


class ZoneMismatch(Failed):
    """An engine was handed a request of another zone, and refused it."""

    code = "zone_mismatch"


class IsolationViolated(Failed):
    """An engine found requests together that must be apart, and stopped."""

    code = "isolation_violated"


class EngineLost(Failed):
    """The replica died after the first token had been sent."""

    status = 502
    code = "engine_lost"


class RequestTimeout(Failed):
    """The request took longer than the gateway lets one take."""

    status = 504
    code = "request_timeout"


class WeightsRefused(Failed):
    """A model's files are not what somebody who is trusted has signed; nothing of them is loaded.

    Args:
        message: What was found, in which file, and the way out.
        reason: Which rule refuses it, one of `app.weights.refusal.Reason`.
    """

    code = "weights_refused"
    # Not known where the error was rebuilt from its parts by another process.
    reason: str = ""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class LoadingAnomaly(Failed):
    """A model's start took far longer, or far more memory, than its starts do.

    Args:
        message: What was measured, against what.
        stage: The stage of the start.
    """

    code = "loading_anomaly"
    stage: str = ""

    def __init__(self, message: str, stage: str = "") -> None:
        super().__init__(message)
        self.stage = stage


class ConfigIssue(NamedTuple):
    """One thing that is wrong in a configuration."""

    path: str
    """Where it stands in the file, such as ``args.pools[2].engine.max_model_len``."""
    message: str
    """The offending value, the limit it breaks and the way out."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigError(Failed, ValueError):
    """The configuration is not valid; carries everything that is wrong with it.

    Args:
        issues: What is wrong, at least one entry, in the order of the file.
    """

    code = "config_invalid"
    issues: tuple[ConfigIssue, ...] = ()

    def __init__(self, issues: Iterable[tuple[str, str]]) -> None:
        self.issues = tuple(ConfigIssue(*issue) for issue in issues)
        count = len(self.issues)
        heading = "1 error" if count == 1 else f"{count} errors"
        lines = "".join(f"\n  {issue}" for issue in self.issues)
        super().__init__(f"{heading} in the configuration:{lines}")


def error_from_code(
    code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None
) -> TidegateError:
    """Rebuild an error that arrived as its parts, over the token stream for example.

    Args:
        code: A stable code; one that is not known gives an :class:`InternalError`.
        message: The message as the other side wrote it.
        param: The request field at fault.
        retry_after_s: Seconds after which trying again may help.
    """
    cls = CODES.get(code, InternalError)
    state = {
        "message": message,
        "param": cls.default_param if param is None else param,
        "retry_after_s": cls.default_retry_after_s if retry_after_s is None else retry_after_s,
    }
    return _restore(cls, (message,), state)


def _restore(
    cls: type[TidegateError], args: tuple[object, ...], state: dict[str, Any]
) -> TidegateError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


def _leaves(cls: type[TidegateError]) -> Iterator[type[TidegateError]]:
    if "code" in vars(cls):
        yield cls
    for child in cls.__subclasses__():
        yield from _leaves(child)


CODES: dict[str, type[TidegateError]] = {cls.code: cls for cls in _leaves(TidegateError)}
"""Every error that is raised, by its code."""
