"""A user's own demand: a record of requests with their time, tenant and tokens."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.demand.lengths import MOST_TOKENS, Lengths
from autoscaling.simulator.demand.own_notes import notes_of
from autoscaling.simulator.demand.own_rows import COLUMNS, Rows, places_of
from autoscaling.simulator.demand.windows import WINDOW_S, Stored
from autoscaling.simulator.terms import Floats, Ints, Requests

LONGEST_S = 3 * 366 * 86_400.0
"""Three years: a longer record is taken for one in other units."""
PROGRESS_LINES = 50_000


@dataclass(frozen=True, slots=True)
class RecordedWorkload:
    """Requests that were recorded, as a workload. Where none were, none arrive.

    Windows begin at whole multiples of their length of Unix time, so that bins of demand are those
    that production would have had.
    """

    requests: Requests
    """All of them; times are seconds since `origin_s`."""
    tenant: Ints
    """Whose each one is: its place in `tenants`."""
    tenants: tuple[str, ...]
    """Names, in the order in which they first appear."""
    origin_s: float
    """Unix time of the workload's second 0."""
    notes: tuple[str, ...]
    """What a reader of the results should know of the record: a sentence each."""
    stored: Stored
    """The workload over `requests`."""

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.stored.window_s

    @property
    def windows(self) -> int:
        """How many there are."""
        return self.stored.windows

    @property
    def lengths(self) -> Lengths:
        """Prompt and output tokens of all requests."""
        return Lengths(self.requests.prompt, self.requests.output)

    def __len__(self) -> int:
        return len(self.requests)

    def window(self, index: int) -> Requests:
        """The requests that arrive in one window.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There is no such window.
        """
        return self.stored.window(index)

    def only(self, chosen: NDArray[np.bool_]) -> Stored:
        """The workload of some requests, such as those of a pool, over the same windows.

        Args:
            chosen: Whether a request is one of them, in the order of `requests`.

        Raises:
            SimulationError: That is not said of each request.
        """
        if chosen.shape != (len(self),):
            raise SimulationError(f"demand: {len(self):,} requests, but {chosen.shape} are chosen")
        part = Requests(
            self.requests.arrival_s[chosen],
            self.requests.prompt[chosen],
            self.requests.output[chosen],
        )
        return Stored(part, self.window_s, self.windows)

    def of_tenant(self, name: str) -> Stored:
        """The workload of one tenant.

        Args:
            name: Whose.

        Raises:
            SimulationError: There is no such tenant.
        """
        if name not in self.tenants:
            raise SimulationError(f"demand: no request is of tenant {name!r}")
        return self.only(self.tenant == self.tenants.index(name))


def read_demand(
    lines: Iterable[str],
    what: str = "demand",
    progress: Callable[[int], None] | None = None,
    window_s: float = WINDOW_S,
) -> RecordedWorkload:
    """Reads a user's own demand.

    Args:
        lines: CSV with a header that names the `COLUMNS`. A time is ISO 8601 or Unix time in
            seconds; all are of one kind, and in order within 60 s. Requests without output count
            as 1 token, since reading the prompt yields the first one.
        what: What to call it in errors, such as its file's name.
        progress: Is told how many lines have been read, every 50,000 and at the end.
        window_s: Length of a window in seconds.

    Raises:
        TraceInvalid: It is not what it should be: the message says where, and the way out.
    """
    reader = csv.reader(lines)
    columns: Rows | None = None
    told = 0
    try:
        for row in reader:
            if progress and reader.line_num - told >= PROGRESS_LINES:
                told = reader.line_num
                progress(told)
            if not row:
                continue
            if columns is None:
                columns = Rows(places_of(row, what), what)
            else:
                columns.take(row, reader.line_num)
    except csv.Error as error:
        raise TraceInvalid(what, reader.line_num, f"no CSV ({error})") from None
    if columns is None or not columns.time:
        problem = f"there is no request in it; it needs the header {','.join(COLUMNS)} and rows"
        raise TraceInvalid(what, 0, problem)
    if progress:
        progress(reader.line_num)
    return of_columns(
        columns.time,
        columns.tenant,
        columns.tenants,
        columns.prompt,
        columns.output,
        what=what,
        window_s=window_s,
        notes=columns.notes(),
    )


def of_columns(
    time: ArrayLike,
    tenant: ArrayLike,
    tenants: Sequence[str],
    prompt: ArrayLike,
    output: ArrayLike,
    *,
    what: str = "demand",
    window_s: float = WINDOW_S,
    notes: Iterable[str] = (),
) -> RecordedWorkload:
    """Makes a workload of what was recorded in some other form. The order does not matter.

    Args:
        time: Unix time of each request.
        tenant: Its place in `tenants`.
        tenants: Names.
        prompt: Prompt tokens, 1 or more.
        output: Output tokens, 1 or more.
        what: What to call it in errors.
        window_s: Length of a window in seconds.
        notes: What is known of it already; what is found here follows.

    Raises:
        TraceInvalid: There is no request, one is not what it should be, or they span over three
            years.
        SimulationError: The columns differ in length.
    """
    at: Floats = np.asarray(time, np.float64)
    others = (
        _counts(tenant, "tenant", 0, len(tenants) - 1, what),
        _counts(prompt, "prompt tokens", 1, MOST_TOKENS, what),
        _counts(output, "output tokens", 1, MOST_TOKENS, what),
    )
    if any(len(column) != len(at) for column in others):
        raise SimulationError(f"{what}: the columns differ in length")
    if not len(at):
        raise TraceInvalid(what, 0, "there is no request in it")
    if not np.isfinite(at).all():
        raise TraceInvalid(what, int(np.argmin(np.isfinite(at))) + 1, "time: no number")
    order = np.argsort(at, kind="stable")
    at = at[order]
    whose, prompts, outputs = (column[order] for column in others)
    if at[-1] - at[0] > LONGEST_S:
        days = (at[-1] - at[0]) / 86_400
        problem = f"spans {days:,.0f} days, more than {LONGEST_S / 86_400:,.0f}; other units?"
        raise TraceInvalid(what, 0, problem)
    origin = float(at[0] // window_s * window_s)
    requests = Requests(at - origin, prompts, outputs)
    return RecordedWorkload(
        requests,
        whose,
        tuple(tenants),
        origin,
        (*notes, *notes_of(at, (whose, prompts, outputs))),
        Stored(requests, window_s),
    )


def _counts(column: ArrayLike, field: str, least: int, most: int, what: str) -> Ints:
    """A column of whole numbers, within bounds."""
    values = np.asarray(column)
    if len(values) and values.dtype.kind not in "iu":
        raise TraceInvalid(what, 0, f"{field}: must be integers, and are {values.dtype}")
    wrong = (values < least) | (values > most)
    if wrong.any():
        place = int(np.argmax(wrong))
        problem = f"{field}: {values[place]:,}, but must be {least:,} to {most:,}"
        raise TraceInvalid(what, place + 1, problem)
    return values.astype(np.int32)
