"""What a client sees of the service over HTTP."""

import json
import re
import subprocess

import httpx
import openai
import pytest

from app.config import parse_config
from app.security.secrets import ADMIN_KEY_VARIABLE
from deployments import start
from tests.cluster.fleet import Fleet
from tests.cluster.settings import MODEL, prompt_of

LETTERS = re.compile(r"[A-Za-z]{2,}")


def assert_words(text: str) -> None:
    words = LETTERS.findall(text)
    assert len(words) >= 2, text
    assert sum(map(len, words)) > len(text.strip()) / 2, text


def test_readiness_is_claimed_only_once_all_is_ready(fleet: Fleet) -> None:
    # Whether any probe met the gateway before the last engine was up is a matter of luck; what an
    # unready gateway answers stands in tests/engine.
    statuses = [probe.status for probe in fleet.startup]
    assert set(statuses) <= {503, 200}
    assert statuses[-1] == 200
    starting = [probe.body for probe in fleet.startup if probe.status == 503]
    assert all(body["status"] == "starting" for body in starting)
    ready = fleet.startup[-1].body
    assert ready["status"] == ready["classifier"] == ready["ledger"] == "ready"
    assert {(p["pool"], p["market"]): p["ready"] for p in ready["pools"]} == {
        ("public-small", "on-demand"): 1,
        ("public-small", "spot"): 1,
        ("public-large", "on-demand"): 1,
        ("confidential", "on-demand"): 1,
    }


def test_livez(fleet: Fleet) -> None:
    answer = fleet.http.get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_models_are_listed(fleet: Fleet) -> None:
    assert [model.id for model in fleet.openai.models.list()] == [MODEL]


def test_printed_curl_line_answers_in_words(
    fleet: Fleet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADMIN_KEY_VARIABLE, fleet.key)
    port = fleet.config["http_options"]["port"]
    start._announce(("127.0.0.1", port), parse_config(fleet.config["applications"][0]["args"]))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("curl "))
    answer = subprocess.run(line, shell=True, capture_output=True, check=True, timeout=100)
    assert fleet.key not in line
    assert_words(json.loads(answer.stdout)["choices"][0]["message"]["content"])


def test_openai_client_streams_words(fleet: Fleet) -> None:
    stream = fleet.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        usage = chunk.usage or usage
    assert_words(text)
    assert usage is not None
    assert usage.completion_tokens > 2


def test_openai_client_streams_tool_calls(fleet: Fleet) -> None:
    stream = fleet.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "Shut the gate."}],
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "set_gate",
                    "strict": True,
                    "description": "Opens or shuts the gate.",
                    "parameters": {
                        "type": "object",
                        "properties": {"state": {"enum": ["open", "shut"]}},
                        "required": ["state"],
                        "additionalProperties": False,
                    },
                },
            }
        ],
        tool_choice="required",
        max_tokens=200,
        temperature=0,
        stream=True,
    )
    name, arguments = "", ""
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or ():
            if call.index == 0 and call.function is not None:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    assert name == "set_gate"
    assert json.loads(arguments)["state"] in {"open", "shut"}


def test_openai_client_streams_structured_output(fleet: Fleet) -> None:
    schema = {
        "type": "object",
        "properties": {"tide": {"enum": ["in", "out"]}, "boats": {"enum": [1, 2, 3]}},
        "required": ["tide", "boats"],
        "additionalProperties": False,
    }
    stream = fleet.openai.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "How is the tide?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "tide", "schema": schema}},
        max_tokens=200,
        temperature=0,
        stream=True,
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    answer = json.loads(text)
    assert answer["tide"] in {"in", "out"}
    assert answer["boats"] in {1, 2, 3}


@pytest.mark.parametrize(
    ("tokens", "size_class", "pool"),
    [
        (100, "small", "public-small"),
        (1_000, "medium", "public-small"),
        (5_000, "large", "public-large"),
        (20_000, "xl", "public-large"),
    ],
)
def test_size_class_and_pool_follow_the_prompt(
    fleet: Fleet, tokens: int, size_class: str, pool: str
) -> None:
    answer = fleet.post(fleet.chat(prompt_of(tokens), max_tokens=8))
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == pytest.approx(tokens, rel=0.02, abs=40)
    assert answer.headers["x-tidegate-size-class"] == size_class
    assert answer.headers["x-tidegate-pool"] == pool
    assert answer.headers["x-tidegate-zone"] == "public"
    assert float(answer.headers["x-tidegate-overhead-ms"]) > 0


def test_prompt_beyond_every_pool_is_refused_with_the_counts(fleet: Fleet) -> None:
    answer = fleet.post(fleet.chat(prompt_of(34_000)))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "32768" in error["message"]


def test_request_id_is_sent_back_once(fleet: Fleet) -> None:
    answer = fleet.post(fleet.chat(max_tokens=2), x_request_id="tide-42")
    assert answer.headers.get_list("x-request-id") == ["tide-42"]


def test_request_id_is_made_where_none_is_sent(fleet: Fleet) -> None:
    answer = fleet.post(fleet.chat(max_tokens=2))
    assert len(answer.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b'{"model": "demo", "messages": [], "temperature": NaN}', 400, "invalid_json"),
        (b'{"model": "none", "messages": [{"role": "user", "content": "x"}]}', 404, None),
        (b"{" + b" " * (4 << 20) + b"}", 413, "body_too_large"),
    ],
    ids=["cut off", "not UTF-8", "NaN", "unknown model", "over 4 MiB"],
)
def test_bad_bodies_through_the_proxy(
    fleet: Fleet, content: bytes, status: int, code: str | None
) -> None:
    answer = fleet.http.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == (code or "model_not_found")


def test_unknown_path(fleet: Fleet) -> None:
    answer = fleet.http.get("/v1/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_openai_client_sees_our_errors(fleet: Fleet) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        fleet.openai.chat.completions.create(
            model="none", messages=[{"role": "user", "content": "x"}]
        )
    assert caught.value.code == "model_not_found"


def test_health_route_of_the_proxy_is_not_the_services(fleet: Fleet) -> None:
    answer = httpx.get(f"{fleet.url}/-/healthz", timeout=10)
    assert answer.status_code == 200
