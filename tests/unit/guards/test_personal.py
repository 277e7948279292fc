"""Finding and redacting in whole texts."""

from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.guards.kinds import PERSONAL, REDACTABLE, Kind
from app.guards.personal import Finding, count, find, redact
from tests.unit.guards.samples import FOUND, GITHUB, JWT, NEARLY, PEM, texts


@pytest.mark.parametrize(("text", "kind"), FOUND)
@pytest.mark.parametrize("around", ["{}", "see {}, please", "({})", "«{}»\n", "文{}文", '"{}"'])
def test_what_is_found(text: str, kind: str, around: str) -> None:
    before, after = around.split("{}")
    assert find(before + text + after) == (
        Finding(Kind(kind), len(before), len(before) + len(text)),
    )
    assert redact(before + text + after) == f"{before}[{kind.upper()}]{after}"


@pytest.mark.parametrize("text", NEARLY)
def test_what_is_not_found(text: str) -> None:
    assert find(text) == ()
    assert find(f"so {text}, then") == ()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password: hunter2x.", "password: [SECRET]"),
        ("DB_PASSWORD='s3cr3t!pass'", "DB_PASSWORD='[SECRET]'"),
        ('{"api_key": "0123456789abcdef"}', '{"api_key": "[SECRET]"}'),
        ("postgres://app:s3cret@db/x", "postgres://app:[SECRET]@db/x"),
        ("redis://:s3cret@db", "redis://:[SECRET]@db"),
        ("Authorization: Bearer abcdEFGH12345678ijkl", "Authorization: Bearer [SECRET]"),
        ("My SSN is 123 45 6789", "My SSN is [SSN]"),
        ("call me at 4155552671!", "call me at [PHONE]!"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFFXXX", "IBAN [IBAN] BIC COBADEFFXXX"),
        ("a@b.de,c@d.fr;e@f.it", "[EMAIL],[EMAIL];[EMAIL]"),
        (f"{GITHUB} {JWT}", "[SECRET] [SECRET]"),
        (PEM.partition("-----END")[0], "[SECRET]"),
        (PEM.partition("-----END")[0] + "that was it.", "[SECRET]\nc2hvcnQ=\nthat was it."),
        (f"{PEM}\n{PEM} end", "[SECRET]\n[SECRET] end"),
        ("mailto:ada@example.com", "mailto:[EMAIL]"),
        ("https://ada:pa55w0rd@example.com/", "https://ada:[SECRET]@example.com/"),
        ("write to ada@example.com: she knows", "write to [EMAIL]: she knows"),
    ],
)
def test_only_what_is_found_is_replaced(text: str, redacted: str) -> None:
    assert redact(text).rstrip(".") == redacted.rstrip(".")


def test_only_the_kinds_that_are_asked_for_are_replaced() -> None:
    text = "ada@example.com pays with 4111 1111 1111 1111"
    assert redact(text, {Kind.CARD}) == "ada@example.com pays with [CARD]"
    assert redact(text, set()) == text
    assert count(text) == {"email": 1, "card": 1}


def test_kinds_and_placeholders() -> None:
    assert {kind.placeholder for kind in PERSONAL} == {
        "[EMAIL]",
        "[PHONE]",
        "[SSN]",
        "[CARD]",
        "[IBAN]",
    }
    assert PERSONAL | {Kind.SECRET} == REDACTABLE


@settings(deadline=None)
@given(texts)
def test_findings_are_in_order_and_apart(text: str) -> None:
    found = find(text)
    ends = [0, *(place for each in found for place in (each.start, each.end))]
    assert ends == sorted(ends)
    assert all(0 <= each.start < each.end <= len(text) for each in found)
    rebuilt = ""
    at = 0
    for each in found:
        rebuilt += text[at : each.start] + each.kind.placeholder
        at = each.end
    assert rebuilt + text[at:] == redact(text)


@settings(deadline=None)
@given(st.sampled_from(FOUND), st.text(max_size=30), st.text(max_size=30))
def test_unrelated_text_hides_nothing(sample: tuple[str, str], before: str, after: str) -> None:
    text, _ = sample
    assert text not in redact(f"{before}\n{text}\n{after}")


@pytest.mark.parametrize(
    "piece",
    ["a", "a.", "a@", "a@b.", "4", "4111 ", "41 ", "+1 2", "de12 ", "06 12 ", "eyJaaaaaaaaaaa.",
     "://a:", "password ", "password=", "-----BEGIN PRIVATE KEY-----\n", "é@", "\u200b", "tel ",
     "-----BEGIN A PRIVATE KEY-----\n" + "A" * 24 + "\n", "123-45-", "xoxb-", "ab@cd.ef:x "],
)  # fmt: skip
def test_no_text_takes_long(piece: str) -> None:
    started = process_time()
    find((piece * 50_000)[:50_000])
    # Ten times what it takes at most, and far less than quadratic time would.
    assert process_time() - started < 3.0
