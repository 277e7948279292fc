"""The `openai` client against every route."""

import json
from typing import Any

import pytest
from openai import APIStatusError, NotFoundError, OpenAI

from tests.engine.stack import MODEL, Gateway

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 10},
        "size": {"enum": ["small", "large"]},
    },
    "required": ["city", "size"],
    "additionalProperties": False,
}
ASK: Any = [{"role": "user", "content": "What is the weather in Bergen?"}]


@pytest.fixture
def client(gateway: Gateway) -> OpenAI:
    return gateway.openai


def test_models(client: OpenAI) -> None:
    [model] = client.models.list().data
    assert model.id == MODEL
    assert model.model_extra is not None
    assert model.model_extra["max_model_len"] == 32768


def test_chat_streamed_with_usage(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        max_tokens=10,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 10


def test_chat_with_logprobs_and_n(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=ASK,
        max_tokens=6,
        n=3,
        logprobs=True,
        top_logprobs=2,
        seed=1,
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        assert all(len(entry.top_logprobs) == 2 for entry in choice.logprobs.content)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=str
)
@pytest.mark.parametrize("stream", [False, True])
def test_tools(gateway: Gateway, choice: object, stream: bool) -> None:
    body = {
        "model": MODEL,
        "messages": ASK,
        "tools": [WEATHER],
        "tool_choice": choice,
        "max_tokens": 120,
        "temperature": 0,
    }
    if not stream:
        answer = gateway.openai.chat.completions.create(**body)
        [call] = answer.choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
    else:
        name = arguments = ""
        for chunk in gateway.openai.chat.completions.create(**body, stream=True):
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "weather"
    assert set(json.loads(arguments)) == {"city"}


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_the_models_choice(gateway: Gateway, stream: bool) -> None:
    response = gateway.post(
        "/v1/chat/completions",
        gateway.chat("What is the weather in Bergen?", tools=[WEATHER], stream=stream),
    )
    assert response.status_code == 200, response.text
    if stream:
        assert response.text.rstrip().endswith("data: [DONE]")
        assert '"error"' not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_json_schema(gateway: Gateway, stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    body = gateway.chat("A city, please.", response_format=form, max_tokens=100)
    if stream:
        chunks = gateway.openai.chat.completions.create(**body, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    else:
        text = gateway.openai.chat.completions.create(**body).choices[0].message.content
    answer = json.loads(text)
    assert set(answer) == {"city", "size"}
    assert answer["size"] in {"small", "large"}


def test_json_object(gateway: Gateway) -> None:
    body = gateway.chat(
        "An object, please.", response_format={"type": "json_object"}, max_tokens=400
    )
    answer = gateway.openai.chat.completions.create(**body)
    text = answer.choices[0].message.content
    assert text.lstrip().startswith("{")
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("outputs", "allowed"),
    [
        ({"choice": ["north", "south"]}, {"north", "south"}),
        ({"regex": "(12|34)"}, {"12", "34"}),
        ({"grammar": 'root ::= "yes" | "no"'}, {"yes", "no"}),
    ],
    ids=str,
)
def test_structured_outputs(
    gateway: Gateway, outputs: dict[str, object], allowed: set[str]
) -> None:
    body = gateway.chat("Which?", structured_outputs=outputs, max_tokens=20)
    response = gateway.post("/v1/chat/completions", body)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] in allowed


@pytest.mark.parametrize(
    "form",
    [
        {"structured_outputs": {"regex": "(unclosed"}},
        {"structured_outputs": {"grammar": "root ::= ("}},
        {"structured_outputs": {"json": {"type": "no-such-type"}}},
        {"structured_outputs": {"json": "{"}},
        {"structured_outputs": {"regex": "a", "choice": ["b"]}},
        {"structured_outputs": {"choice": []}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "no-such-type"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_grammar_is_the_clients_error(
    gateway: Gateway, form: dict[str, object], stream: bool
) -> None:
    response = gateway.post("/v1/chat/completions", gateway.chat(stream=stream, **form))
    assert response.status_code == 400, response.text
    assert response.json()["error"]["code"] == "invalid_request"


def test_responses(client: OpenAI) -> None:
    answer = client.responses.create(
        model=MODEL, input="Hello there", max_output_tokens=12, temperature=0
    )
    assert answer.output_text
    assert answer.usage is not None
    assert answer.usage.output_tokens <= 12
    with client.responses.stream(
        model=MODEL, input="Hello there", max_output_tokens=12, temperature=0
    ) as stream:
        kinds = [event.type for event in stream]
    assert kinds[0] == "response.created"
    assert "response.output_text.delta" in kinds
    assert kinds[-1] in {"response.completed", "response.incomplete"}


def test_streamed_responses_equal_whole_ones(client: OpenAI) -> None:
    ask = {"model": MODEL, "input": "Hello there", "max_output_tokens": 12, "temperature": 0}
    whole = client.responses.create(**ask)  # type: ignore[call-overload]
    text = "".join(
        event.delta
        for event in client.responses.create(**ask, stream=True)  # type: ignore[call-overload]
        if event.type == "response.output_text.delta"
    )
    assert text == whole.output_text


def test_completions(client: OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=["Hello", "Goodbye"], max_tokens=5, temperature=0
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.usage is not None
    ids = [[1, 300, 301], [1, 400]]
    both = client.completions.create(model=MODEL, prompt=ids, max_tokens=5, temperature=0)
    one = client.completions.create(model=MODEL, prompt=ids[1], max_tokens=5, temperature=0)
    assert both.choices[1].text == one.choices[0].text
    assert both.usage is not None
    assert both.usage.prompt_tokens == 5


def test_errors_are_the_clients_own(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="none", messages=ASK)
    assert caught.value.code == "model_not_found"
    with pytest.raises(APIStatusError) as unknown:
        client.chat.completions.create(
            model=MODEL,
            messages=ASK,
            extra_headers={"x-tidegate-zone": "nowhere"},
        )
    assert unknown.value.status_code == 400
    assert unknown.value.code == "unknown_zone"
