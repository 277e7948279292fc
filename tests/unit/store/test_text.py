from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, String

from app.store.text import fit

SHORT: Column[str] = Column("short", String(32))
WITHOUT_BOUND: Column[str] = Column("long", String())


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=32))
def test_what_fits_stays_as_it_is(value: str) -> None:
    assert fit(SHORT, value) == value


@given(st.text(st.characters()))
def test_everything_can_be_stored_and_fitting_twice_changes_nothing(value: str) -> None:
    stored = fit(SHORT, value)
    assert len(stored) <= 32
    assert "\0" not in stored
    stored.encode()
    assert fit(SHORT, stored) == stored


@given(st.text(min_size=33), st.text(min_size=33))
def test_long_texts_stay_apart(one: str, other: str) -> None:
    clean = [fit(WITHOUT_BOUND, text) for text in (one, other)]
    assert (fit(SHORT, one) == fit(SHORT, other)) == (clean[0] == clean[1])


def test_examples() -> None:
    assert fit(SHORT, "a\0b\ud800") == "a\ufffdb\ufffd"
    assert fit(SHORT, "x" * 33) == "x" * 15 + "~" + "11ba55a3a7c1ee0f"
    assert fit(WITHOUT_BOUND, "x" * 1000) == "x" * 1000
    number: Column[str] = Column("number", Integer)  # type: ignore[arg-type]
    assert fit(number, "text") == "text"
