"""The scanner: goes through a text from left to right, however it arrives.

Matches are found where they begin first; at one place the first rule that fits counts, and the scan
goes on behind it. How a text is cut makes no difference: nothing is decided before the beginning
of what more text could still turn into a match. That is never more than the longest match of
bounded length; what goes on without bounds, such as a private key, is given out as it comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import re2

from app.guards.grammar import NOTHING, Seq
from app.guards.kinds import Kind
from app.guards.personal_rules import PERSONAL_RULES
from app.guards.rules import Rule, Tail
from app.guards.secret_rules import SECRET_RULES
from app.guards.sight import Seen, see

_MEMORY = 64 << 20  # for the automata; they are made as texts need them, and stay far below


class Piece(NamedTuple):
    """A part of the text that was scanned; all of them together are the text.

    Attributes:
        kind: what it is a finding of; None for what is none.
        text: the part.
        begins: whether a finding begins here, or goes on from the last piece.
    """

    kind: Kind | None
    text: str
    begins: bool


class _Match(Protocol):
    def start(self, group: int = 0) -> int: ...
    def end(self, group: int = 0) -> int: ...


class _Pattern(Protocol):
    """What is used of a compiled pattern; RE2's binding has no types of its own."""

    def search(self, text: bytes, pos: int = 0) -> _Match | None: ...
    def match(self, text: bytes, pos: int = 0) -> _Match | None: ...


@dataclass(frozen=True, slots=True, eq=False)
class _CompiledTail:
    run: _Pattern
    more: _Pattern
    last: _Pattern
    beginning: _Pattern


@dataclass(frozen=True, slots=True, eq=False)
class _CompiledRule:
    rule: Rule
    pattern: _Pattern
    core: int
    longest: int
    unless: _Pattern | None
    tail: _CompiledTail | None


@dataclass(frozen=True, slots=True, eq=False)
class _Compiled:
    anything: _Pattern
    beginning: _Pattern
    longest: int
    by_first: Sequence[Sequence[_CompiledRule]]


class _Found(NamedTuple):
    """A match, as indices of what is seen."""

    rule: _CompiledRule
    start: int
    end: int
    goes_on: bool


class Scanner:
    """Scans one text, in one piece or in many."""

    __slots__ = ("_before", "_compiled", "_inside", "_pending")

    def __init__(self) -> None:
        self._compiled = _rules()
        self._pending = ""
        self._before = b""
        self._inside: _CompiledRule | None = None

    @property
    def held(self) -> int:
        """Characters that have been fed and not given out."""
        return len(self._pending)

    def feed(self, text: str, *, last: bool = False) -> list[Piece]:
        """Takes more of the text, and gives out what is decided.

        Args:
            text: what comes next.
            last: whether the text ends with it; everything is given out then.
        """
        self._pending += text
        # The character before what is pending: whether a word begins depends on it.
        seen = see(self._pending)
        view = self._before + seen.text
        at = offset = len(self._before)
        pieces: list[Piece] = []
        done = 0  # index in the pending text
        if self._inside is not None:
            at, goes_on = self._follow(self._inside, view, at, last=last)
            done = seen.place(at - offset - 1) + 1 if at > offset else 0
            if done:
                pieces.append(Piece(self._inside.rule.kind, self._pending[:done], False))
            self._inside = self._inside if goes_on else None
        # Nothing that begins before `safe` can change any more.
        safe = len(view) if last else self._first_open(view, at)
        while self._inside is None:
            found = self._next(view, at, safe, last=last)
            if found is None:
                break
            start, end = seen.place(found.start - offset), seen.place(found.end - offset - 1) + 1
            if start > done:
                pieces.append(Piece(None, self._pending[done:start], False))
            pieces.append(Piece(found.rule.rule.kind, self._pending[start:end], True))
            at, done = found.end, end
            self._inside = found.rule if found.goes_on else None
        if self._inside is None:
            done = self._give_out(pieces, seen, done, max(at, safe) - offset)
            at = max(at, safe)
        self._pending = self._pending[done:]
        self._before = view[at - 1 : at] if at else b""
        if last:
            self._pending, self._before, self._inside = "", b"", None
        return pieces

    def _give_out(self, pieces: list[Piece], seen: Seen, done: int, until: int) -> int:
        """Gives out what is no finding, up to an index of what is seen."""
        place = seen.place(until) if until < len(seen.text) else len(self._pending)
        if place > done:
            pieces.append(Piece(None, self._pending[done:place], False))
        return max(done, place)

    def _first_open(self, view: bytes, at: int) -> int:
        """Where the first match may begin that more text could make or change."""
        at = max(at, len(view) - self._compiled.longest)
        match = self._compiled.beginning.search(view, at)
        return len(view) if match is None else match.start()

    def _next(self, view: bytes, at: int, safe: int, *, last: bool) -> _Found | None:
        while True:
            candidate = self._compiled.anything.search(view, at)
            if candidate is None or candidate.start() >= safe:
                return None
            start = candidate.start()
            for rule in self._compiled.by_first[view[start]]:
                found = self._check(rule, view, start, last=last)
                if found is not None:
                    return found
            at = start + 1

    def _check(self, rule: _CompiledRule, view: bytes, start: int, *, last: bool) -> _Found | None:
        if start and view[start - 1] in rule.rule.not_after:
            return None
        if rule.rule.holds and view.find(rule.rule.holds, start, start + rule.longest) < 0:
            return None
        match = rule.pattern.match(view, start)
        if match is None:
            return None
        begin, end = match.start(rule.core), match.end(rule.core)
        taken = rule.rule.check(view[begin:end])
        if taken == 0:
            return None
        if taken < end - begin:
            # What the check has left out begins with what ends the finding.
            return _Found(rule, begin, begin + taken, False)
        if rule.unless is not None and rule.unless.match(view, match.end()) is not None:
            return None
        if rule.tail is None:
            return _Found(rule, begin, end, False)
        at, goes_on = self._follow(rule, view, end, last=last)
        return _Found(rule, begin, at, goes_on)

    def _follow(self, rule: _CompiledRule, view: bytes, at: int, *, last: bool) -> tuple[int, bool]:
        """Follows a match without bounds as far as it is known; whether it may go on."""
        tail = rule.tail
        assert tail is not None
        while True:
            run = tail.run.match(view, at)
            at = at if run is None else run.end()
            if not last and tail.beginning.match(view, at) is not None:
                return at, True
            end = tail.last.match(view, at)
            if end is not None and end.end() > at:
                return end.end(), False
            if tail.beginning.match(view, at) is not None:
                # The text ends in the midst of what would have gone on.
                return len(view), False
            more = tail.more.match(view, at)
            if more is None or more.end() == at:
                return at, False
            at = more.end()


