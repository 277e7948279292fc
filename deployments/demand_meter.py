"""Demand at one gateway: what has arrived, what waits, what came of it.

Demand belongs to the pool that is built for a request, wherever the request went in the end. It is
counted when a request has been admitted, as what it is expected to come to, and corrected when it
has ended. One that found no replica, or lost its replica, stays counted as it was expected: what
could not be served was demand all the same.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.config import FleetConfig, PoolConfig
from app.errors import CODES, Failed, Unavailable
from app.routing.route_table import prefill_group
from autoscaling.demand.senders import MOST_CORRECTIONS
from autoscaling.demand.terms import Correction, Message, Sample, Work
from deployments.first_choice import FirstChoice

if TYPE_CHECKING:
    from deployments.handoffs import HandOffs
    from deployments.job import Admitted, Job
    from deployments.waiting import Waiting

BUCKET_S = 10.0
"""Requests that arrived within this time are corrected together."""
FINISHED = "finished"
# How requests end that might have been served: what they were expected to come to was demand.
_UNSERVED = frozenset(
    code for code, error in CODES.items() if issubclass(error, (Failed, Unavailable))
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request as it was counted.

    Attributes:
        at: when, in monotonic seconds.
        pool: the pool that is built for it.
        apart: whether its prompt was expected to be computed by other replicas than its answers.
        expected: tokens that it was expected to come to.
    """

    at: float
    pool: PoolConfig
    apart: bool
    expected: Work

    @property
    def prefill(self) -> str:
        """The group whose replicas compute its prompt."""
        return prefill_group(self.pool.name) if self.apart else self.pool.name


@dataclass(slots=True)
class _Bucket:
    """Corrections of requests that arrived at about one time."""

    count: int = 0
    arrived: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0

    def add(self, other: "_Bucket") -> None:
        self.count += other.count
        self.arrived += other.arrived
        self.prefill += other.prefill
        self.decode += other.decode


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    prefill: float = 0.0
    decode: float = 0.0
    answers: int = 0
    late: int = 0
    buckets: dict[int, _Bucket] = field(default_factory=dict)


