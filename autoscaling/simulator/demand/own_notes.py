"""What a reader of results should know of a user's record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaling.simulator.terms import Floats, Ints

GAP_S = 3600.0
"""A longer span without requests is listed."""
MOST_GAPS = 20
"""So many are listed, the longest first; of the others the number is given."""


def notes_of(time: Floats, others: tuple[Ints, ...]) -> tuple[str, ...]:
    """Sentences on a record: what repeats, and where nothing is.

    Args:
        time: Unix time of each request, ascending.
        others: Its other columns.
    """
    repeated = duplicates(time, others)
    count = f"{repeated:,} rows repeat another one exactly; they count as requests."
    return (*([count] if repeated else ()), *_gaps(time))


def duplicates(time: Floats, others: tuple[Ints, ...]) -> int:
    """How many rows are the same as another one that is counted already.

    Args:
        time: Of each row, ascending.
        others: Its other columns.
    """
    # Only rows of equal time can be the same, and those are few.
    same = time[1:] == time[:-1]
    shared = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if not len(shared):
        return 0
    every: tuple[NDArray[Any], ...] = (*others, time)
    columns = [column[shared] for column in every]
    order = np.lexsort(columns)
    equal = np.ones(len(shared) - 1, bool)
    for column in columns:
        ranked = column[order]
        equal &= ranked[1:] == ranked[:-1]
    return int(equal.sum())


def _gaps(time: Floats) -> list[str]:
    spans = np.diff(time)
    found = np.flatnonzero(spans > GAP_S)
    longest = found[np.argsort(-spans[found], kind="stable")[:MOST_GAPS]]
    notes = [
        f"No request from {_moment(time[i])} to {_moment(time[i + 1])} "
        f"({spans[i] / 3600:,.1f} h): taken as no demand."
        for i in sorted(longest.tolist())
    ]
    if len(found) > MOST_GAPS:
        notes.append(f"{len(found) - MOST_GAPS:,} more spans of over an hour have no request.")
    return notes


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
