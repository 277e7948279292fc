"""What a disguised text is meant to be read as: other scripts' letters, letters set apart.

Folding keeps to what Unicode holds to be the same. This goes further, and would spoil texts that
are no disguise, so its reading stands beside the folded text and only signs of risk are looked for
in it.
"""

import re2

# Cyrillic, Greek and Armenian letters that look like Latin ones.
_LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТХУаеѕіјорсухԁһӏΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορτυιօոս",
    "ABESIJKMHOPCTXYaesijopcyxdhlABEZHIKMNOPTYXavoptuions",
)
_LATIN = re2.compile(rb"[A-Za-z]")
# Six single letters in a row, a blank, point, dash, underscore or star between two.
_SET_APART = re2.compile(rb"(?:\b[A-Za-z][ ._\-*]){5,}[A-Za-z]\b")
# Where there are such, shorter words are set apart in the same way.
_WORD_APART = re2.compile(rb"(?:\b[A-Za-z][ ._\-*]){2,}[A-Za-z]\b")
_BETWEEN = b" ._-*"


def reading(folded: bytes) -> bytes | None:
    """What a folded text may be meant to be read as; None if it is not disguised.

    Args:
        folded: a text, or part of one, as `fold` leaves it; a character may be cut at its end.
    """
    changed = folded
    if not folded.isascii() and _LATIN.search(folded) is not None:
        changed = folded.decode("utf-8", "ignore").translate(_LOOKALIKES).encode()
    if _SET_APART.search(changed) is not None:
        changed = _joined(changed)
    return None if changed == folded else changed


def _joined(text: bytes) -> bytes:
    """The text with letters that are set apart made words; more blanks than one part words."""
    pieces: list[bytes] = []
    at = 0
    for match in _WORD_APART.finditer(text):
        pieces += (text[at : match.start()], match.group().translate(None, _BETWEEN))
        at = match.end()
    return b"".join((*pieces, text[at:]))
