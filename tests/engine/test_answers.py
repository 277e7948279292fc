"""What the divided engine answers is what vLLM answers, whole or streamed."""

import json
from typing import Any

import pytest

from tests.engine.reference import Reference
from tests.engine.stack import MODEL, REPLICAS, Gateway, Stack
from tests.engine.text import SENTENCES

COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"


def complete(gateway: Gateway, tokens: list[int], **fields: Any) -> dict[str, Any]:
    body = {"model": MODEL, "prompt": tokens, "temperature": 0, "return_token_ids": True} | fields
    response = gateway.post(COMPLETIONS, body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def events(gateway: Gateway, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The chunks of a streamed answer, which must end as it should."""
    with gateway.http.stream("POST", path, json=body | {"stream": True}) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        data = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert data.pop() == "[DONE]"
    return [json.loads(each) for each in data]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_greedy_tokens_and_logprobs_are_vllms(
    gateway: Gateway, reference: Reference, sentence: str
) -> None:
    tokens = reference.tokens(sentence)
    [expected] = reference.answers(tokens, temperature=0, max_tokens=48, logprobs=3)
    answer = complete(gateway, tokens, max_tokens=48, logprobs=3)
    [choice] = answer["choices"]
    assert choice["token_ids"] == list(expected.token_ids)
    assert choice["text"] == expected.text
    assert choice["finish_reason"] == expected.finish_reason
    assert expected.logprobs is not None
    chosen = [
        entry[token].logprob
        for entry, token in zip(expected.logprobs, expected.token_ids, strict=True)
    ]
    assert choice["logprobs"]["token_logprobs"] == pytest.approx(chosen, abs=1e-4)
    assert answer["usage"]["prompt_tokens"] == len(tokens)
    assert answer["usage"]["completion_tokens"] == len(expected.token_ids)
    assert answer["usage"]["total_tokens"] == len(tokens) + len(expected.token_ids)


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 1.0, "seed": 7, "top_p": 0.9},
        {"temperature": 1.0, "seed": 8, "n": 3},
        {"temperature": 0.7, "seed": 3, "n": 2, "stop": ["the"]},
        {"temperature": 0.0, "frequency_penalty": 1.0, "presence_penalty": 0.5},
        {"temperature": 0.0, "repetition_penalty": 1.3, "min_tokens": 20},
        {"temperature": 0.0, "ignore_eos": True},
        {"temperature": 0.0, "logit_bias": {"300": -100, "301": 5}},
    ],
    ids=str,
)
def test_parameters_have_vllms_effect(
    gateway: Gateway, reference: Reference, params: dict[str, Any]
) -> None:
    tokens = reference.tokens(SENTENCES[0])
    own = dict(params)
    if "logit_bias" in own:
        own["logit_bias"] = {int(key): value for key, value in own["logit_bias"].items()}
    # What the model's own generation_config.json sets is a server's default, not an engine's.
    own.setdefault("top_p", 1.0)
    expected = reference.answers(tokens, max_tokens=24, **own)
    answer = complete(gateway, tokens, max_tokens=24, **({"top_p": 1.0} | params))
    choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
    assert [choice["token_ids"] for choice in choices] == [list(e.token_ids) for e in expected]
    generated = sum(len(each.token_ids) for each in expected)
    assert answer["usage"]["completion_tokens"] == generated


def test_a_stop_string_ends_text_and_work(
    gateway: Gateway, reference: Reference, stack: Stack
) -> None:
    tokens = reference.tokens(SENTENCES[1])
    [whole] = reference.answers(tokens, temperature=0, max_tokens=60, ignore_eos=True)
    stop = whole.text.split()[4]
    [expected] = reference.answers(
        tokens, temperature=0, max_tokens=60, ignore_eos=True, stop=[stop]
    )
    answer = complete(gateway, tokens, max_tokens=1500, stop=[stop], ignore_eos=True)
    [choice] = answer["choices"]
    assert choice["text"] == expected.text
    assert stop not in choice["text"]
    assert choice["finish_reason"] == "stop"
    assert choice["stop_reason"] == stop
    stack.settle()
    assert answer["usage"]["completion_tokens"] < 100


@pytest.mark.parametrize("limit", [0, 4])
def test_echo_gives_the_prompt_back(gateway: Gateway, reference: Reference, limit: int) -> None:
    tokens = reference.tokens(SENTENCES[2])
    response = gateway.post(
        COMPLETIONS,
        {
            "model": MODEL,
            "prompt": SENTENCES[2],
            "echo": True,
            "max_tokens": limit,
            "temperature": 0,
            "logprobs": 1,
        },
    )
    assert response.status_code == 200, response.text
    [choice] = response.json()["choices"]
    text = ""
    if limit:
        text = reference.answers(tokens, temperature=0, max_tokens=limit)[0].text
    assert choice["text"] == SENTENCES[2] + text
    assert len(choice["logprobs"]["tokens"]) == len(tokens) + limit
    # vLLM generates one token and hides it where none is asked for, and counts that one.
    assert response.json()["usage"]["completion_tokens"] == max(limit, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 2, "seed": 5, "temperature": 0.8},
        {"stop": ["the"]},
        {"logprobs": True, "top_logprobs": 2},
        {"max_tokens": None, "max_completion_tokens": 11},
    ],
    ids=str,
)
def test_a_stream_adds_up_to_the_whole_answer(gateway: Gateway, fields: dict[str, Any]) -> None:
    body = gateway.chat(SENTENCES[0]) | {"max_tokens": 40} | fields
    whole = gateway.post(CHAT, body).json()
    chunks = events(gateway, CHAT, body | {"stream_options": {"include_usage": True}})
    assert chunks[-1]["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert chunks[-1]["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]
    for choice in whole["choices"]:
        own = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        text = "".join(c["delta"].get("content") or "" for c in own)
        assert text == choice["message"]["content"]
        [finish] = [c["finish_reason"] for c in own if c["finish_reason"]]
        assert finish == choice["finish_reason"]
        if "logprobs" in fields:
            tokens = [t["token"] for c in own if c["logprobs"] for t in c["logprobs"]["content"]]
            assert tokens == [t["token"] for t in choice["logprobs"]["content"]]


def test_streamed_completions_of_several_prompts(gateway: Gateway) -> None:
    body = {"model": MODEL, "prompt": list(SENTENCES), "temperature": 0, "max_tokens": 12}
    whole = gateway.post(COMPLETIONS, body).json()
    chunks = events(gateway, COMPLETIONS, body)
    assert len(whole["choices"]) == len(SENTENCES)
    for choice in whole["choices"]:
        own = [c for chunk in chunks for c in chunk["choices"] if c["index"] == choice["index"]]
        assert "".join(c["text"] for c in own) == choice["text"]


def test_answers_have_the_headers_of_their_way(gateway: Gateway) -> None:
    for stream in (False, True):
        response = gateway.post(
            CHAT, gateway.chat(stream=stream), headers={"x-request-id": "mine-1"}
        )
        assert response.headers["x-request-id"] == "mine-1"
        assert response.headers["x-tidegate-zone"] == "public"
        assert response.headers["x-tidegate-pool"] == "public-small"
        assert response.headers["x-tidegate-size-class"] == "small"
        assert float(response.headers["x-tidegate-overhead-ms"]) > 0
    forged = gateway.post(CHAT, gateway.chat(), headers={"x-request-id": "a b\tc"})
    assert forged.headers["x-request-id"].isalnum()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/responses"])
def test_the_text_stays_in_the_gateway(stack: Stack, gateway: Gateway, path: str) -> None:
    secret = "marmalade aqueduct"
    bodies: dict[str, dict[str, object]] = {
        CHAT: {"messages": [{"role": "user", "content": secret}], "user": secret},
        COMPLETIONS: {"prompt": secret, "user": secret},
        "/v1/responses": {"input": secret, "instructions": secret},
    }
    fields = bodies[path]
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    hosts = [stack.replicas[name].host for name in REPLICAS]
    for host in hosts:
        host.frames.clear()
        host.recording = True
    try:
        response = gateway.post(path, {"model": MODEL, limit: 4, "temperature": 0} | fields)
    finally:
        for host in hosts:
            host.recording = False
    assert response.status_code == 200, response.text
    sent = [frame for host in hosts for _, frame in host.frames]
    assert sent
    assert not [frame for frame in sent if b"marmalade" in frame or b"aqueduct" in frame]


HEADERS = {"X-Vllm-Priority": "-100", "X-data-parallel-rank": "1", "x-session-id": "s"}
STEERING = {
    "cache_salt": "mine",
    "priority": -100,
    "kv_transfer_params": {"prompt_token_ids": [5, 6, 7], "do_remote_prefill": True},
    "ec_transfer_params": {"a": 1},
    "vllm_xargs": {"kv_transfer_params": "x", "batch_class": "y"},
    "request_id": "taken",
    "session_id": "s",
    "data_parallel_rank": 1,
}


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/v1/responses"])
def test_a_client_steers_nothing_in_the_engine(stack: Stack, gateway: Gateway, path: str) -> None:
    body: dict[str, Any] = {"model": MODEL, "temperature": 0}
    if path == "/v1/responses":
        body |= {"input": "Hello", "max_output_tokens": 4}
    elif path == CHAT:
        body = gateway.chat(max_tokens=4)
    else:
        body |= {"prompt": "Hello", "max_tokens": 4}
    seen = []
    for extra, headers in (({}, {}), (STEERING, HEADERS)):
        hosts = [stack.replicas[name].host for name in REPLICAS]
        for host in hosts:
            host.requests.clear()
            host.recording = True
        response = gateway.post(path, body | extra, headers=headers)
        for host in hosts:
            host.recording = False
        assert response.status_code == 200, response.text
        [request] = [request for host in hosts for request in host.requests]
        seen.append(request)
    plain, steered = seen
    for field in plain.__struct_fields__:
        if field not in {
            "request_id",
            "external_req_id",
            "arrival_time",
            "client_index",
            "cache_salt",
        }:
            assert getattr(plain, field) == getattr(steered, field) or field == "sampling_params"
    assert repr(plain.sampling_params) == repr(steered.sampling_params)
    assert "taken" not in steered.request_id
    # Each engine makes its own.
    assert len(steered.cache_salt) == len(plain.cache_salt) == 43
    assert steered.priority == 0
    assert not steered.sampling_params.extra_args
