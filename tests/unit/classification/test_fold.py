"""Folding: what reads the same is spelt the same, in linear time."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.classification.fold import fold


def folded(text: str) -> str:
    return fold(text).text.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text\tas\nit is", "plain text\tas\nit is"),
        ("ＩＮＴＥＲＮＡＬ　ＯＮＬＹ", "INTERNAL ONLY"),
        ("INT\u200bER\u2060NAL\ufeff", "INTERNAL"),
        ("INTER\xadNAL", "INTERNAL"),
        ("IN\x00TER\x08NAL\x7f", "INTERNAL"),
        ("I\u0332N\u0332T\u0336", "INT"),
        ("vertra\u0308ulich vertr\xe4ulich", "vertraulich vertraulich"),
        ("\u202eINTERNAL\u202c", "INTERNAL"),
        ("IN\u302eTER\U0001d165NAL", "INTERNAL"),
        ("IN\U000e0041TERNAL\ufe0f", "INTERNAL"),
        ("INTERNAL\xa0ONLY\u3000\u3164\u2800.", "INTERNAL ONLY   ."),
        ("line\u2028line\x85line\vline", "line\nline\nline line"),
        ("\u2018a\u2019 \u201cb\u201d \u2013 \u2014 \u2212 \u2011", "'a' \"b\" - - - -"),
        ("\u2460 \ufb01ne \u212a \u2026", "1 fine K ..."),
        ("\ud800INTER\udfffNAL", "INTERNAL"),
        ("秘密 Тайна", "秘密 Таина"),
    ],
)
def test_what_reads_the_same_is_spelt_the_same(text: str, expected: str) -> None:
    assert folded(text) == expected


def test_few_and_many_kinds_of_character_fold_alike() -> None:
    # One after the other, by a table of all, and by a table of those that change.
    marker = "ｓｅｃｒｅｔ\u200b é"
    for others in (
        "",
        "".join(map(chr, range(0xC0, 0x180))),
        "".join(map(chr, range(0x4E00, 0x6E00))),
    ):
        assert folded(marker + others) == "secret e" + folded(others)


@settings(deadline=None)
@given(st.text())
def test_equivalent_texts_fold_to_the_same(text: str) -> None:
    once = folded(text)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert folded(unicodedata.normalize(form, text)) == once


@settings(deadline=None)
@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = folded(text)
    assert folded(once) == once


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert fold(text) == (text.encode(), 0)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab\u200b\u0301\xadé\u3000")))
def test_hidden_characters_are_counted(text: str) -> None:
    assert fold(text).hidden == text.count("\u200b") + text.count("\xad")


def test_hidden_controls_are_counted() -> None:
    assert fold("a\x00b\x1b").hidden == 2
    assert fold("é\x00b\x1b").hidden == 2


@contextmanager
def at_most(cpu_seconds: float) -> Iterator[None]:
    """Far more than it takes anywhere, and far less than quadratic time would."""
    started = process_time()
    yield
    assert process_time() - started < cpu_seconds


@pytest.mark.parametrize(
    "text",
    [
        "\u0301\u0316" * 500_000,
        "a\u0301\u0316" * 300_000,
        "\ufdfa" * 500_000,
        "\u3300" * 500_000,
        "".join(map(chr, range(0x10000, 0x90000))),
    ],
    ids=["marks", "letters with marks", "phrases", "squared words", "all different"],
)
def test_no_text_takes_long(text: str) -> None:
    with at_most(10.0):
        assert len(fold(text).text) <= 8 * len(text.encode())
