"""Whatever is sent, the answer is an error that a client can act on, and the service goes on."""

import json
import socket
from typing import Any

import httpx
import pytest

from app.errors import CODES
from tests.engine.stack import LOCALHOST, MODEL, Gateway, Stack

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
PATHS = (CHAT, COMPLETIONS, RESPONSES)
HELLO = [{"role": "user", "content": "Hello"}]
JSON = {"content-type": "application/json"}


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """An error as it should be, in OpenAI's shape."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert CODES[code].status == status
    for hint in ("Traceback", 'File "', "site-packages", "0x7f"):
        assert hint not in answer.text
    return error


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"model": "demo",}',
        b"\xff\xfe\x00",
        b'{"model": "\xc3\x28"}',
        b'{"model": "demo", "temperature": NaN}',
        b'{"model": "demo", "temperature": Infinity}',
        b'{"model": "demo", "x": "\\ud800"}',
        b'{"model": "demo"} trailing',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"model": "demo", "n": 1e999}',
        b'\xef\xbb\xbf{"model": "demo"}',
    ],
    ids=range(13),
)
def test_what_is_not_json(gateway: Gateway, path: str, body: bytes) -> None:
    check(gateway.http.post(path, content=body, headers=JSON), 400, "invalid_json")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", ["[]", "1", "null", '"text"', "{}", '{"model": 5}', "true"])
def test_what_is_not_a_request(gateway: Gateway, path: str, body: str) -> None:
    check(gateway.http.post(path, content=body, headers=JSON), 400, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": None},
        {"messages": "Hello"},
        {"messages": [[]]},
        {"messages": [{"content": "Hello"}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}}],
                }
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "no-such"}]}]},
        {"messages": HELLO * 4097},
        {"messages": HELLO * 100_000},
        {"temperature": "hot"},
        {"temperature": -1},
        {"temperature": 1e308},
        {"top_p": 0},
        {"top_p": 2},
        {"top_k": -5},
        {"max_tokens": -1},
        {"max_tokens": "many"},
        {"max_tokens": 1.5},
        {"max_completion_tokens": -5},
        {"n": 0},
        {"n": -1},
        {"n": 10**9},
        {"n": "2"},
        {"best_of": 10**9},
        {"stop": 5},
        {"stop": [""]},
        {"stop": [5]},
        {"seed": 2**80},
        {"seed": 10**400},
        {"logit_bias": {"-5": 1}},
        {"logit_bias": {"999999": 1}},
        {"logit_bias": {"x": 1}},
        {"top_logprobs": 5},
        {"logprobs": True, "top_logprobs": 10**6},
        {"logprobs": True, "top_logprobs": -2},
        {"prompt_logprobs": -5},
        {"min_tokens": 100, "max_tokens": 5},
        {"tools": "none"},
        {"tools": [{}]},
        {"tools": [], "tool_choice": "required"},
        {"tool_choice": "required"},
        {"tool_choice": {"type": "function", "function": {"name": "nope"}}},
        {"response_format": 5},
        {"stream_options": 5},
        {"stream": "maybe"},
        {"chat_template": "{{ messages }}"},
        {"chat_template": "{% for x in range(10**9) %}a{% endfor %}"},
        {"chat_template_kwargs": 5},
        {"bad_words": [5]},
        {"allowed_token_ids": [10**9]},
        {"stop_token_ids": [10**12]},
        {"truncate_prompt_tokens": -7},
        {"use_beam_search": True},
        {"logits_processors": ["os.system"]},
        {"model": "x" * 10_000},
    ],
    ids=lambda fields: str(fields)[:60],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_fields_of_a_chat(gateway: Gateway, fields: dict[str, Any], stream: bool) -> None:
    answer = gateway.post(CHAT, gateway.chat(stream=stream) | fields)
    if "model" in fields:
        check(answer, 404, "model_not_found")
    else:
        check(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": None},
        {"prompt": 5},
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [-1]},
        {"prompt": [10**9]},
        {"prompt": [2**70]},
        {"prompt": [4096]},
        {"prompt": [1, "two"]},
        {"prompt": ["one", 2]},
        {"prompt": [1.5]},
        {"prompt": ["a"] * 4097},
        {"prompt": {"text": "Hello"}},
        {"prompt_embeds": "AAAA"},
        {"logprobs": -3},
        {"logprobs": 10**6},
        {"max_tokens": -1},
        {"n": 10**9},
        {"stream": True, "use_beam_search": True},
    ],
    ids=lambda fields: str(fields)[:60],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_fields_of_a_completion(gateway: Gateway, fields: dict[str, Any], stream: bool) -> None:
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 4, "stream": stream} | fields
    check(gateway.post(COMPLETIONS, body), 400, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [
        {"input": None},
        {"input": 5},
        {"input": [{"role": "user"}]},
        {"input": [{"type": "no-such"}]},
        {"input": HELLO * 4097},
        {"max_output_tokens": -1},
        {"background": True},
        {"previous_response_id": "resp_1"},
        {"text": {"format": {"type": "json_schema"}}},
        {"tools": [{"type": "mcp"}]},
        {"temperature": -1},
    ],
    ids=lambda fields: str(fields)[:60],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_fields_of_a_response(gateway: Gateway, fields: dict[str, Any], stream: bool) -> None:
    body = {"model": MODEL, "input": "Hello", "max_output_tokens": 4, "stream": stream} | fields
    check(gateway.post(RESPONSES, body), 400, "invalid_request")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", ["none", "", "demo2", "../demo", "models/demo"])
def test_unknown_models(gateway: Gateway, path: str, model: str) -> None:
    error = check(gateway.post(path, {"model": model}), 404, "model_not_found")
    assert error["param"] == "model"


@pytest.mark.parametrize("zone", ["nowhere", "PUBLIC", "public,private", "x" * 5000, "priv\xe9"])
def test_unknown_zones(gateway: Gateway, zone: str) -> None:
    headers = {b"x-tidegate-zone": zone.encode("latin-1")}
    answer = gateway.http.post(CHAT, json=gateway.chat(), headers=headers)
    error = check(answer, 400, "unknown_zone")
    assert error["param"] == "x-tidegate-zone"


def test_forbidden_zones(stack: Stack) -> None:
    low = stack.gateway({"access": {"max_zone": "public"}})
    for stream in (False, True):
        answer = low.post(CHAT, low.chat(stream=stream), headers={"x-tidegate-zone": "private"})
        check(answer, 403, "zone_forbidden")
        marked = low.post(CHAT, low.chat("This is INTERNAL use  only.", stream=stream))
        check(marked, 403, "zone_forbidden")
    assert low.post(CHAT, low.chat()).headers["x-tidegate-zone"] == "public"


def test_bodies_over_the_limit(gateway: Gateway) -> None:
    large = b'{"model": "' + b"x" * (4 << 20) + b'"}'
    check(gateway.http.post(CHAT, content=large, headers=JSON), 413, "body_too_large")

    def chunks() -> Any:
        for _ in range(70):
            yield b"x" * 65536

    check(gateway.http.post(CHAT, content=chunks(), headers=JSON), 413, "body_too_large")


def test_a_declared_length_is_enough_to_be_refused(gateway: Gateway) -> None:
    with socket.create_connection((LOCALHOST, gateway.port), timeout=20) as sock:
        sock.sendall(
            f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {10**12}\r\n\r\n".encode()
        )
        assert sock.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/chat/completions/", 404, "not_found"),
        ("POST", "/inference/v1/abort_requests", 404, "not_found"),
        ("POST", "/scale_elastic_ep", 404, "not_found"),
        ("GET", "/metrics", 404, "not_found"),
        ("POST", "/tokenize", 404, "not_found"),
        ("GET", "/v1/%00%ff", 404, "not_found"),
    ],
)
def test_other_routes(gateway: Gateway, method: str, path: str, status: int, code: str) -> None:
    answer = gateway.http.request(method, path)
    check(answer, status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_errors_do_not_repeat_the_text(gateway: Gateway) -> None:
    secret = "marmalade aqueduct"
    for fields in (
        {"messages": [{"role": "user", "content": {"a": secret}}]},
        {"stop": [{secret: 1}]},
        {"n": secret},
    ):
        answer = gateway.post(CHAT, gateway.chat() | fields)
        assert answer.status_code == 400
        assert secret not in answer.text


def test_the_service_goes_on(gateway: Gateway) -> None:
    answer = gateway.post(CHAT, gateway.chat())
    assert answer.status_code == 200
    assert json.loads(answer.text)["choices"][0]["message"]["content"]
