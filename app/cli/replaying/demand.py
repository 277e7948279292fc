"""Requests as they came, by column, whatever they were read from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.cli.replaying.options import BIN_S
from autoscaling.simulator.demand.own import read_demand
from autoscaling.simulator.terms import Floats, Ints, Requests


class Kind(NamedTuple):
    """What routing goes by, besides the length of a request."""

    zone: str
    """Its security classification."""
    model: str
    """The model that was asked for."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests in the order of their arrival, by column; all columns are of one length."""

    source: str
    """What they were read from, for messages."""
    start: float
    """Unix time of second 0."""
    requests: Requests
    """When they came and how long they are."""
    tenants: tuple[str, ...]
    """Names of the tenants."""
    tenant: Ints
    """Which of them, by request."""
    kinds: tuple[Kind, ...]
    """The kinds of requests."""
    kind: Ints
    """Which of them, by request."""
    notes: tuple[str, ...] = ()
    """What is to be known of the data, a sentence each."""

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Prompt and output tokens together, by request."""
        requests = self.requests
        return requests.prompt.astype(np.int64) + requests.output.astype(np.int64)

    @property
    def last_s(self) -> float:
        """When the last request came, in seconds."""
        arrival: Floats = self.requests.arrival_s
        return float(arrival[-1]) if len(arrival) else 0.0

    def part(self, rows: NDArray[np.intp]) -> Requests:
        """Some of the requests.

        Args:
            rows: Their numbers, ascending.
        """
        requests = self.requests
        return Requests(requests.arrival_s[rows], requests.prompt[rows], requests.output[rows])


def read_record(
    lines: Iterable[str], what: str, kind: Kind, progress: Callable[[int], None] | None = None
) -> Demand:
    """Reads a user's own record, whose requests are all of one kind.

    Args:
        lines: CSV with the columns time, tenant, prompt_tokens and output_tokens.
        what: What it is called, for messages.
        kind: The zone and the model that the requests are for.
        progress: Told how many lines have been read.

    Raises:
        TraceInvalid: It is not what it should be.
    """
    found = read_demand(lines, what, progress, BIN_S)
    return Demand(
        source=what,
        start=found.origin_s,
        requests=found.requests,
        tenants=found.tenants,
        tenant=found.tenant,
        kinds=(kind,),
        kind=np.zeros(len(found), np.int32),
        notes=found.notes,
    )
