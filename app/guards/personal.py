"""Personal data and secrets in whole texts."""

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from app.guards.kinds import REDACTABLE, Kind
from app.guards.scanner import Scanner


class Finding(NamedTuple):
    """One thing that was found."""

    kind: Kind
    """What it is."""
    start: int
    """Index of its first character in the text."""
    end: int
    """Index behind its last one."""


def find(text: str) -> tuple[Finding, ...]:
    """What is found in a text, from left to right; no two findings overlap.

    Takes time linear in the length of the text.
    """
    found = []
    at = 0
    for piece in Scanner().feed(text, last=True):
        if piece.kind is not None:
            found.append(Finding(piece.kind, at, at + len(piece.text)))
        at += len(piece.text)
    return tuple(found)


def count(text: str) -> dict[str, int]:
    """How many of each kind are found in a text; kinds that are not found are left out."""
    return dict(Counter(finding.kind.value for finding in find(text)))


def redact(text: str, kinds: Collection[str] = REDACTABLE) -> str:
    """The text with placeholders such as `[EMAIL]` for every finding of these kinds."""
    return "".join(
        piece.text if piece.kind is None or piece.kind not in kinds else piece.kind.placeholder
        for piece in Scanner().feed(text, last=True)
    )
