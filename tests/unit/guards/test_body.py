"""Redacting a request's body: every text, nothing else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.bodies import text_of
from app.errors import ContentRefused
from app.guards.body import redact_body
from app.guards.kinds import REDACTABLE, Kind
from app.guards.personal import count
from tests.unit.guards.samples import PEM, texts

MAIL = "write to ada@example.com"
json_values = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.integers()),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
    ),
    max_leaves=8,
)


def test_every_text_is_redacted_and_the_original_stays() -> None:
    body: dict[str, Any] = {
        "model": "ada@example.com",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": MAIL},
            {"role": "user", "content": [{"type": "text", "text": MAIL}]},
            {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"to":"a@b.de"}'}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": MAIL}}],
        "stop": [MAIL, None],
        "seed": 4111111111111111,
    }
    redacted = redact_body(body, REDACTABLE)
    assert redacted == {
        "model": "ada@example.com",
        "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "write to [EMAIL]"},
            {"role": "user", "content": [{"type": "text", "text": "write to [EMAIL]"}]},
            {"role": "assistant", "tool_calls": [{"function": {"arguments": '{"to":"[EMAIL]"}'}}]},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "write to [EMAIL]"}}
        ],
        "stop": ["write to [EMAIL]", None],
        "seed": 4111111111111111,
    }
    assert body["messages"][0]["content"] == MAIL
    assert body["messages"][1]["content"][0]["text"] == MAIL
    assert body["stop"][0] == MAIL


def test_only_the_kinds_that_are_asked_for() -> None:
    body = {"prompt": f"{MAIL}, 123-45-6789"}
    assert redact_body(body, {Kind.SSN}) == {"prompt": f"{MAIL}, [SSN]"}


def test_findings_in_token_ids_are_refused() -> None:
    body: dict[str, Any] = {"prompt": [1, 2, 3], "suffix": "x"}
    assert redact_body(body, REDACTABLE, decoded="nothing here") == body
    with pytest.raises(ContentRefused, match="token ids") as refused:
        redact_body(body, REDACTABLE, decoded=MAIL)
    assert "ada" not in refused.value.message
    assert refused.value.param == "prompt"
    assert redact_body(body, {Kind.CARD}, decoded=MAIL) == body


def test_what_stretches_over_several_texts_is_refused() -> None:
    head, _, rest = PEM.partition("\n")
    body = {"messages": [{"content": head}, {"content": rest}]}
    with pytest.raises(ContentRefused, match="several messages"):
        redact_body(body, REDACTABLE)


def test_a_name_that_is_a_finding_is_refused() -> None:
    schema = {"properties": {"ada@example.com": {"type": "string"}}}
    with pytest.raises(ContentRefused, match="name of a field"):
        redact_body({"tools": [{"function": {"parameters": schema}}]}, REDACTABLE)


def test_numbers_before_a_text_hide_nothing() -> None:
    body = {"tools": [{"enum": [1, True, MAIL]}]}
    assert redact_body(body, REDACTABLE) == {"tools": [{"enum": [1, True, "write to [EMAIL]"]}]}


def test_depth_is_no_problem() -> None:
    body: dict[str, Any] = {"a": MAIL}
    for _ in range(50_000):
        body = {"a": [body]}
    redacted = redact_body(body, REDACTABLE)
    assert text_of(redacted).endswith("write to [EMAIL]")
    # Freed layer by layer: the interpreter's own way would need as deep a stack.
    for tree in (body, redacted):
        while isinstance(tree["a"], list):
            tree = tree["a"].pop()  # noqa: PLW2901


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_nothing_is_left_of_what_was_found(body: dict[str, Any]) -> None:
    try:
        redacted = redact_body(body, REDACTABLE)
    except ContentRefused:
        return
    assert count(text_of({k: v for k, v in redacted.items() if k != "model"})) == {}
    assert redact_body(redacted, REDACTABLE) == redacted
