"""Requests that have begun when their replica dies or drains."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import httpx
import pytest
from vllm.v1.engine import EngineCoreOutput

from deployments.link import Link
from deployments.sampling import traits_of
from tests.engine.stack import MODEL, Gateway, Replica, Stack

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
PROMPT = "The tide comes in and the gate is shut. "
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 40, "maxLength": 60},
        "sizes": {"type": "array", "items": {"type": "integer"}, "minItems": 20, "maxItems": 20},
    },
    "required": ["name", "sizes"],
    "additionalProperties": False,
}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40}},
    "required": ["city"],
    "additionalProperties": False,
}
NOTE = {
    "type": "function",
    "function": {"name": "note", "description": "Takes a note.", "parameters": CITY},
}


class Asking(threading.Thread):
    """One request under way."""

    def __init__(self, gateway: Gateway, path: str, body: dict[str, Any]) -> None:
        super().__init__()
        self._gateway, self._path, self._body = gateway, path, body
        self._answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self._answer = self._gateway.post(self._path, self._body)

    def answer(self) -> httpx.Response:
        self.join()
        assert self._answer is not None
        return self._answer


def complete(**fields: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "prompt": PROMPT,
        "max_tokens": 120,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    } | fields


def moves(gateway: Gateway) -> dict[str, int]:
    return dict(gateway.service.fleet.carrier.moves)


@contextmanager
def moved(gateway: Gateway, way: str, times: int = 1) -> Iterator[None]:
    """What happens in here takes a request elsewhere, in one way and so often."""
    before = moves(gateway)
    yield
    after = moves(gateway)
    assert {way: n - before.get(way, 0) for way, n in after.items() if n != before.get(way, 0)} == {
        way: times
    }


def busy(stack: Stack, gateway: Gateway, tokens: int) -> Replica:
    """The replica that has sent so many tokens of a request, once there is one."""
    found: list[str] = []

    def look() -> bool:
        links = gateway.service.fleet.links._links
        found[:] = [
            name
            for name, link in links.items()
            if any(flight.tokens >= tokens for flight in link.flights.values())
        ]
        return bool(found)

    stack.until(look)
    return stack.replicas[found[0]]


def cut(
    stack: Stack, gateway: Gateway, path: str, body: dict[str, Any], *at: int
) -> httpx.Response:
    """The answer to a request that loses its replica each time so many tokens have come."""
    links, due = gateway.service.fleet.links, list(at)
    account = links._output

    def output(link: Link, output: EngineCoreOutput, now: float) -> bool:
        flight = link.flights.get(output.request_id)
        passes = account(link, output, now)
        if due and flight is not None and flight.tokens >= due[0]:
            due.pop(0)
            asyncio.get_running_loop().call_soon(stack.replicas[link.replica_id].host.hang_up)
        return passes

    with mock.patch.object(links, "_output", output):
        answer = gateway.post(path, body)
    stack.until(lambda: {"small-a", "small-b"} <= gateway.connected())
    assert not due
    return answer


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]


def told(answer: httpx.Response) -> dict[int, dict[str, Any]]:
    """What was said of each choice, streamed or not: text, tokens, logprobs and the end."""
    assert answer.status_code == 200, answer.text
    bodies = [answer.json()] if "json" in answer.headers["content-type"] else events(answer)
    choices: dict[int, dict[str, Any]] = {}
    for body in bodies:
        assert "error" not in body, body
        for choice in body["choices"]:
            known = choices.setdefault(
                choice["index"], {"text": "", "tokens": [], "logprobs": [], "end": None}
            )
            known["text"] += choice.get("text") or ""
            known["tokens"] += choice.get("token_ids") or []
            known["logprobs"] += (choice.get("logprobs") or {}).get("token_logprobs") or []
            known["end"] = choice["finish_reason"] or known["end"]
    return choices


def same(answer: httpx.Response, calm: httpx.Response) -> None:
    """Both say the same, of every choice."""
    one, other = told(answer), told(calm)
    assert one.keys() == other.keys()
    for index, choice in one.items():
        logprobs, expected = choice.pop("logprobs"), other[index].pop("logprobs")
        assert choice == other[index]
        # Computed in other batches, the last digits may differ.
        assert logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"stop": ["gate is"], "min_tokens": 60},
        {"logprobs": 3},
        {"min_tokens": 90, "ignore_eos": False},
        {"repetition_penalty": 1.2},
        {"logit_bias": {"300": -100}},
        {"presence_penalty": 1.0},
        {"frequency_penalty": 0.7, "logprobs": 2},
        {"bad_words": ["the gate", "the tide"]},
    ],
    ids=str,
)
def test_it_goes_on_as_if_nothing_had_happened(
    stack: Stack, gateway: Gateway, params: dict[str, Any], stream: bool
) -> None:
    body = complete(stream=stream, **params)
    calm = gateway.post(COMPLETIONS, body)
    with moved(gateway, "continue"):
        same(cut(stack, gateway, COMPLETIONS, body, 25), calm)


def test_it_may_happen_again(stack: Stack, gateway: Gateway) -> None:
    body = complete(stream=True, max_tokens=300)
    calm = gateway.post(COMPLETIONS, body)
    with moved(gateway, "continue", 3):
        same(cut(stack, gateway, COMPLETIONS, body, 20, 90, 170), calm)


def test_but_not_for_ever(stack: Stack, gateway: Gateway) -> None:
    answer = cut(stack, gateway, COMPLETIONS, complete(max_tokens=400), 20, 90, 160, 230)
    assert answer.status_code == 502
    error = answer.json()["error"]
    assert error["code"] == "engine_lost"
    assert "routing.migrations" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_all_choices_go_on(stack: Stack, gateway: Gateway, stream: bool) -> None:
    body = complete(stream=stream, n=3, temperature=1.0)
    with moved(gateway, "continue", 3):
        answer = cut(stack, gateway, COMPLETIONS, body, 15)
    choices = told(answer)
    assert sorted(choices) == [0, 1, 2]
    assert {(len(each["tokens"]), each["end"]) for each in choices.values()} == {(120, "length")}


def test_random_answers_go_on_without_a_token_doubled_or_lost(
    stack: Stack, gateway: Gateway
) -> None:
    with moved(gateway, "continue"):
        answer = cut(stack, gateway, COMPLETIONS, complete(stream=True, temperature=1.0), 25)
    [choice] = told(answer).values()
    assert (len(choice["tokens"]), choice["end"]) == (120, "length")


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.8, "seed": 5},
        {"temperature": 0.8, "seed": 5, "n": 2},
        {"temperature": 0.8, "seed": 5, "logprobs": 2, "frequency_penalty": 0.7},
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_cannot_be_continued_is_generated_again(
    stack: Stack, gateway: Gateway, params: dict[str, Any], stream: bool
) -> None:
    body = complete(stream=stream, **params)
    calm = gateway.post(COMPLETIONS, body)
    times = body.get("n", 1) if stream else 1
    with moved(gateway, "replay" if stream else "restart", times):
        same(cut(stack, gateway, COMPLETIONS, body, 25), calm)


@pytest.fixture
def unrepeatable(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every request depend on something that is lost with its engine."""
    lost = partial(traits_of, reasons=True)
    monkeypatch.setattr(
        "deployments.fleet_engine.traits_of",
        lambda params, **_: replace(lost(params), history=("thinking_token_budget",)),
    )


