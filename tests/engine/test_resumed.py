"""Requests that come with output of another engine: they go on as if it were their own."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from vllm.sampling_params import StructuredOutputsParams
from vllm.v1.engine import EngineCoreOutput, FinishReason

from tests.engine.halves import Stream
from tests.engine.stack import Stack

PROMPT = [3 + (index * 7919) % 900 for index in range(70)]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


@pytest.fixture
async def stream(stack: Stack) -> AsyncIterator[Stream]:
    stream = await Stream().open(stack.replicas["small-a"].endpoint)
    yield stream
    stream.close()


async def answered(
    stream: Stream, generated: list[int] | None = None, **params: Any
) -> list[EngineCoreOutput]:
    _, answer = stream.add(PROMPT, generated=generated or (), **params)
    await answer.whole()
    return answer.outputs


def tokens(outputs: list[EngineCoreOutput]) -> list[int]:
    return [token for output in outputs for token in output.new_token_ids]


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 40, "ignore_eos": True},
        {"max_tokens": 40, "min_tokens": 30},
        {"max_tokens": 40, "repetition_penalty": 1.3, "ignore_eos": True},
        {"max_tokens": 40, "presence_penalty": 1.5, "frequency_penalty": 0.5, "ignore_eos": True},
    ],
    ids=["length", "least length", "repetition", "penalties"],
)
async def test_the_rest_is_what_it_would_have_been(stream: Stream, params: dict[str, Any]) -> None:
    whole = await answered(stream, **params)
    expected = tokens(whole)
    for cut in {1, 2, 15, 31, len(expected) - 1}:
        rest = await answered(stream, expected[:cut], **params)
        assert tokens(rest) == expected[cut:], cut
        assert rest[-1].finish_reason == whole[-1].finish_reason


async def test_stop_tokens_and_log_probabilities(stream: Stream) -> None:
    free = tokens(await answered(stream, max_tokens=40, ignore_eos=True))
    stop = free[20]
    at = free.index(stop)
    params: dict[str, Any] = {
        "max_tokens": 40,
        "ignore_eos": True,
        "stop_token_ids": [stop],
        "logprobs": 2,
    }
    whole = await answered(stream, **params)
    assert tokens(whole) == free[: at + 1]
    for cut in {1, at // 2, at}:
        rest = await answered(stream, free[:cut], **params)
        assert tokens(rest) == free[cut : at + 1]
        assert rest[-1].finish_reason is FinishReason.STOP
        assert rest[-1].stop_reason == stop
        assert logprobs(rest) == pytest.approx(logprobs(whole)[cut:], abs=1e-4)


def logprobs(outputs: list[EngineCoreOutput]) -> list[float]:
    return [
        float(value)
        for output in outputs
        if output.new_logprobs is not None
        for value in output.new_logprobs.logprobs[:, 0]
    ]


async def test_a_grammar_goes_on_where_it_was(stack: Stack, stream: Stream) -> None:
    def params() -> dict[str, Any]:
        structured = StructuredOutputsParams(json=json.dumps(SCHEMA))
        # What the gateway's input processor would choose.
        structured._backend = "xgrammar"
        return {"max_tokens": 64, "structured_outputs": structured}

    expected = tokens(await answered(stream, **params()))
    for cut in {1, len(expected) // 2, len(expected) - 1}:
        assert tokens(await answered(stream, expected[:cut], **params())) == expected[cut:], cut
    wrong = await answered(stream, [expected[1], expected[0]], **params())
    assert wrong[-1].finish_reason is FinishReason.ERROR
    assert tokens(await answered(stream, **params())) == expected


async def test_nothing_is_charged_twice(stack: Stack, stream: Stream) -> None:
    core = stack.replicas["small-a"].host.scheduler.waiting.core
    charged: list[tuple[str, int]] = []
    leave = core.leave

    def record(key: str, generated: int = 0) -> None:
        charged.append((key, generated))
        leave(key, generated)

    core.leave = record  # type: ignore[method-assign]
    try:
        rest = await answered(stream, [5] * 30, max_tokens=40, ignore_eos=True)
    finally:
        core.leave = leave  # type: ignore[method-assign]
    assert len(tokens(rest)) == 10
    assert [generated for _, generated in charged] == [10]
