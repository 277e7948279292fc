"""When a trace begins and ends, as its file's name says: 2020-11-20-1930-to-2020-11-21-2200."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_DAY_S = 86400.0
_STAMP = r"(\d{4}-\d{2}-\d{2})(?:-(\d{2}):?(\d{2}))?"
_SPAN = re.compile(rf"{_STAMP}-to-{_STAMP}(?!\d)")
_SLACK = 2.0


@dataclass(frozen=True, slots=True)
class NamedSpan:
    """A length of time that a name tells, as exactly as it does."""

    shortest_s: float
    """Least seconds that it can be."""
    longest_s: float
    """Most seconds that it can be."""

    @property
    def until_s(self) -> float:
        """Seconds from its beginning to its end; 0 if the name has days without a time."""
        return self.longest_s if self.longest_s == self.shortest_s else 0.0

    def fits(self, length_s: float) -> bool:
        """Whether a trace of this length can be meant.

        The last change comes before the end, and names were seen that end too early: one of 14
        hours has 19. A factor of two is far less than lies between units.

        Args:
            length_s: Seconds to its last change.
        """
        return self.shortest_s / _SLACK <= length_s <= self.longest_s * _SLACK


def named_span(name: str) -> NamedSpan | None:
    """Finds a begin and an end in a name.

    Args:
        name: A file's name.

    Returns:
        The span; None if the name has none, or one that ends before it begins.
    """
    found = _SPAN.search(name)
    if found is None:
        return None
    try:
        begin, begin_exact = _stamp(*found.groups()[:3])
        end, end_exact = _stamp(*found.groups()[3:])
    except ValueError:
        return None
    between = (end - begin).total_seconds()
    shortest = between - (0.0 if begin_exact else _DAY_S)
    longest = between + (0.0 if end_exact else _DAY_S)
    if longest <= 0:
        return None
    return NamedSpan(max(shortest, 0.0), longest)


def _stamp(day: str, hour: str | None, minute: str | None) -> tuple[datetime, bool]:
    at = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    if hour is None or minute is None:
        return at, False
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError(f"{hour}:{minute} is no time")
    return at + timedelta(hours=int(hour), minutes=int(minute)), True
