"""The Python handle: the same path as HTTP, without HTTP."""

from typing import Any

import pytest

from app.errors import ContextLengthExceeded, InvalidRequest, UnknownModel, UnknownZone
from tests.cluster.fleet import Fleet, until
from tests.cluster.settings import MODEL, prompt_of

TIMEOUT_S = 100


def test_chat(fleet: Fleet) -> None:
    answer = fleet.handle().chat.remote(fleet.chat(), key=fleet.key).result(timeout_s=TIMEOUT_S)
    assert (
        answer["choices"][0]["message"]["content"]
        == (fleet.post(fleet.chat()).json()["choices"][0]["message"]["content"])
    )
    assert answer["usage"]["completion_tokens"] > 1


def test_chat_stream(fleet: Fleet) -> None:
    handle = fleet.handle().options(stream=True)
    chunks = list(handle.chat_stream.remote(fleet.chat(), key=fleet.key))
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    whole = fleet.handle().chat.remote(fleet.chat(), key=fleet.key).result(timeout_s=TIMEOUT_S)
    assert text == whole["choices"][0]["message"]["content"]
    assert len(chunks) > 2


def test_complete_and_its_stream(fleet: Fleet) -> None:
    body = {"model": MODEL, "prompt": "In the beginning", "max_tokens": 12, "temperature": 0}
    whole = fleet.handle().complete.remote(body, key=fleet.key).result(timeout_s=TIMEOUT_S)
    handle = fleet.handle().options(stream=True)
    chunks = list(handle.complete_stream.remote(body, key=fleet.key))
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert text == whole["choices"][0]["text"] != ""


def test_zone_and_cancelling(fleet: Fleet) -> None:
    answer = fleet.handle().chat.remote(
        fleet.chat(max_tokens=1500, ignore_eos=True), key=fleet.key, zone="confidential"
    )
    until(lambda: fleet.engine_status("confidential--on-demand")["live_requests"] == 1, 20)
    answer.cancel()
    fleet.settle()


@pytest.mark.parametrize(
    ("changes", "zone", "error"),
    [
        ({"model": "none"}, None, UnknownModel),
        ({"messages": []}, None, InvalidRequest),
        ({"n": 99}, None, InvalidRequest),
        ({}, "secret", UnknownZone),
        ({"max_tokens": 40_000}, None, InvalidRequest),
    ],
    ids=["model", "messages", "n", "zone", "length"],
)
def test_errors_are_of_our_tree(
    fleet: Fleet, changes: dict[str, Any], zone: str | None, error: type[Exception]
) -> None:
    body = fleet.chat() | changes
    with pytest.raises(error):
        fleet.handle().chat.remote(body, key=fleet.key, zone=zone).result(timeout_s=TIMEOUT_S)
    stream = fleet.handle().options(stream=True).chat_stream.remote(body, key=fleet.key, zone=zone)
    with pytest.raises(error):
        list(stream)


def test_too_long_a_prompt(fleet: Fleet) -> None:
    with pytest.raises(ContextLengthExceeded, match="32768"):
        fleet.handle().chat.remote(fleet.chat(prompt_of(34_000)), key=fleet.key).result(
            timeout_s=TIMEOUT_S
        )


def test_stream_that_is_not_read_to_its_end_leaves_nothing(fleet: Fleet) -> None:
    handle = fleet.handle().options(stream=True)
    stream = handle.chat_stream.remote(fleet.chat(max_tokens=1500, ignore_eos=True), key=fleet.key)
    next(iter(stream))
    stream.cancel()
    fleet.settle()