@pytest.mark.usefixtures("unrepeatable")
def test_what_nobody_can_repeat_is_begun_anew_if_unseen(stack: Stack, gateway: Gateway) -> None:
    with moved(gateway, "restart"):
        answer = cut(stack, gateway, COMPLETIONS, complete(temperature=0.9), 25)
    [choice] = told(answer).values()
    assert len(choice["tokens"]) == 120
    assert answer.json()["usage"]["completion_tokens"] == 120


@pytest.mark.usefixtures("unrepeatable")
def test_what_nobody_can_repeat_fails_clearly_if_seen(stack: Stack, gateway: Gateway) -> None:
    body = complete(stream=True, temperature=0.9)
    with moved(gateway, "fail"):
        answer = cut(stack, gateway, COMPLETIONS, body, 25)
    error = events(answer)[-1]["error"]
    assert error["code"] == "engine_lost"
    assert "thinking_token_budget" in error["message"]
    assert answer.text.count('"error"') == 1
    assert answer.text.rstrip().endswith("data: [DONE]")


def test_a_replay_that_differs_is_not_passed_on(stack: Stack, gateway: Gateway) -> None:
    asking = Asking(gateway, COMPLETIONS, complete(stream=True, temperature=0.8, seed=5))
    replica = busy(stack, gateway, 25)

    def tamper() -> None:
        for link in gateway.service.fleet.links._links.values():
            for flight in link.flights.values():
                flight.output_ids[7] += 1
        replica.host.hang_up()

    stack.call(tamper)
    error = events(asking.answer())[-1]["error"]
    assert error["code"] == "engine_lost"
    assert "something else" in error["message"]
    stack.until(lambda: {"small-a", "small-b"} <= gateway.connected())


