"""Answers that stream: however they are cut, what comes out is what redaction makes of them."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.config import GuardAction
from app.errors import ContentRefused
from app.guards.answer import AnswerFilter
from app.guards.kinds import PERSONAL, REDACTABLE, Kind
from app.guards.personal import count, find, redact
from tests.unit.guards.samples import FOUND, NEARLY, PEM, texts

REDACT = dict.fromkeys(REDACTABLE, GuardAction.REDACT)
HOLDS_AT_MOST = 512


def cut(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(ends)]


def run(answer: AnswerFilter, deltas: list[str], sent: list[str] | None = None) -> str:
    sent = [] if sent is None else sent
    for delta in deltas:
        sent.append(answer.push(delta))
    sent.append(answer.finish())
    return "".join(sent)


@settings(deadline=None, max_examples=400)
@given(texts, st.lists(st.integers(0, 1_000), max_size=12))
@example("ada@example.com", [4, 11])
def test_a_stream_is_redacted_as_the_whole_is(text: str, places: list[int]) -> None:
    answer = AnswerFilter(REDACT)
    assert run(answer, cut(text, places)) == redact(text)
    assert answer.found == count(text)


@settings(deadline=None)
@given(texts)
def test_character_by_character(text: str) -> None:
    answer = AnswerFilter(REDACT)
    assert run(answer, list(text)) == redact(text)
    assert answer.held == 0


@pytest.mark.parametrize("text", [text for text, _ in FOUND] + NEARLY)
def test_samples_character_by_character(text: str) -> None:
    for whole in (text, f"see {text}, please", f"{text}{text}", f"{text} {text}"):
        assert run(AnswerFilter(REDACT), list(whole)) == redact(whole)


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 1_000), max_size=12))
def test_nothing_of_a_match_comes_out_before_it_is_whole(text: str, places: list[int]) -> None:
    """At any time the stream is a beginning of the whole one's."""
    answer = AnswerFilter(REDACT)
    sent = ""
    for delta in cut(text, places):
        sent += answer.push(delta)
        assert redact(text).startswith(sent)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab1@.-+ (:/=é_\n"), max_size=3_000))
def test_what_is_held_back_is_bounded(text: str) -> None:
    answer = AnswerFilter(REDACT)
    for start in range(0, len(text), 7):
        answer.push(text[start : start + 7])
        assert answer.held <= HOLDS_AT_MOST


def test_a_long_key_is_not_held_back_until_its_end() -> None:
    answer = AnswerFilter(REDACT)
    key = PEM.replace("c2hvcnQ", ("A1b2" * 16 + "\n") * 500 + "c2hvcnQ")
    sent = answer.push("Here: ")
    for start in range(0, len(key), 5):
        sent += answer.push(key[start : start + 5])
        assert answer.held <= HOLDS_AT_MOST
    assert sent + answer.push(" done") + answer.finish() == "Here: [SECRET] done"


def test_prose_passes_word_by_word() -> None:
    answer = AnswerFilter(REDACT)
    prose = "The river rose in the night, and 12 people saw it. Nobody had thought it could."
    for word in prose.split(" "):
        answer.push(word + " ")
        assert answer.held <= len(word) + 1
    answer.push("\n")
    assert answer.held == 0


def test_watching_neither_changes_nor_delays() -> None:
    for action in (GuardAction.FLAG, GuardAction.SHADOW):
        answer = AnswerFilter(dict.fromkeys(PERSONAL, action))
        assert not answer.holds_back
        text = "ada@example.com or +44 20 7946 0958"
        assert [answer.push(each) for each in text] == list(text)
        assert answer.finish() == ""
        assert answer.found == {"email": 1, "phone": 1}
        assert answer.held == 0


def test_what_is_off_is_not_looked_for() -> None:
    for actions in ({}, {Kind.EMAIL: GuardAction.OFF}):
        answer = AnswerFilter(actions)
        assert run(answer, ["ada@example.com"]) == "ada@example.com"
        assert answer.found == {}


def test_kinds_can_differ() -> None:
    answer = AnswerFilter({Kind.EMAIL: GuardAction.FLAG, Kind.CARD: GuardAction.REDACT})
    text = "ada@example.com, 4111111111111111, 123-45-6789."
    assert run(answer, list(text)) == "ada@example.com, [CARD], 123-45-6789."
    assert answer.found == {"email": 1, "card": 1}


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 1_000), max_size=12))
def test_refusing_ends_the_answer_before_the_match(text: str, places: list[int]) -> None:
    answer = AnswerFilter(dict.fromkeys(REDACTABLE, GuardAction.REFUSE))
    first = next(iter(find(text)), None)
    if first is None:
        assert run(answer, cut(text, places)) == text
        return
    sent: list[str] = []
    with pytest.raises(ContentRefused, match="does not let out"):
        run(answer, cut(text, places), sent)
    assert text[: first.start].startswith("".join(sent))


def test_a_refusal_repeats_nothing() -> None:
    answer = AnswerFilter({Kind.EMAIL: GuardAction.REFUSE})
    with pytest.raises(ContentRefused) as refused:
        answer.push("write to ada@example.com now")
    assert "an e-mail address" in refused.value.message
    assert "ada" not in refused.value.message


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 1_000), max_size=6))
def test_cumulative_text(text: str, places: list[int]) -> None:
    answer = AnswerFilter(REDACT)
    so_far = ""
    before = ""
    for delta in cut(text, places):
        so_far += delta
        out = answer.cumulative(so_far, last=False)
        assert out.startswith(before)
        before = out
    assert answer.cumulative(text, last=True) == redact(text)
