"""A request's class follows from its exact tokens, and its pool from its class."""

import pytest

from tests.engine.stack import MODEL, Gateway

COMPLETIONS = "/v1/completions"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("length", "size_class", "pool"),
    [
        (100, "small", "public-small"),
        (1_000, "medium", "public-small"),
        (5_000, "large", "public-large"),
        (20_000, "xl", "public-large"),
    ],
)
def test_classes(gateway: Gateway, length: int, size_class: str, pool: str) -> None:
    prompt = [1, *(300 + n % 997 for n in range(length - 1))]
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 2, "temperature": 0}
    answer = gateway.post(COMPLETIONS, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tidegate-size-class"] == size_class
    assert answer.headers["x-tidegate-pool"] == pool
    assert answer.json()["usage"]["prompt_tokens"] == length


@pytest.mark.parametrize(
    ("length", "limit", "size_class"),
    [(500, 12, "small"), (500, 13, "medium"), (2_000, 48, "medium"), (1_990, 59, "large")],
)
def test_the_asked_output_counts(
    gateway: Gateway, length: int, limit: int, size_class: str
) -> None:
    body = {"model": MODEL, "prompt": [5] * length, "max_tokens": limit, "temperature": 0}
    # Nothing is known yet of how long this kind of answer becomes, so the limit is what counts.
    expected = gateway.service.fleet.expected
    remembered = expected.predict("default", MODEL, "none", limit)
    answer = gateway.post(COMPLETIONS, body)
    assert answer.status_code == 200
    if remembered == limit:
        assert answer.headers["x-tidegate-size-class"] == size_class


def test_a_limit_past_a_pool_is_served_by_a_longer_one(gateway: Gateway) -> None:
    body = {"model": MODEL, "prompt": "Hi", "max_tokens": 3_000, "temperature": 0, "stop": ["a"]}
    answer = gateway.post(COMPLETIONS, body)
    assert answer.status_code == 200
    assert answer.headers["x-tidegate-pool"] == "public-large"


@pytest.mark.parametrize("path", [COMPLETIONS, "/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_too_long_for_any_pool(gateway: Gateway, path: str, stream: bool) -> None:
    text = "boats and more boats " * 9_000
    bodies: dict[str, dict[str, object]] = {
        COMPLETIONS: {"prompt": text},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": text}]},
        "/v1/responses": {"input": text},
    }
    answer = gateway.post(path, {"model": MODEL, "stream": stream} | bodies[path])
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "32768" in error["message"]


@pytest.mark.parametrize("length", [32_000, 40_000])
def test_too_long_says_how_long(gateway: Gateway, length: int) -> None:
    body = {"model": MODEL, "prompt": [5] * length, "max_tokens": 1_000}
    answer = gateway.post(COMPLETIONS, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    for count in ("32768", str(length)):
        assert count in error["message"]
