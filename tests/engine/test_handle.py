"""The calls behind the Python handle: the same admission, the same answers, the same errors."""

from typing import Any

import pytest

from app.api.handle import Caller
from app.errors import TidegateError
from tests.engine.stack import MODEL, Gateway, Stack

CHAT = "/v1/chat/completions"


async def gathered(gateway: Gateway, call: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    return [chunk async for chunk in gateway.service.chunks(call, body)]


def test_a_whole_answer_is_the_one_of_http(stack: Stack, gateway: Gateway) -> None:
    answer = stack.run(gateway.service.whole("chat", gateway.chat()))
    expected = gateway.post(CHAT, gateway.chat()).json()
    assert answer["choices"] == expected["choices"]
    assert answer["usage"] == expected["usage"]


def test_chunks_add_up(stack: Stack, gateway: Gateway) -> None:
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 9, "temperature": 0}
    whole = stack.run(gateway.service.whole("complete", body))
    chunks = stack.run(gathered(gateway, "complete", body))
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    assert text == whole["choices"][0]["text"]


@pytest.mark.parametrize(
    ("changes", "zone", "code"),
    [
        ({"model": "none"}, None, "model_not_found"),
        ({"messages": []}, None, "invalid_request"),
        ({"n": 10**9}, None, "invalid_request"),
        ({"structured_outputs": {"regex": "(unclosed"}}, None, "invalid_request"),
        ({"max_tokens": 40_000}, None, "context_length_exceeded"),
        ({}, "nowhere", "unknown_zone"),
    ],
)
def test_errors_are_raised(
    stack: Stack, gateway: Gateway, changes: dict[str, Any], zone: str | None, code: str
) -> None:
    body = gateway.chat() | changes

    async def stream() -> None:
        async for _ in gateway.service.chunks("chat", body, Caller(zone=zone)):
            pass

    for work in (gateway.service.whole("chat", body, Caller(zone=zone)), stream()):
        with pytest.raises(TidegateError) as caught:
            stack.run(work)
        assert caught.value.code == code


def test_a_stream_left_early_leaves_nothing(stack: Stack, gateway: Gateway) -> None:
    body = gateway.chat(max_tokens=1_900, ignore_eos=True)

    async def leave() -> None:
        chunks = gateway.service.chunks("chat", body)
        async for _ in chunks:
            break
        await chunks.aclose()

    stack.run(leave())
    stack.settle()


def test_the_zone_is_the_one_asked_for(stack: Stack, gateway: Gateway) -> None:
    private = stack.replicas["private"].host
    private.requests.clear()
    private.recording = True
    stack.run(gateway.service.whole("chat", gateway.chat(), Caller(zone="private")))
    private.recording = False
    assert len(private.requests) == 1
