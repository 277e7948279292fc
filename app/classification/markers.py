"""Zone markers: the words by which a text says itself that it belongs to a higher zone."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import re2

from app.classification.fold import fold

# What a pattern is made of as far as its spaces are concerned: quoted literals, escapes and
# classes, within which a space is a space, and blanks.
_TOKENS = re2.compile(
    r"(?s)\\Q.*?(?:\\E|\z)"
    r"|\\\S"
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
    r"|\\?\s+"
)


class _Pattern(Protocol):
    """What is used of a compiled pattern; RE2's binding has no types of its own."""

    def search(self, text: bytes) -> object | None: ...


class ZoneMarkers:
    r"""The markers of every zone, searched for in a whole text.

    They are RE2 patterns over folded text (see `fold`), and are folded themselves, so that either
    may be written as it comes. A space in a pattern, outside a class, stands for any blanks, line
    breaks among them. Case does not matter; `^` and `$` are the ends of a line. Escapes such as
    `\x{2013}` are taken as they are, and so never match a character that folding changes.

    They are compiled to alternations and not to an `re2.Set`: a set whose automaton outgrows its
    memory matches nothing, while an alternation goes on with a slower one.

    Args:
        by_zone: the patterns of each zone, the lowest zone first.

    Raises:
        ValueError: a pattern is not RE2, or matches every text; the message names zone and pattern.
    """

    __slots__ = ("_any", "_highest_first")

    def __init__(self, by_zone: Mapping[str, Sequence[str]]) -> None:
        prepared = {
            zone: [_prepared(zone, pattern) for pattern in patterns]
            for zone, patterns in by_zone.items()
            if patterns
        }
        self._highest_first = [
            (zone, _compiled("|".join(patterns)))
            for zone, patterns in reversed(list(prepared.items()))
        ]
        everything = [pattern for patterns in prepared.values() for pattern in patterns]
        self._any = _compiled("|".join(everything)) if everything else None

    def highest_zone(self, folded: bytes) -> str | None:
        """The highest zone of which a folded text has a marker, or None."""
        # Most texts have no marker at all, and are searched once.
        if self._any is None or self._any.search(folded) is None:
            return None
        for zone, markers in self._highest_first:
            if markers.search(folded) is not None:
                return zone
        return None


def _compiled(pattern: str) -> _Pattern:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    compiled: _Pattern = re2.compile(f"(?im){pattern}", options)
    return compiled


def _prepared(zone: str, pattern: str) -> str:
    """A marker as it is searched for: folded, any blanks for a space, in a group of its own."""
    try:
        _compiled(pattern)
        prepared = f"(?:{_with_any_blanks(_folded(pattern))})"
        matches_nothing_at_all = _compiled(prepared).search(b"") is not None
    except re2.error as error:
        reason = error.args[0]
        reason = reason.decode() if isinstance(reason, bytes) else reason
        raise ValueError(
            f"zone {zone}: marker {pattern!r} is not an RE2 pattern: {reason}"
        ) from error
    if matches_nothing_at_all:
        raise ValueError(f"zone {zone}: marker {pattern!r} matches every text")
    return prepared


def _folded(pattern: str) -> str:
    """The pattern as folding leaves its text, with nothing that is special only since then."""
    return "".join(
        character if character.isascii() else str(re2.escape(fold(character).text.decode()))
        for character in pattern
    )


def _with_any_blanks(pattern: str) -> str:
    """The pattern with blanks of every kind and number allowed for each space in it."""
    return str(_TOKENS.sub(lambda token: _rewritten(token.group()), pattern))


def _rewritten(written: str) -> str:
    if written.startswith(r"\Q"):
        # What follows in the alternation must not be quoted, too.
        return written if written.endswith(r"\E") else rf"{written}\E"
    return r"(?:\s+)" if written.lstrip("\\").isspace() else written