class DemandMeter:
    """Counts demand by group, and puts it into messages.

    A message that was not answered is sent again under the same number, with nothing added to it,
    so that it counts once whether or not it had arrived; what comes meanwhile is for the next one.

    Args:
        config: the fleet's configuration.
        waiting: the requests that wait for a replica.
        handoffs: knows which prompts are computed apart.
    """

    def __init__(self, config: FleetConfig, waiting: "Waiting", handoffs: "HandOffs") -> None:
        self._choice = FirstChoice(config)
        self._pools = {pool.name: pool for pool in config.pools}
        self._waiting = waiting
        self._handoffs = handoffs
        self._gateway = secrets.token_hex(16)
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._number = 0
        self._sent: Message | None = None
        self._until: float | None = None

    def arrived(self, job: "Job", now: float) -> None:
        """Counts a request that has been admitted.

        Args:
            job: the request.
            now: the time, in monotonic seconds.
        """
        assert job.admitted is not None
        arrival = job.arrival = self._expected(job.admitted, now)
        if arrival is None:
            return
        self._counts[arrival.pool.name].requests += 1
        if arrival.apart:
            self._counts[arrival.prefill].requests += 1
        self._counts[arrival.prefill].prefill += arrival.expected.prefill
        self._counts[arrival.pool.name].decode += arrival.expected.decode

    def ended(self, job: "Job", now: float) -> None:
        """Counts what came of a request; once.

        Args:
            job: the request, with its flights and its outcome.
            now: the time, in monotonic seconds.
        """
        arrival, job.arrival = job.arrival, None
        if arrival is None:
            return
        if job.outcome not in _UNSERVED:
            done = sum(flight.tokens for flight in job.flights)
            read = arrival.expected.prefill if done or job.outcome == FINISHED else 0.0
            self._correct(arrival.prefill, arrival.at, read - arrival.expected.prefill, 0.0)
            self._correct(arrival.pool.name, arrival.at, 0.0, done - arrival.expected.decode)
        if job.outcome == FINISHED and job.route is not None:
            self._answered(job, self._pools[job.route.pool], now, apart=arrival.apart)

    def message(self, now: float) -> Message:
        """What to send: the message before if it was not answered, or else a new one.

        Args:
            now: the time, in monotonic seconds.
        """
        if self._sent is None:
            span = 0.0 if self._until is None else now - self._until
            self._until = now
            self._number += 1
            self._sent = Message(self._gateway, self._number, span, self._samples(now))
            self._counts.clear()
            return self._sent
        assert self._until is not None
        sent = self._sent
        return Message(sent.gateway, sent.number, sent.span_s, sent.groups, now - self._until)

    def answered(self) -> None:
        """Takes that the last message has been counted."""
        self._sent = None

    # Counting.

    def _expected(self, request: "Admitted", now: float) -> Arrival | None:
        pools = self._choice.pools(request)
        if not pools:
            return None
        expected = Work(
            float(request.prompt_tokens), float(request.answers * request.expected_tokens)
        )
        apart = self._handoffs.expects(request, pools[0].name)
        return Arrival(now, pools[0], apart, expected)

    def _answered(self, job: "Job", pool: PoolConfig, now: float, *, apart: bool) -> None:
        """Counts an answer, for the replicas that gave it."""
        began = [flight.first_at for flight in job.flights if flight.first_at]
        if not began:
            return
        first = min(began) - job.context.received_at > pool.slo.ttft_s
        slow = any(
            flight.tokens > 1
            and (flight.last_at - flight.first_at) / (flight.tokens - 1) > pool.slo.itl_s
            for flight in job.flights
        )
        decode = self._counts[pool.name]
        decode.answers += 1
        if apart and pool.disaggregated is not None:
            prefill = self._counts[prefill_group(pool.name)]
            prefill.answers += 1
            prefill.late += first
            decode.late += slow
        else:
            decode.late += first or slow

    def _correct(self, group: str, arrived: float, prefill: float, decode: float) -> None:
        if prefill or decode:
            buckets = self._counts[group].buckets
            bucket = buckets.setdefault(int(arrived // BUCKET_S), _Bucket())
            bucket.add(_Bucket(1, arrived, prefill, decode))
            if len(buckets) > MOST_CORRECTIONS:
                oldest = buckets.pop(min(buckets))
                buckets[min(buckets)].add(oldest)

    # Messages.

    def _samples(self, now: float) -> dict[str, Sample]:
        backlog = self._backlog(now)
        return {
            group: _sample(self._counts[group], backlog.get(group, Work()), now)
            for group in {*self._counts, *backlog}
        }

    def _backlog(self, now: float) -> dict[str, Work]:
        waits: dict[str, Work] = {}
        for arrival in self._expectations(now):
            for group, prefill, decode in (
                (arrival.prefill, arrival.expected.prefill, 0.0),
                (arrival.pool.name, 0.0, arrival.expected.decode),
            ):
                before = waits.get(group, Work())
                waits[group] = Work(before.prefill + prefill, before.decode + decode)
        return waits

    def _expectations(self, now: float) -> Iterable[Arrival]:
        found = (self._expected(request, now) for request in self._waiting.requests)
        return (arrival for arrival in found if arrival is not None)


def _sample(counts: _Counts, backlog: Work, now: float) -> Sample:
    corrections = tuple(
        Correction(
            max(0.0, now - bucket.arrived / bucket.count), Work(bucket.prefill, bucket.decode)
        )
        for bucket in counts.buckets.values()
    )
    return Sample(
        counts.requests,
        Work(counts.prefill, counts.decode),
        corrections,
        backlog,
        counts.answers,
        counts.late,
    )
