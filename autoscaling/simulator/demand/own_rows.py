"""Rows of a user's record, checked one by one."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from app.errors import TraceInvalid
from autoscaling.simulator.demand.lengths import tokens
from autoscaling.simulator.demand.own_times import Times

COLUMNS = ("time", "tenant", "prompt_tokens", "output_tokens")
"""What the header must name, in any order; other columns are ignored."""
MOST_ROWS = 50_000_000
MOST_TENANTS = 100_000
MOST_NAME = 256
TOLERANCE_S = 60.0
"""By so much a row may be earlier than one before it: logs are written when requests end."""


class Places(NamedTuple):
    """Where the columns are."""

    time: int
    tenant: int
    prompt: int
    output: int


class Rows:
    """What has been read, row by row.

    Args:
        places: Where the columns are.
        what: What the record is called in errors.
    """

    __slots__ = ("_empty", "_late", "_latest", "_places", "_ranks", "_times", "_what", "output",
                 "prompt", "tenant", "time")  # fmt: skip

    def __init__(self, places: Places, what: str) -> None:
        self._places = places
        self._what = what
        self._times = Times(what)
        self._ranks: dict[str, int] = {}
        self._latest = float("-inf")
        self._late = self._empty = 0
        self.time = array("d")
        self.tenant, self.prompt, self.output = array("i"), array("i"), array("i")

    @property
    def tenants(self) -> tuple[str, ...]:
        """Names, in the order in which they first appear."""
        return tuple(self._ranks)

    def notes(self) -> list[str]:
        """Sentences on what was put right."""
        notes: list[str] = []
        if self._times.without_offset:
            notes.append("Times have no offset; they are taken as UTC.")
        if self._late:
            notes.append(
                f"{self._late:,} of {len(self.time):,} rows were not in order of time, and were "
                "sorted."
            )
        if self._empty:
            notes.append(f"{self._empty:,} requests without output count as 1 output token each.")
        return notes

    def take(self, row: list[str], line: int) -> None:
        """Reads a row.

        Args:
            row: Its fields.
            line: Number of its line.

        Raises:
            TraceInvalid: It is not what it should be.
        """
        if len(row) <= max(self._places):
            problem = f"has {len(row)} columns, fewer than the header; a column is missing"
            raise TraceInvalid(self._what, line, problem)
        if len(self.time) >= MOST_ROWS:
            problem = f"at most {MOST_ROWS:,} requests are read; take a shorter span"
            raise TraceInvalid(self._what, line, problem)
        at = self._times.read(row[self._places.time], line)
        self._in_order(at, line)
        prompt = tokens(row[self._places.prompt], "prompt_tokens", self._what, line)
        output = tokens(row[self._places.output], "output_tokens", self._what, line, least=0)
        self._empty += not output
        self.time.append(at)
        self.tenant.append(self._rank(row[self._places.tenant], line))
        self.prompt.append(prompt)
        self.output.append(output or 1)

    def _in_order(self, at: float, line: int) -> None:
        if at >= self._latest:
            self._latest = at
            return
        early = self._latest - at
        if early > TOLERANCE_S:
            key = f"-k{self._places.time + 1},{self._places.time + 1}{self._times.sorting}"
            raise TraceInvalid(
                self._what,
                line,
                f"is {early:,.0f} s earlier than one before it, more than {TOLERANCE_S:g} s: sort "
                "the rows by time first, such as by "
                f"`(head -n 1 FILE; tail -n +2 FILE | sort -t, {key}) > SORTED`",
            )
        self._late += 1

    def _rank(self, text: str, line: int) -> int:
        name = text.strip()
        rank = self._ranks.get(name)
        if rank is None:
            if not name:
                raise TraceInvalid(self._what, line, "tenant: missing")
            if len(name) > MOST_NAME:
                problem = f"tenant: {name[:20]!r}... is longer than {MOST_NAME} characters"
                raise TraceInvalid(self._what, line, problem)
            if len(self._ranks) >= MOST_TENANTS:
                problem = f"tenant: more than {MOST_TENANTS:,}; is it the right column?"
                raise TraceInvalid(self._what, line, problem)
            rank = self._ranks[name] = len(self._ranks)
        return rank


def places_of(header: list[str], what: str) -> Places:
    """Finds the columns in a header.

    Args:
        header: Its fields.
        what: What the record is called in errors.

    Raises:
        TraceInvalid: One is missing, or named twice.
    """
    names = [name.strip("\ufeff \t").lower() for name in header]
    for column in COLUMNS:
        if names.count(column) != 1:
            how = "is named twice" if column in names else "is missing"
            raise TraceInvalid(
                what,
                1,
                f"column {column!r} {how}: the header must name {', '.join(COLUMNS)}, and is "
                f"{','.join(header)[:120]!r}",
            )
    return Places(*(names.index(column) for column in COLUMNS))