@cache
def _rules() -> _Compiled:
    rules = (*PERSONAL_RULES, *SECRET_RULES)
    starts = [_start(rule) for rule in rules]
    wholes = [Seq(rule.lead, rule.core, rule.after) for rule in rules]
    opens = [Seq(rule.lead, rule.core, rule.after, rule.unless) for rule in rules]
    compiled = [_rule(rule, start) for rule, start in zip(rules, starts, strict=True)]
    firsts = [_compile(rf"(?:{whole.beginning()})\z") for whole in wholes]
    return _Compiled(
        anything=_compile("|".join(s + w.whole() for s, w in zip(starts, wholes, strict=True))),
        beginning=_compile(
            "(?:" + "|".join(s + w.beginning() for s, w in zip(starts, opens, strict=True)) + r")\z"
        ),
        longest=max(each.longest for each in opens),
        by_first=[
            [
                rule
                for rule, first in zip(compiled, firsts, strict=True)
                if first.match(bytes((byte,))) is not None
            ]
            for byte in range(256)
        ],
    )


def _start(rule: Rule) -> str:
    return r"\b" if rule.starts_word else ""


def _rule(rule: Rule, start: str) -> _CompiledRule:
    # Captures take a slower way through RE2.
    bare = rule.lead is NOTHING and rule.after is NOTHING
    core = rule.core.whole() if bare else f"({rule.core.whole()})"
    return _CompiledRule(
        rule,
        _compile(f"{start}{rule.lead.whole()}{core}{rule.after.whole()}", captures=not bare),
        0 if bare else 1,
        Seq(rule.lead, rule.core, rule.after).longest,
        None if rule.unless is NOTHING else _compile(rule.unless.whole()),
        None if rule.tail is None else _tail(rule.tail),
    )


def _tail(tail: Tail) -> _CompiledTail:
    more = f"(?:{tail.more.beginning() or '(?:)'}|{tail.last.beginning() or '(?:)'})"
    return _CompiledTail(
        run=_compile(f"[{tail.run}]+"),
        more=_compile(tail.more.whole()),
        last=_compile(tail.last.whole()),
        beginning=_compile(rf"{more}\z"),
    )


def _compile(expression: str, *, captures: bool = False) -> _Pattern:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not captures
    options.max_mem = _MEMORY
    options.encoding = re2.Options.Encoding.LATIN1
    compiled: _Pattern = re2.compile(expression.encode("latin-1"), options)
    return compiled