@pytest.mark.parametrize("stream", [False, True])
def test_a_grammar_goes_on(stack: Stack, gateway: Gateway, stream: bool) -> None:
    pattern = "([0-9]{3} [a-f]{2}; ){20}end"
    body = complete(
        stream=stream, max_tokens=400, ignore_eos=False, structured_outputs={"regex": pattern}
    )
    calm = gateway.post(COMPLETIONS, body)
    with moved(gateway, "continue"):
        answer = cut(stack, gateway, COMPLETIONS, body, 33)
    assert re.fullmatch(pattern, told(answer)[0]["text"])
    same(answer, calm)


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_goes_on(stack: Stack, gateway: Gateway, stream: bool) -> None:
    body = gateway.chat(
        "Name sizes.",
        max_tokens=100,
        stream=stream,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    )
    calm = gateway.post(CHAT, body)
    with moved(gateway, "continue"):
        answer = cut(stack, gateway, CHAT, body, 30)
    assert said(answer) == said(calm)
    assert said(answer)["content"].startswith('{"name": "')


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_call_goes_on(stack: Stack, gateway: Gateway, stream: bool) -> None:
    choice = {"type": "function", "function": {"name": "note"}}
    body = gateway.chat(
        "Take a note.", max_tokens=100, stream=stream, tools=[NOTE], tool_choice=choice
    )
    calm = gateway.post(CHAT, body)
    with moved(gateway, "continue"):
        answer = cut(stack, gateway, CHAT, body, 8)
    assert said(answer) == said(calm)
    assert json.loads(said(answer)["arguments"])


def said(answer: httpx.Response) -> dict[str, str]:
    """Content and arguments of a chat answer, streamed or not."""
    assert answer.status_code == 200, answer.text
    whole = "json" in answer.headers["content-type"]
    parts = {"content": "", "arguments": ""}
    for body in [answer.json()] if whole else events(answer):
        for choice in body["choices"]:
            message = choice["message" if whole else "delta"]
            parts["content"] += message.get("content") or ""
            for call in message.get("tool_calls") or ():
                parts["arguments"] += call["function"].get("arguments") or ""
    return parts


def test_use_is_counted_once(stack: Stack, gateway: Gateway) -> None:
    stack.call(gateway.service.fleet.usage.take)
    body = complete(stream=True, stream_options={"include_usage": True})
    answer = cut(stack, gateway, COMPLETIONS, body, 40)
    [totals] = stack.call(gateway.service.fleet.usage.take).values()
    usage = events(answer)[-1]["usage"]
    assert usage["completion_tokens"] == 120
    assert (totals.requests, totals.output_tokens) == (1, 120)
    assert totals.prompt_tokens == usage["prompt_tokens"]


def test_a_drain_moves_what_would_not_end_in_time(stack: Stack, gateway: Gateway) -> None:
    body = complete(stream=True, max_tokens=1900)
    calm = gateway.post(COMPLETIONS, body)
    asking = Asking(gateway, COMPLETIONS, body)
    replica = busy(stack, gateway, 10)
    with moved(gateway, "continue"), stack.draining(replica.name, 3.5):
        begun = time.monotonic()
        stack.until(lambda: replica.host.live_requests == 0)
        assert time.monotonic() - begun < 3.0
        answer = asking.answer()
    same(answer, calm)


def test_a_drain_leaves_what_will_end_in_time(stack: Stack, gateway: Gateway) -> None:
    before = moves(gateway)
    asking = Asking(gateway, COMPLETIONS, complete(max_tokens=200))
    replica = busy(stack, gateway, 10)
    with stack.draining(replica.name, 60.0):
        stack.until(lambda: replica.name not in gateway.connected())
        [choice] = told(asking.answer()).values()
    assert len(choice["tokens"]) == 200
    assert moves(gateway) == before
    stack.until(lambda: {"small-a", "small-b"} <= gateway.connected())


def test_a_drain_leaves_what_cannot_be_continued(stack: Stack, gateway: Gateway) -> None:
    before = moves(gateway)
    asking = Asking(
        gateway, COMPLETIONS, complete(stream=True, max_tokens=1200, temperature=0.9, seed=3)
    )
    replica = busy(stack, gateway, 10)
    with stack.draining(replica.name, 6.0):
        [choice] = told(asking.answer()).values()
    assert len(choice["tokens"]) == 1200
    assert moves(gateway) == before
    stack.until(lambda: {"small-a", "small-b"} <= gateway.connected())
