"""What a rule of detection consists of."""

from collections.abc import Callable
from dataclasses import dataclass

from app.guards.grammar import NOTHING, Node
from app.guards.kinds import Kind


@dataclass(frozen=True, slots=True)
class Tail:
    """What belongs to a match for as long as it goes on, after the part of bounded length.

    Attributes:
        run: class of characters, written as between RE2's brackets.
        more: what may stand between two runs.
        last: what may stand after the last one.
    """

    run: str
    more: Node = NOTHING
    last: Node = NOTHING


@dataclass(frozen=True, slots=True)
class Rule:
    """One way in which a kind shows.

    Attributes:
        kind: what is found.
        core: what is found and would be replaced.
        lead: what must stand before it, and stays.
        after: what must stand behind it, and stays.
        unless: what must not stand behind that.
        not_after: characters of which none may stand right before the match.
        holds: a character that every match has; a cheap reason not to look closer.
        starts_word: whether the match begins where a word does.
        check: how many characters at the beginning of the core are really it; 0 for none.
        tail: how the core goes on without bounds.
    """

    kind: Kind
    core: Node
    lead: Node = NOTHING
    after: Node = NOTHING
    unless: Node = NOTHING
    not_after: bytes = b""
    holds: bytes = b""
    starts_word: bool = True
    check: Callable[[bytes], int] = len
    tail: Tail | None = None
