"""The error tree: what clients rely on, and that errors survive the way between processes."""

import inspect
import pickle
import re
from typing import Any

import pytest

from app import errors
from app.errors import CODES, ConfigError, ContextLengthExceeded, TidegateError, error_from_code

LEAVES = sorted(CODES.values(), key=lambda cls: cls.code)
GROUPS = {
    errors.TidegateError,
    errors.Unauthenticated,
    errors.Refused,
    errors.Limited,
    errors.Unavailable,
    errors.Failed,
}
LIMITED: dict[str, Any] = {"rule": "user_tokens_per_minute", "limit": 10_000, "used": 9_990}


def sample(cls: type[TidegateError]) -> TidegateError:
    if cls is ContextLengthExceeded:
        return ContextLengthExceeded(prompt_tokens=40_000, max_tokens=16, limit=32_768)
    if cls is ConfigError:
        return ConfigError([("args.pools[0].zone", "no such zone")])
    if cls is errors.TraceInvalid:
        return errors.TraceInvalid("demand.csv", 3, "a rate below 0")
    if issubclass(cls, errors.Limited):
        return cls("It went wrong.", **LIMITED)
    return cls("It went wrong.")


def test_codes_are_the_published_ones() -> None:
    assert {code: cls.status for code, cls in CODES.items()} == {
        "invalid_request": 400,
        "invalid_json": 400,
        "body_too_large": 413,
        "context_length_exceeded": 400,
        "model_not_found": 404,
        "unknown_zone": 400,
        "not_found": 404,
        "method_not_allowed": 405,
        "conflict": 409,
        "simulation_invalid": 400,
        "trace_invalid": 400,
        "policy_failed": 400,
        "infeasible": 400,
        "missing_api_key": 401,
        "invalid_api_key": 401,
        "expired_api_key": 401,
        "revoked_api_key": 401,
        "invalid_token": 401,
        "zone_forbidden": 403,
        "role_forbidden": 403,
        "model_forbidden": 403,
        "tier_forbidden": 403,
        "content_refused": 403,
        "rate_limit_exceeded": 429,
        "too_many_large_requests": 429,
        "request_too_large": 429,
        "insufficient_quota": 429,
        "overloaded": 503,
        "no_capacity": 503,
        "classifier_unavailable": 503,
        "ledger_unavailable": 503,
        "store_unavailable": 503,
        "replica_unreachable": 503,
        "handoff_failed": 503,
        "weights_unavailable": 503,
        "forecaster_unavailable": 503,
        "internal_error": 500,
        "zone_mismatch": 500,
        "isolation_violated": 500,
        "engine_lost": 502,
        "request_timeout": 504,
        "weights_refused": 500,
        "loading_anomaly": 500,
        "config_invalid": 500,
    }


def test_every_class_of_the_tree_is_a_group_or_has_a_code_of_its_own() -> None:
    classes = {
        cls
        for _, cls in inspect.getmembers(errors, inspect.isclass)
        if issubclass(cls, TidegateError)
    }
    # CODES is keyed by code, so it is shorter than the tree if two classes share one.
    assert classes - GROUPS == set(CODES.values())


def test_the_docstring_shows_the_tree() -> None:
    drawn = re.findall(r"(\w+) +(\d{3})  (\w+)$", errors.__doc__ or "", flags=re.MULTILINE)
    assert drawn
    assert {code: (name, int(status)) for name, status, code in drawn} == {
        code: (cls.__name__, cls.status) for code, cls in CODES.items()
    }


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.code)
def test_shape_and_pickle(cls: type[TidegateError]) -> None:
    error = sample(cls)
    body = error.body()["error"]
    more = {*LIMITED, "retry_after_s"} if isinstance(error, errors.Limited) else set()
    assert set(body) == {"message", "type", "param", "code"} | more
    assert body["message"] == str(error) == error.message
    assert body["code"] == cls.code
    assert 400 <= error.status <= 599

    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert copy.__dict__ == error.__dict__


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.code)
def test_rebuilt_from_its_parts(cls: type[TidegateError]) -> None:
    error = sample(cls)
    copy = error_from_code(
        error.code, error.message, param=error.param, retry_after_s=error.retry_after_s
    )
    assert type(copy) is cls
    # Of a limit, another process knows what its message says.
    lost = {"rule": "", "limit": None, "used": None} if isinstance(error, errors.Limited) else {}
    assert copy.body()["error"] == error.body()["error"] | lost
    assert copy.headers().items() <= error.headers().items()
    with pytest.raises(cls, match=re.escape(error.message)):
        raise copy


def test_an_unknown_code_is_an_internal_error() -> None:
    error = error_from_code("from_a_newer_replica", "What it said.")
    assert type(error) is errors.InternalError
    assert error.message == "What it said."


def test_context_length_names_all_counts() -> None:
    with_limit = ContextLengthExceeded(prompt_tokens=38_000, max_tokens=2_000, limit=32_768)
    for count in ("38000", "2000", "40000", "32768"):
        assert count in with_limit.message
    assert with_limit.param == "messages"
    without = ContextLengthExceeded(prompt_tokens=32_768, max_tokens=None, limit=32_768)
    assert "32768 tokens, which leaves no room" in without.message
    assert ContextLengthExceeded(
        prompt_tokens=9, max_tokens=None, limit=8, param="prompt"
    ).param == ("prompt")


@pytest.mark.parametrize(
    ("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (60.0, "60")]
)
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    assert errors.Overloaded("Busy.", retry_after_s=seconds).headers() == {"retry-after": header}


def test_headers_of_errors_that_have_none() -> None:
    assert errors.InvalidRequest("No.").headers() == {}


def test_method_not_allowed_says_what_is() -> None:
    error = errors.MethodNotAllowed("Use POST.", allow=["POST", "OPTIONS"])
    assert error.headers() == {"allow": "POST, OPTIONS"}


def test_config_error_lists_all_issues() -> None:
    error = ConfigError([("args.zones", "empty"), ("args.pools[1].name", "taken")])
    assert isinstance(error, ValueError)
    assert error.issues[1].path == "args.pools[1].name"
    assert str(error) == (
        "2 errors in the configuration:\n  args.zones: empty\n  args.pools[1].name: taken"
    )


def test_a_rate_limit_has_openais_headers() -> None:
    error = errors.RateLimited("Slow down.", retry_after_s=1.25, **LIMITED)
    assert error.headers() == {
        "retry-after": "2",
        "x-ratelimit-limit-tokens": "10000",
        "x-ratelimit-remaining-tokens": "10",
        "x-ratelimit-reset-tokens": "1.250s",
    }


def test_nobody_known_is_told_how_to_say_who() -> None:
    assert errors.MissingKey("?").headers()["www-authenticate"].startswith("Bearer")
