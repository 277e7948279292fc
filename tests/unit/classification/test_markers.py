"""Zone markers: found whatever they are dressed in, and only where they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.classification.fold import fold
from app.classification.markers import ZoneMarkers

MARKERS = ZoneMarkers(
    {
        "private": ["INTERNAL ONLY", r"company[ _-]confidential"],
        "confidential": ["STRICTLY CONFIDENTIAL", "confidentiel réservé", "極秘"],
    }
)


def zone_of(text: str, markers: ZoneMarkers = MARKERS) -> str | None:
    return markers.highest_zone(fold(text).text)


@pytest.mark.parametrize(
    "text",
    [
        "INTERNAL ONLY",
        "This is internal only!",
        "internal\n  only",
        "Internal\xa0Only",
        "ＩＮＴＥＲＮＡＬ ＯＮＬＹ",
        "I\u200bN\u200cT\u200dE\u2060R\ufeffNAL ONLY",
        "I\u0336N\u0336T\u0336E\u0336RNAL ONLY",
        "𝐈𝐍𝐓𝐄𝐑𝐍𝐀𝐋 𝕆ℕ𝕃𝕐",
        "ⒾⓃⓉⒺⓇⓃⒶⓁ only",
        "int\xadernal\u3000only",
        "int\x00ernal only",
        "int\ud800ernal only",
        "COMPANY_CONFIDENTIAL",
        "company\u2013confidential",
    ],
)
def test_found_in_any_dress(text: str) -> None:
    assert zone_of(text) == "private"


@pytest.mark.parametrize(
    "text", ["", "internally only", "the internal team only", "INTERNALONLY", "company confidence"]
)
def test_not_found_where_it_is_not(text: str) -> None:
    assert zone_of(text) is None


def test_the_highest_zone_counts_wherever_it_stands() -> None:
    assert zone_of("internal only ... strictly confidential") == "confidential"
    assert zone_of("strictly confidential ... internal only") == "confidential"


@pytest.mark.parametrize(
    "text",
    [
        "Confidentiel réservé",
        "confidentiel re\u0301serve\u0301",
        "CONFIDENTIEL RESERVE",
        "これは極秘です",
    ],
)
def test_patterns_are_folded_as_texts_are(text: str) -> None:
    assert zone_of(text) == "confidential"


@settings(deadline=None)
@given(
    st.integers(0, 400_000),
    st.sampled_from(["x", "a b ", "é\u200b", "日本"]),
    st.lists(st.sampled_from(["", "\u200b", "\u0332", "\xad", "\x01"]), min_size=8, max_size=8),
)
def test_found_anywhere_in_a_text_of_any_length(
    position: int, filler: str, disguise: list[str]
) -> None:
    marker = "".join(map("".join, zip("INTERNAL", disguise, strict=True))) + " only"
    text = filler * (400_000 // len(filler))
    assert zone_of(f"{text[:position]} {marker} {text[position:]}") == "private"


def test_without_markers_there_is_no_floor() -> None:
    for markers in (ZoneMarkers({}), ZoneMarkers({"private": []})):
        assert zone_of("INTERNAL ONLY", markers) is None


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"^secret$", "one\nSecret\ntwo", True),
        (r"^secret$", "one secret two", False),
        (r"\Qa.b c\E", "A.B C", True),
        (r"\Qa.b c", "a.b c", True),
        (r"\Qa.b c\E", "aXb c", False),
        (r"a\ b", "a\n\nb", True),
        (r"a  b", "a b", True),
        (r"a[ ]b", "a b", True),
        (r"a[] ]b", "a]b", True),
        (r"[ -~]{3}secret", "abcsecret", True),
        (r"[[:alpha:] ]9", "x9", True),
        (r"a\\ b", "a\\ b", True),
        ("wait\u2026", "wait...", True),
        ("wait\u2026", "waiting", False),
        ("\uff08secret\uff09", "(secret)", True),
        ("\uff08secret\uff09", "secret", False),
        (r"(?P<name>one)|(?P<name2>two)", "two", True),
        (r"(?-i)NATO", "nato", False),
    ],
)
def test_how_patterns_are_read(pattern: str, text: str, matches: bool) -> None:
    # A second pattern after it must not be touched by what the first one leaves open.
    markers = ZoneMarkers({"private": [pattern, "other MARKER"]})
    assert (zone_of(text, markers) == "private") is matches
    assert zone_of("another marker", markers) == "private"


@pytest.mark.parametrize(
    "pattern",
    ["(", "a)(b", "[z-a]", r"(?=ahead)", r"(a)\1", "a{5000}", "\\", "*", "((a{100}){100}){100}"],
)
def test_what_is_not_re2_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"zone private: marker .* is not an RE2 pattern: ."):
        ZoneMarkers({"private": [pattern]})


@pytest.mark.parametrize("pattern", ["", "a*", "^", "$", "a|", "\u200b"])
def test_what_matches_every_text_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="matches every text"):
        ZoneMarkers({"private": [pattern]})


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_pattern_is_either_refused_or_works(pattern: str) -> None:
    try:
        markers = ZoneMarkers({"private": [pattern, "other"]})
    except ValueError:
        return
    assert zone_of("an other", markers) == "private"
