"""Demand out of ServeGen's records: rates and inter-arrival laws of each client, by window.

The records (alibaba/ServeGen, Apache-2.0) are of windows of 600 s. What was found in them, over all
clients of language-m-large and language-m-small, 14 days each:

- The rate times 600 s is a whole number: the requests that were counted. There are no windows of 1
  to 9 requests; clients that sent so few seem to be recorded as idle.
- A Gamma law yields the recorded coefficient of variation to the digit, and its mean is that of the
  gaps: times the rate it is never more than n / (n - 1) for n requests. Mostly it is close to 1.
  Where it is less, the client was active for that share of the window only; 0.2% (small) to 1.2%
  (large) of the requests came in less than half of their window.
- A Weibull law yields neither: its mean times the rate is 0.002 to 2,100, with medians of 1.1 to
  1.2. 24% (small) and 30% (large) of the requests come under such laws.
- Windows with requests always have a law.

So the count is taken from the rate, the variability from the law's shape, and from a Gamma law's
mean for how long the client was active. The scale is used for nothing else.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.demand.lengths import Lengths
from autoscaling.simulator.demand.renewal import GAMMA, WEIBULL, places
from autoscaling.simulator.demand.windows import WINDOW_S, check_index, seeded
from autoscaling.simulator.terms import Floats, Requests

MOST_WINDOWS = 100_000
MOST_CLIENTS = 10_000
MOST_RATE = 100_000.0
"""Requests a second of one client; more are taken for another unit."""
MOST_REQUESTS = 100_000_000
"""In one window."""
_LAWS = {"": GAMMA, "Gamma": GAMMA, "Weibull": WEIBULL}
_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class ClientRates:
    """What one client does, by window of 600 s; all columns of one length."""

    name: str
    rate: Floats
    """Requests a second."""
    law: NDArray[np.int8]
    """`renewal.GAMMA` or `renewal.WEIBULL`, of the gaps between requests."""
    shape: Floats
    """Shape of that law; 1 where none was recorded, so that gaps are exponential."""
    active: Floats
    """Share of the window in which requests come, above 0 and up to 1."""


class _Row(NamedTuple):
    rate: float
    law: int
    shape: float
    active: float


def client_rates(lines: Iterable[str], name: str) -> ClientRates:
    """Reads one client's table.

    Args:
        lines: CSV without a header: start of the window (s), rate (requests/s), coefficient of
            variation, law (Gamma, Weibull or nothing), shape, scale.
        name: What to call the client in errors, such as its file's name.

    Raises:
        TraceInvalid: A line is not what it should be, windows are missing, repeated or out of
            order, or there is none.
    """
    rows: list[_Row] = []
    reader = csv.reader(lines)
    try:
        for row in reader:
            if not row:
                continue
            if len(rows) >= MOST_WINDOWS:
                problem = f"at most {MOST_WINDOWS:,} windows are read"
                raise TraceInvalid(name, reader.line_num, problem)
            try:
                rows.append(_row(row, len(rows)))
            except ValueError as error:
                raise TraceInvalid(name, reader.line_num, str(error)) from None
    except csv.Error as error:
        raise TraceInvalid(name, reader.line_num, f"no CSV ({error})") from None
    if not rows:
        raise TraceInvalid(name, 0, "there is no window in it")
    rate, law, shape, active = zip(*rows, strict=True)
    return ClientRates(
        name, np.array(rate), np.array(law, np.int8), np.array(shape), np.array(active)
    )


def _row(row: list[str], index: int) -> _Row:
    if len(row) != _COLUMNS:
        raise ValueError(f"must have {_COLUMNS} columns, and has {len(row)}")
    start, rate, cv, shape, scale = (_number(text) for text in (*row[:3], *row[4:]))
    if start != index * WINDOW_S:
        raise ValueError(_out_of_step(start, index))
    if not 0 <= rate <= MOST_RATE:
        raise ValueError(f"rate {rate:g}: must be 0 to {MOST_RATE:g} requests a second")
    if cv < 0:
        raise ValueError(f"coefficient of variation {cv:g}: must not be negative")
    if row[3] not in _LAWS:
        raise ValueError(f"law {row[3][:40]!r}: must be Gamma, Weibull or nothing")
    if not rate or not row[3]:
        return _Row(rate, GAMMA, 1.0, 1.0)
    if not (shape > 0 and scale > 0):
        raise ValueError(f"{row[3]} law of shape {shape:g} and scale {scale:g}: must be above 0")
    if row[3] == "Weibull":
        return _Row(rate, WEIBULL, shape, 1.0)
    return _Row(rate, GAMMA, shape, min(1.0, shape * scale * rate))


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{text[:40]!r} is no number")
    return number


def _out_of_step(start: float, index: int) -> str:
    due = index * WINDOW_S
    expected = f"window starts at {start:g} s, but {due:g} s is next"
    if index and start == due * 1000:
        return f"{expected}; milliseconds?"
    if start > due:
        return f"{expected}: windows are missing (or of another length); a rate of 0 must be said"
    return f"{expected}: windows are repeated or out of order"


class ServeGenWorkload:
    """Requests of many clients, each with its own counts and gaps; lengths from another record.

    Each window has what was recorded, times `scale`; a count's fraction is one more by chance. So
    the sum follows the record, and a smaller fleet sees the same curve. Each client's requests are
    placed by its own law (`renewal.places`); one that is active for a part of a window only is so
    at its end if it was idle before, at its begin if it is idle after, and else anywhere.

    Args:
        clients: Of one service, with equally many windows each.
        lengths: Prompt and output tokens of all clients.
        seed: Of chance, 0 or more.
        scale: By how much every client's rate is multiplied.

    Raises:
        SimulationError: There is no client, their windows differ in number, a window would have
            more than 100,000,000 requests, or `scale` is not above 0.
    """

    __slots__ = ("_active", "_early", "_laws", "_lengths", "_rates", "_seed", "_shapes",
                 "gap_windows", "window_s", "windows")  # fmt: skip

    def __init__(
        self, clients: Sequence[ClientRates], lengths: Lengths, seed: int, scale: float = 1.0
    ) -> None:
        _check(clients, scale)
        self._lengths = lengths
        self._seed = seed
        # By window, since that is how they are read.
        rates = np.stack([client.rate for client in clients], axis=1)
        self._rates = rates * scale
        most = float(self._rates.sum(axis=1).max()) * WINDOW_S
        if most > MOST_REQUESTS:
            raise SimulationError(
                f"ServeGen demand: {most:,.0f} requests in one window, but {MOST_REQUESTS:,} are "
                "possible; take a smaller scale"
            )
        self._laws = np.stack([client.law for client in clients], axis=1)
        self._shapes = np.stack([client.shape for client in clients], axis=1)
        self._active = np.stack([client.active for client in clients], axis=1)
        self._early = _early(rates > 0)
        self.window_s = WINDOW_S
        self.windows = len(rates)
        self.gap_windows = frozenset(int(i) for i in np.flatnonzero(~(rates > 0).any(axis=1)))
        """Windows without a request of any client: gaps in the record rather than silence."""

    def expected(self) -> Floats:
        """Requests a second in each window, as recorded and scaled."""
        total: Floats = self._rates.sum(axis=1)
        return total

    def window(self, index: int) -> Requests:
        """The requests that arrive in one window.

        Args:
            index: Which, from 0.

        Raises:
            IndexError: There is no such window.
        """
        check_index(index, self.windows)
        random = seeded(self._seed, index)
        wanted = self._rates[index] * WINDOW_S
        # Whole numbers that came through a division are as good as whole.
        counts = np.floor(wanted + 1e-6 + random.random(len(wanted)) * (1 - 2e-6)).astype(np.int64)
        clients = np.flatnonzero(counts)
        place, owner = places(
            random, counts[clients], self._laws[index, clients], self._shapes[index, clients]
        )
        early = self._early[index, clients]
        early = np.where(np.isnan(early), random.random(len(early)), early)
        active = self._active[index, clients]
        begin = (1 - active) * early
        arrival = np.sort(index * WINDOW_S + (begin[owner] + active[owner] * place) * WINDOW_S)
        # Rounding must not carry one into the next window.
        last = np.nextafter((index + 1) * WINDOW_S, 0.0)
        np.clip(arrival, index * WINDOW_S, last, out=arrival)
        prompt, output = self._lengths.draw(random, len(arrival))
        return Requests(arrival, prompt, output)


def _check(clients: Sequence[ClientRates], scale: float) -> None:
    if not 1 <= len(clients) <= MOST_CLIENTS:
        raise SimulationError(
            f"ServeGen demand: {len(clients):,} clients, but 1 to {MOST_CLIENTS:,} are possible"
        )
    for client in clients:
        if len(client.rate) != len(clients[0].rate):
            raise SimulationError(
                f"ServeGen demand: {client.name} has {len(client.rate):,} windows, but "
                f"{clients[0].name} has {len(clients[0].rate):,}; are they of one service?"
            )
    if not (isfinite(scale) and scale > 0):
        raise SimulationError(f"ServeGen demand: scale {scale:g}, but must be above 0")


def _early(busy: NDArray[np.bool_]) -> Floats:
    """Where in a window clients that are active for a part of it are: 0 early, 1 late, NaN open."""
    before, after = np.zeros_like(busy), np.zeros_like(busy)
    before[1:], after[:-1] = busy[:-1], busy[1:]
    return np.select([after & ~before, before & ~after], [1.0, 0.0], np.nan)
