"""Figures as they are written in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence


def percent(value: float | None, signed: bool = False) -> str:
    """For sentences and tables.

    Args:
        value: A share; None where it is not to be told.
        signed: Whether a plus is written.
    """
    if value is None:
        return "n/a"
    return f"{100 * value:+.1f}%" if signed else f"{100 * value:.1f}%"


def span(three: Sequence[float | None] | None) -> str:
    """A difference with its interval.

    Args:
        three: Value, low and high; None where it is not to be told.
    """
    if three is None or three[0] is None:
        return "not to be told"
    value, low, high = three
    if low is None or high is None:
        return f"{percent(value, signed=True)} (no interval)"
    shown = [percent(each, signed=True) for each in (value, low, high)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def points(three: Sequence[float | None] | None) -> str:
    """A difference of shares in percentage points, with its interval.

    Args:
        three: Value, low and high; None where it is not to be told.
    """
    value, low, high = three or (None, None, None)
    if value is None:
        return "not to be told"
    if low is None or high is None:
        return f"{100 * value:+.2f} (no interval)"
    return f"{100 * value:+.2f} ({100 * low:+.2f} to {100 * high:+.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of one Markdown table; all columns but the first are numbers.

    Args:
        head: Titles of the columns.
        rows: Cells.
    """
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]
