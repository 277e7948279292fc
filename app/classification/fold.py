"""One spelling for everything that reads the same: how patterns get past disguises.

Folding decomposes characters as NFKD does (full-width and other compatibility forms become plain
letters), drops combining marks and everything that is not seen (zero-width, direction, tag and
control characters, soft hyphens, variation selectors), and writes every blank as a space, every
dash as `-` and every quote straight. Texts that Unicode holds to be equivalent fold to the same.

`unicodedata.normalize` over the text would do the first part, but its ordering of combining marks
takes quadratic time: 20,000 marks in a row cost a third of a second, a body full of them minutes.
Character by character no order is needed, as all marks go; and it is linear.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

_ASCII = bytes(range(0x80))
_ASCII_AS_IT_IS = {code: chr(code) for code in range(0x80)}
# RE2's \s has no vertical tab.
_ASCII_BLANKS = bytes(0x20 if byte == 0x0B else byte for byte in range(0x100))
_ASCII_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\v\f\r") + b"\x7f"

_BLANK_TO_SEE = "\u115f\u1160\u2800"  # letters and symbols by their category
_BY_HAND = {
    "\u2018": "'",
    "\u2019": "'",
    "\u201b": "'",
    "\u02bc": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u2212": "-",
}
# Not assigned, and to be ignored when displayed (Default_Ignorable_Code_Point).
_IGNORABLE_UNASSIGNED = {0x2065, *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000)}
# Where folding changes anything; the rest of Unicode is ideographs, private use or not assigned.
_CHANGING = (
    range(0x80, 0x3400),
    range(0xA000, 0xD800),
    range(0xF900, 0x20000),
    range(0x2F800, 0x2FA20),
    range(0xE0000, 0xE1000),
)
# Two Arabic phrases fold to as many as 18 characters each. Nothing hides in them, but a body full
# of them would take that much more memory; no other character takes more than this.
_MOST_FOR_ONE = 8
_FEW = 16  # distinct characters up to which replacing one after the other is faster
# A table of all characters is faster than one of those that change, since a miss costs an
# exception, but with more distinct characters than this it takes longer to make than it saves.
_MANY = 4_096
_KINDS_OF_HIDDEN = 16  # are counted; more than that do not make a text more suspicious


class Folded(NamedTuple):
    """A text as patterns see it."""

    text: bytes
    """The folded text in UTF-8."""
    hidden: int
    """About how many characters were in the text that nobody sees."""


def fold(text: str) -> Folded:
    """Folds a text, in time linear in its length.

    Args:
        text: any text. Half surrogate pairs, which no UTF-8 can hold, are dropped.
    """
    if text.isascii():
        raw = text.encode()
        plain = raw.translate(_ASCII_BLANKS, _ASCII_CONTROLS)
        return Folded(plain, len(raw) - len(plain))
    changes = _changes()
    raw = text.encode("utf-8", "ignore")
    others = raw.translate(None, _ASCII).decode()
    distinct = set(others)
    changing = distinct & changes.keys()
    hidden_kinds = sorted(changing & _hidden())[:_KINDS_OF_HIDDEN]
    hidden = sum(map(others.count, hidden_kinds))
    if len(changing) <= _FEW:
        for character in changing:
            raw = raw.replace(character.encode(), changes[character].encode())
    else:
        raw = raw.decode().translate(_table(distinct, changes)).encode()
    plain = raw.translate(_ASCII_BLANKS, _ASCII_CONTROLS)
    return Folded(plain, hidden + len(raw) - len(plain))


def _table(distinct: set[str], changes: dict[str, str]) -> dict[int, str]:
    """The table for `str.translate` of a text with these characters."""
    if len(distinct) > _MANY:
        return _changes_by_code()
    return _ASCII_AS_IT_IS | {ord(each): changes.get(each, each) for each in distinct}


@cache
def _changes_by_code() -> dict[int, str]:
    return {ord(character): folded for character, folded in _changes().items()}


@cache
def _changes() -> dict[str, str]:
    """What every character becomes that does not stay as it is."""
    found = {}
    for codes in _CHANGING:
        for code in codes:
            character = chr(code)
            folded = _fold_one(character)
            if folded != character and len(folded) <= _MOST_FOR_ONE:
                found[character] = folded
    return found


@cache
def _hidden() -> frozenset[str]:
    """The characters that nobody sees; not marks, which change a letter that is seen."""
    return frozenset(
        character
        for character, folded in _changes().items()
        if not folded and unicodedata.category(character) in ("Cf", "Cn", "Cc")
    )


def _fold_one(character: str) -> str:
    return "".join(map(_plain, unicodedata.normalize("NFKD", character)))


def _plain(character: str) -> str:
    """What becomes of a character that cannot be decomposed."""
    if character in _BY_HAND:
        return _BY_HAND[character]
    if character in _BLANK_TO_SEE:
        return " "
    category = unicodedata.category(character)
    if category in ("Zl", "Zp") or character == "\x85":
        return "\n"
    if category == "Zs":
        return " "
    if category == "Pd":
        return "-"
    if category in ("Mn", "Me", "Cf") or unicodedata.combining(character):
        return ""
    if category == "Cc" and character not in "\t\n\v\f\r":
        return ""
    return "" if ord(character) in _IGNORABLE_UNASSIGNED else character
