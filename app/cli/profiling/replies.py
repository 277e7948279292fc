"""What the service answers: streams of tokens, and refusals."""

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from app.cli.profiling.judge import Answer

if TYPE_CHECKING:
    import httpx

_MOST_LINE = 1_000_000


class ServiceRefused(Exception):
    """The service answers in a way that measuring cannot go on; the message says how to.

    Args:
        message: for people.
        reachable: whether it answered at all.
    """

    def __init__(self, message: str, *, reachable: bool = True) -> None:
        super().__init__(message)
        self.reachable = reachable


def refusal(response: "httpx.Response") -> str:
    """The code of an error that a busy service may answer with.

    Args:
        response: with another status than 200, its body read.

    Raises:
        ServiceRefused: it would say the same to every request.
    """
    with contextlib.suppress(ValueError, LookupError, TypeError):
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
        if response.status_code >= 500:
            return code
        if response.status_code == 429:
            raise ServiceRefused(
                f"the key's limits were hit: {message} ({code})\nMeasure with the admin key, which "
                "has none: --key, or TIDEGATE_API_KEY."
            )
        said = f"{message} ({code})"
        if response.status_code in (401, 403):
            said += "\nMeasure with the admin key: --key, or TIDEGATE_API_KEY."
        raise ServiceRefused(said)
    raise ServiceRefused(
        f"{response.url} answered {response.status_code}, which is not Tidegate's way: is "
        "something else listening there?"
    )


async def events(response: "httpx.Response") -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream of server-sent events."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MOST_LINE:
            raise ServiceRefused("the service sends a line without an end")
        for event in _objects(lines):
            yield event


def _objects(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith(b"data: {"):
            try:
                yield json.loads(line[6:])
            except ValueError:
                raise ServiceRefused("the service streams what is not JSON") from None


def take(answer: Answer, event: dict[str, Any], now: float) -> None:
    """One event of a stream, into the answer."""
    error, usage = event.get("error"), event.get("usage")
    if isinstance(error, dict):
        answer.failed = str(error.get("code"))
    if not isinstance(usage, dict):
        return
    answer.prompt_tokens = int(usage.get("prompt_tokens", 0))
    tokens = int(usage.get("completion_tokens", 0))
    if tokens > answer.tokens:
        answer.tokens = tokens
        answer.last = now
        if answer.first is None:
            answer.first = now
    if not event.get("choices"):
        # The last event has the usage of all, and no text.
        answer.ended = True
