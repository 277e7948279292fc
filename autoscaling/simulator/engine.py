"""All replicas of a fleet and the queue in front of them, in simulated time.

A replica is what `service_times.ServiceModel` says: it reads one prompt at a time, in the order of
arrival, while the sequences that it decodes share its steps; one is begun only if its prompt and
its whole answer fit into the KV cache. A request goes to the less loaded of two open replicas drawn
at random, by tokens outstanding as the router counts them (`app.routing.balancer`); if these have
no room, to any that has. Where none has, it waits in the gateway's queue, in order, until there is
room or its patience ends. What a replica leaves behind is sent again with the tokens so far.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from app.errors import SimulationError
from autoscaling.simulator import engine_kernel as kernel
from autoscaling.simulator import engine_records as records
from autoscaling.simulator.histogram import Histogram
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Requests, Slo

MOST_PLACES = 20_000_000
"""Requests that may be on replicas and in the queue at once; each takes about 80 bytes."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts since the beginning. Latencies are counted when a request is finished."""

    arrived: int
    """Requests that came: finished, refused, lost, or still there."""
    finished: int
    """With their last token."""
    refused: int
    """At once: too long for a replica, or the queue was full."""
    lost: int
    """Given up: out of patience in the queue, or moved too often."""
    retried: int
    """Moves of requests to the queue from a replica that was taken away."""
    met: int
    """Finished within the SLO."""
    prompt_tokens: int
    """Of finished requests, as they were sent."""
    output_tokens: int
    """Of finished requests."""
    sum_ttft: float
    """Seconds to the first token of all finished requests."""
    sum_itl: float
    """Mean seconds between tokens, summed over `itl_count` requests."""
    itl_count: int
    """Finished requests of more than one output token."""
    queued_ever: int
    """Requests that found no replica with room when they came."""
    ttft: Histogram
    """Seconds to the first token."""
    itl: Histogram
    """Mean seconds between the tokens of an answer."""


@dataclass(frozen=True, slots=True)
class Loads:
    """What there is to do now."""

    running: int
    """Requests that replicas read or decode."""
    waiting: int
    """Requests that wait in replicas."""
    queued: int
    """Requests that no replica has taken."""
    queued_tokens: float
    """Prompt and output tokens of those."""
    outstanding_tokens: float
    """Prompt and output tokens still to be computed on replicas."""
    kv_use: float
    """Share of the KV cache that is used, on average over open replicas."""


_COUNTS = [field.name for field in fields(Tally) if field.name not in {"ttft", "itl"}]
_NOTHING = Histogram.merged(())


