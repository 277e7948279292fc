"""The log outside the store: nothing is lost on the way, and nothing else is taken for a log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.chain import Entry
from app.audit.checkpoint import Checkpoint
from app.audit.lines import MAX_LINE, Position, decode, encode, from_plain, plain
from tests.unit.audit.logs import chain

_text = st.text(max_size=50)
_bytes = st.binary(max_size=64)
_int = st.integers(-(2**63), 2**63 - 1)
_float = st.floats(allow_nan=False, allow_infinity=False)
ITEMS = st.builds(
    Entry, _text, _int, _text, _float, _text, _text, _text, _text, _bytes, _bytes
) | st.builds(Checkpoint, _text, _int, _float, _bytes, _bytes, _bytes, st.booleans())


@given(ITEMS)
def test_lines_lose_nothing(item: Entry | Checkpoint) -> None:
    line = encode(item)
    assert "\n" not in line
    assert decode(line) == item
    assert decode(line.encode()) == item
    assert from_plain(json.loads(line)) == item
    assert plain(item) == json.loads(line)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_junk_is_refused(line: bytes | str) -> None:
    with pytest.raises(ValueError):
        decode(line)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "other"},
        {"sequence": "1"},
        {"sequence": 2**70},
        {"hash": "xyz"},
        {"hash": "0"},
        {"at": None},
        {"extra": 1},
        {"body": {"zone": "public"}},
    ],
)
def test_lines_with_something_else_in_them_are_refused(change: dict[str, object]) -> None:
    line = json.dumps(plain(chain(1)[0]) | change)
    with pytest.raises(ValueError):
        decode(line)


def test_endless_and_deep_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="longer than"):
        decode(" " * (MAX_LINE + 1))
    with pytest.raises(ValueError):
        decode("[" * 100_000)


def test_places_are_read_as_they_are_written() -> None:
    assert Position.parse(str(Position("ledger-0", 17))) == Position("ledger-0", 17)
    assert Position.parse("a:b:3") == Position("a:b", 3)


@pytest.mark.parametrize("text", ["", "ledger-0", ":5", "ledger-0:", "ledger-0:-1", "a:٣", "a:1x"])
def test_other_places_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="CHAIN:SEQUENCE"):
        Position.parse(text)
