r"""Patterns of bounded length that also know their beginnings.

A stream may be passed on up to the first place from which a match could still grow. RE2 cannot say
where that is, so each pattern is built of nodes that write two expressions: one for the whole, and
one for every beginning of it, the empty and the whole one among them. Both are RE2, and neither
has a repetition without an end.
"""

from dataclasses import dataclass
from typing import Protocol

import re2


class Node(Protocol):
    """A part of a pattern."""

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        ...

    def whole(self) -> str:
        """The expression that matches it."""
        ...

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        ...


@dataclass(frozen=True, slots=True)
class Chars:
    """So many characters of a class, written as between RE2's brackets."""

    of: str
    least: int = 1
    most: int = 1

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        return self.most

    def whole(self) -> str:
        """The expression that matches it."""
        return f"[{self.of}]{{{self.least},{self.most}}}"

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        return f"[{self.of}]{{0,{self.most}}}"


@dataclass(frozen=True, slots=True)
class Word:
    """The same characters every time, in either case unless `exact`."""

    text: str
    exact: bool = False

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        return len(self.text)

    def whole(self) -> str:
        """The expression that matches it."""
        return self._flagged("".join(str(re2.escape(character)) for character in self.text))

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        nested = ""
        for character in reversed(self.text):
            nested = f"(?:{re2.escape(character)}{nested})?"
        return self._flagged(nested)

    def _flagged(self, expression: str) -> str:
        return f"(?:{expression})" if self.exact else f"(?i:{expression})"


@dataclass(frozen=True, slots=True, init=False)
class Seq:
    """One part after the other."""

    parts: tuple[Node, ...]

    def __init__(self, *parts: Node) -> None:
        object.__setattr__(self, "parts", parts)

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        return sum(part.longest for part in self.parts)

    def whole(self) -> str:
        """The expression that matches it."""
        return "(?:" + "".join(part.whole() for part in self.parts) + ")"

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        nested = ""
        for part in reversed(self.parts):
            rest = f"|{part.whole()}{nested}" if nested else ""
            nested = f"(?:{part.beginning()}{rest})"
        return nested


@dataclass(frozen=True, slots=True, init=False)
class Either:
    """One of several parts; the first that fits, where more than one does."""

    parts: tuple[Node, ...]

    def __init__(self, *parts: Node) -> None:
        object.__setattr__(self, "parts", parts)

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        return max(part.longest for part in self.parts)

    def whole(self) -> str:
        """The expression that matches it."""
        return "(?:" + "|".join(part.whole() for part in self.parts) + ")"

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        return "(?:" + "|".join(part.beginning() for part in self.parts) + ")"


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same part several times; at most once if nothing is said."""

    part: Node
    least: int = 0
    most: int = 1

    @property
    def longest(self) -> int:
        """Most characters that it can match."""
        return self.part.longest * self.most

    def whole(self) -> str:
        """The expression that matches it."""
        return f"(?:{self.part.whole()}){{{self.least},{self.most}}}"

    def beginning(self) -> str:
        """The expression that matches whatever it can begin with."""
        before = f"(?:{self.part.whole()}){{0,{self.most - 1}}}" if self.most > 1 else ""
        return f"(?:{before}{self.part.beginning()})"


NOTHING = Seq()
"""The part that is not there."""