class Engines:
    """The replicas, by slot. Time only goes on, by `run`.

    Args:
        model: How fast each is.
        most: Replicas at once, at most, closed ones included.
        slo: What is promised of a request.
        patience_s: Seconds for which a request waits in the queue.
        seed: Of the draws of replicas.
        queue_most: Requests in the queue, at most; more are refused.
        begin_s: When time begins.

    Raises:
        SimulationError: An argument is out of its range; the message names it.
    """

    __slots__ = ("_gates", "_heaps", "_now", "_replicas", "_requests")

    def __init__(
        self,
        model: ServiceModel,
        most: int,
        slo: Slo,
        patience_s: float,
        seed: int,
        queue_most: int = 100_000,
        begin_s: float = 0.0,
    ) -> None:
        if not 1 <= most <= records.MOST_REPLICAS:
            raise SimulationError(
                f"there may be 1 to {records.MOST_REPLICAS:,} replicas, not {most:,}"
            )
        if not patience_s >= 0 or not abs(begin_s) < float("inf") or seed < 0:
            raise SimulationError("patience_s and seed must be from 0, begin_s a number of seconds")
        if not slo.ttft_s > 0 or not slo.itl_s > 0:
            raise SimulationError("the SLO's times must be above 0")
        taken = most * (model.max_seqs + model.most_waiting + 1)
        if queue_most < 0 or taken + queue_most > MOST_PLACES:
            raise SimulationError(
                f"{most:,} replicas of {model.max_seqs:,} + {model.most_waiting:,} requests and a "
                f"queue of {queue_most:,} are more than {MOST_PLACES:,} requests at once; lower "
                "max_seqs, most_waiting or queue_most"
            )
        self._gates = _gate(model, slo, patience_s, seed)
        self._gates["now_s"], self._gates["queue_most"] = begin_s, queue_most
        self._replicas = np.zeros(most, records.REPLICA)
        self._replicas["heap"] = np.arange(most) * model.max_seqs
        for slot in range(most):
            kernel.clear(self._replicas, slot)
        self._heaps = np.zeros(most * model.max_seqs, records.SEQUENCE)
        self._requests = np.zeros(taken + queue_most, records.REQUEST)
        self._requests["next"] = np.arange(1, taken + queue_most + 1)
        self._now = begin_s

    @property
    def now_s(self) -> float:
        """The time that has been reached."""
        return self._now

    def add(self, at_s: float) -> int:
        """Adds a replica.

        Args:
            at_s: When it begins to take requests; at once if that is over.

        Returns:
            Its slot, which a later replica may get once this one has been removed.

        Raises:
            SimulationError: There are as many as there may be.
        """
        if not at_s < float("inf"):
            raise SimulationError(f"a replica opens at some time, not at {at_s}")
        slot = int(kernel.open_slot(self._gates, self._replicas, at_s))
        if slot < 0:
            raise SimulationError(f"there are {len(self._replicas):,} replicas, which is the most")
        return slot

    def close(self, slot: int) -> None:
        """Lets a replica take no more requests; it goes on with those that it has.

        Args:
            slot: Which.

        Raises:
            SimulationError: There is none.
        """
        kernel.close_slot(self._gates, self._replicas, self._checked(slot))

    def remove(self, slot: int) -> int:
        """Takes a replica away. Its requests go to the front of the queue, or are lost.

        Args:
            slot: Which.

        Returns:
            How many requests it had.

        Raises:
            SimulationError: There is none.
        """
        return int(kernel.empty_slot(*self._memory, self._checked(slot)))

    @property
    def lost(self) -> int:
        """Requests that were given up so far, as in `tally`."""
        return int(self._gates[0]["lost"])

    def busy(self, slot: int) -> int:
        """Requests that a replica has.

        Args:
            slot: Which.

        Raises:
            SimulationError: There is none.
        """
        replica = self._replicas[self._checked(slot)]
        return int(replica["seqs"] + replica["waiting"] + (replica["reading"] >= 0))

    def run(self, requests: Requests, until_s: float) -> None:
        """Lets the time pass.

        Args:
            requests: That arrive from now to before `until_s`.
            until_s: Until when, from now on.

        Raises:
            SimulationError: A request is out of order or of that time, or has no tokens.
        """
        if not self._now <= until_s < float("inf"):
            raise SimulationError(f"time goes on: from {self._now:g} s, not to {until_s:g} s")
        columns = (
            np.ascontiguousarray(requests.arrival_s, np.float64),
            np.ascontiguousarray(requests.prompt, np.int32),
            np.ascontiguousarray(requests.output, np.int32),
        )
        if len({len(column) for column in columns}) > 1:
            raise SimulationError("the columns of requests must be of one length")
        wrong = int(kernel.check(*columns, self._now, until_s))
        if wrong >= 0:
            at, prompt, output = (column[wrong] for column in columns)
            raise SimulationError(
                f"request {wrong:,} ({at:g} s, {prompt:,} + {output:,} tokens) is out of order, "
                f"not within {self._now:g} to {until_s:g} s, or has no tokens"
            )
        kernel.run(*self._memory, *columns, until_s)
        self._now = until_s

    def tally(self, *, latencies: bool = True) -> Tally:
        """What has been counted so far.

        Args:
            latencies: Whether the histograms are wanted; they are empty otherwise.
        """
        gate = self._gates[0]
        counts = dict(zip(_COUNTS, gate[_COUNTS].item(), strict=True))
        if not latencies:
            return Tally(**counts, ttft=_NOTHING, itl=_NOTHING)
        return Tally(
            **counts, ttft=Histogram(gate["ttft"].copy()), itl=Histogram(gate["itl"].copy())
        )

    def loads(self) -> Loads:
        """What there is to do now."""
        running, waiting, outstanding, kv_use = kernel.loads(self._gates, self._replicas)
        gate = self._gates[0]
        return Loads(
            running=int(running),
            waiting=int(waiting),
            queued=int(gate["queued"] + gate["moved"]),
            queued_tokens=float(gate["queued_tokens"]),
            outstanding_tokens=float(outstanding),
            kv_use=float(kv_use),
        )

    @property
    def _memory(self) -> tuple[NDArray[np.void], ...]:
        return self._gates, self._replicas, self._heaps, self._requests

    def _checked(self, slot: int) -> int:
        if not 0 <= slot < len(self._replicas) or self._replicas[slot]["state"] == records.FREE:
            raise SimulationError(f"there is no replica in slot {slot}")
        return slot


def _gate(model: ServiceModel, slo: Slo, patience_s: float, seed: int) -> NDArray[np.void]:
    """A gateway without replicas and requests."""
    gates = np.zeros(1, records.GATE)
    gate = gates[0]
    gate["random"] = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] | np.uint64(1)
    gate["ttft_slo"], gate["itl_slo"], gate["patience_s"] = slo.ttft_s, slo.itl_s, patience_s
    for name in ("max_seqs", "kv_tokens", "chunk_tokens", "most_waiting"):
        gate[name] = getattr(model, name)
    gate["itl_s"][: model.max_seqs + 1] = model.itl_s
    tokens, seconds = list(model.prefill_tokens), list(model.prefill_s)
    # Beyond the last length goes the line of the last two; one length alone is a line from 0.
    if len(tokens) == 1:
        tokens, seconds = [tokens[0], 2 * tokens[0]], [seconds[0], 2 * seconds[0]]
    gate["points"] = len(tokens)
    gate["prefill_tokens"][: len(tokens)] = tokens
    gate["prefill_s"][: len(seconds)] = seconds
    return gates
