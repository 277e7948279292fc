"""Texts as patterns see them: one byte for every character that is seen.

Patterns are written for ASCII. Whatever else there is becomes the ASCII character that it looks
like (full-width and other digits and letters, dashes, blanks), one letter that stands for all
others, or a byte that stands for anything else; what nobody sees is left out, with a note of where
everything was. Each character is taken by itself, so that it makes no difference how a text is cut.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from app.classification.fold import fold

LETTER = "q"
"""Any letter of a script with upper and lower case that has no likeness in ASCII. It is one that
words are made of, but none of the words that patterns look for."""
OTHER = "\xfe"
"""Anything else beyond ASCII: ideographs, symbols, punctuation."""

_CONTROLS = bytes(code for code in range(0x20) if code not in b"\t\n\v\f\r") + b"\x7f"


class Seen(NamedTuple):
    """A text as patterns see it."""

    text: bytes
    """A byte for each character that is seen."""
    places: Sequence[int] | None
    """Where each of them stands in the text; None: each at its own index."""

    def place(self, index: int) -> int:
        """Where the character of an index stands in the text."""
        return index if self.places is None else self.places[index]


def see(text: str) -> Seen:
    """Looks at a text, in time linear in its length."""
    if text.isascii():
        raw = text.encode()
        if len(raw.translate(None, _CONTROLS)) == len(raw):
            return Seen(raw, None)
    looks = {character: _look(character) for character in set(text)}
    if all(looks.values()):
        table = str.maketrans({c: look for c, look in looks.items() if c != look})
        return Seen(text.translate(table).encode("latin-1"), None)
    seen = [(index, looks[character]) for index, character in enumerate(text) if looks[character]]
    return Seen("".join(look for _, look in seen).encode("latin-1"), [index for index, _ in seen])


@lru_cache(maxsize=8192)
def _look(character: str) -> str:
    """What is seen of one character: nothing, or one character up to U+00FF."""
    folded = fold(character).text.decode()
    if not folded:
        # Half a surrogate pair is no character, but something is shown in its place.
        return OTHER if unicodedata.category(character) == "Cs" else ""
    if len(folded) == 1 and folded.isascii():
        return folded
    digit = unicodedata.decimal(folded, None) if len(folded) == 1 else None
    if digit is not None:
        return str(digit)
    return LETTER if unicodedata.category(folded[0]) in ("Lu", "Ll", "Lt", "Lm") else OTHER
