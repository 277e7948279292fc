"""The Python handle's types: `serve.get_app_handle("tidegate")` and what it takes and gives.

Requests and answers are the bodies of the OpenAI API as dictionaries; they pass the same admission
as HTTP, with the same keys. Errors are those of `app.errors`.

    handle = serve.get_app_handle("tidegate")
    answer = await handle.chat.remote({"model": "demo", "messages": [...]}, key=key, zone="private")
    async for chunk in handle.options(stream=True).chat_stream.remote({...}, key=key):
        ...
"""

from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict


@dataclass(frozen=True, slots=True)
class Caller:
    """What HTTP has in its headers.

    Attributes:
        key: an API key or a token.
        zone: the zone asked for; None for the default.
        priority: the tier asked for; None for the key's usual one.
    """

    key: str | None = None
    zone: str | None = None
    priority: str | None = None

    def __repr__(self) -> str:
        return f"Caller(zone={self.zone!r}, priority={self.priority!r})"


ANYBODY = Caller()


class ChatMessage(TypedDict):
    """One message of a conversation."""

    role: str
    content: NotRequired[str | list[dict[str, Any]] | None]
    name: NotRequired[str]
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str]


class _Sampling(TypedDict):
    model: str
    max_tokens: NotRequired[int]
    temperature: NotRequired[float]
    top_p: NotRequired[float]
    n: NotRequired[int]
    seed: NotRequired[int]
    stop: NotRequired[str | list[str]]
    frequency_penalty: NotRequired[float]
    presence_penalty: NotRequired[float]
    stream_options: NotRequired[dict[str, Any]]


class ChatRequest(_Sampling):
    """A body of `/v1/chat/completions`."""

    messages: list[ChatMessage]
    max_completion_tokens: NotRequired[int]
    tools: NotRequired[list[dict[str, Any]]]
    tool_choice: NotRequired[str | dict[str, Any]]
    response_format: NotRequired[dict[str, Any]]
    logprobs: NotRequired[bool]
    top_logprobs: NotRequired[int]


class CompletionRequest(_Sampling):
    """A body of `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: NotRequired[bool]
    logprobs: NotRequired[int]


class Usage(TypedDict):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatCompletion(TypedDict):
    """An answer of `/v1/chat/completions`."""

    id: str
    model: str
    created: int
    choices: list[dict[str, Any]]
    usage: Usage


class ChatChunk(TypedDict):
    """A part of a streamed chat completion."""

    id: str
    model: str
    created: int
    choices: list[dict[str, Any]]
    usage: NotRequired[Usage | None]


class Completion(TypedDict):
    """An answer of `/v1/completions`."""

    id: str
    model: str
    created: int
    choices: list[dict[str, Any]]
    usage: Usage


class CompletionChunk(TypedDict):
    """A part of a streamed completion."""

    id: str
    model: str
    created: int
    choices: list[dict[str, Any]]
    usage: NotRequired[Usage | None]
