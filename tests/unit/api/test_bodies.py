"""Bodies are strict JSON within limits, without what only we may set."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.bodies import RESERVED_FIELDS, parse, text_of
from app.errors import InvalidJson, InvalidRequest, TidegateError


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", **fields}).encode()


def parsed(data: bytes) -> dict[str, Any]:
    return parse(data, max_messages=10, max_n=4)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_clear_error(data: bytes) -> None:
    try:
        assert isinstance(parsed(data), dict)
    except TidegateError as error:
        assert error.status == 400


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_what_is_not_json(data: bytes) -> None:
    with pytest.raises(InvalidJson):
        parsed(data)


@pytest.mark.parametrize("data", [b"[]", b'"x"', b"1", b"null"])
def test_what_is_not_an_object(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        parsed(data)


def test_reserved_fields_are_dropped() -> None:
    fields = dict.fromkeys(RESERVED_FIELDS, "mine")
    assert parsed(body(**fields)) == {"model": "demo"}


@pytest.mark.parametrize("field", ["use_beam_search", "prompt_embeds", "background"])
def test_what_is_not_served_says_so(field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(body(**{field: True}))
    assert caught.value.param == field
    assert parsed(body(**{field: False}))[field] is False


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{}] * 11}, "messages"),
        ({"input": [{}] * 11}, "input"),
        ({"prompt": ["x"] * 11}, "prompt"),
        ({"n": 5}, "n"),
        ({"n": 0}, "n"),
        ({"n": 10**9}, "n"),
        ({"best_of": 5}, "best_of"),
    ],
)
def test_limits_name_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(body(**fields))
    assert caught.value.param == param


def test_token_ids_are_one_prompt() -> None:
    assert parsed(body(prompt=list(range(100))))["prompt"] == list(range(100))


def test_all_text_is_judged() -> None:
    data = {
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": "two"}]},
        ],
        "tools": [{"function": {"description": "three"}}],
        "documents": [{"text": "four"}],
    }
    text = text_of(data)
    for word in ("one", "two", "three", "four"):
        assert word in text.split("\n")
    assert text.index("one") < text.index("two") < text.index("three")


def test_text_in_depth_is_judged() -> None:
    deep: Any = "secret"
    for _ in range(50_000):
        deep = [deep]
    assert "secret" in text_of({"messages": deep})
