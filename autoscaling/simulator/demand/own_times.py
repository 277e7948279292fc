"""Times as they stand in a user's record."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isfinite

from app.errors import TraceInvalid

MOST_S = 1e11
"""Unix times from here on are not in seconds: this one is in the year 5138."""
_FINER = ((1e17, "nanoseconds"), (1e14, "microseconds"), (MOST_S, "milliseconds"))


class Times:
    """Reads times of one record, all of one kind: Unix seconds, or ISO 8601 with or without offset.

    Args:
        what: What the record is called in errors.
    """

    __slots__ = ("_kind", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._kind = ""

    @property
    def without_offset(self) -> bool:
        """Whether they do not say how far they are from UTC; then they are taken as UTC."""
        return self._kind == "ISO 8601 without an offset"

    @property
    def sorting(self) -> str:
        """How `sort` is told to compare them, at the end of its `-k`."""
        return "g" if self._kind == "Unix time" else ""

    def read(self, text: str, line: int) -> float:
        """Unix time in seconds.

        Args:
            text: As it stands in the record.
            line: Number of the line.

        Raises:
            TraceInvalid: It is no time, of another kind than those before, or in other units.
        """
        try:
            at = float(text)
        except ValueError:
            moment = self._moment(text, line)
            if moment.tzinfo is None:
                self._be("ISO 8601 without an offset", text, line)
                moment = moment.replace(tzinfo=UTC)
            else:
                self._be("ISO 8601 with an offset", text, line)
            at = moment.timestamp()
        else:
            self._be("Unix time", text, line)
        if 0 <= at < MOST_S:
            return at
        raise TraceInvalid(self._what, line, self._unlikely(at, text))

    def _moment(self, text: str, line: int) -> datetime:
        try:
            return datetime.fromisoformat(text.strip())
        except ValueError:
            shown = (
                f"{text[:40]!r} is neither ISO 8601 nor Unix time" if text.strip() else "missing"
            )
            raise TraceInvalid(self._what, line, f"time: {shown}") from None

    def _be(self, kind: str, text: str, line: int) -> None:
        if self._kind == kind:
            return
        if self._kind:
            problem = f"time: {text[:40]!r} is {kind}, but those before are {self._kind}; use one"
            raise TraceInvalid(self._what, line, problem)
        self._kind = kind

    @staticmethod
    def _unlikely(at: float, text: str) -> str:
        if not isfinite(at):
            return f"time: {text[:40]!r} is no time"
        if at < 0:
            return f"time: {text[:40]!r} is before 1970"
        unit = next(unit for least, unit in _FINER if at >= least)
        return f"time: {text[:40]!r} is no Unix time in seconds; {unit}?"
