"""A busy hour of real demand against a warm pool, in simulated time.

The decisions are those of the core that runs in production; replicas, Serve and requests are
simulated.
"""

from __future__ import annotations

import csv
import heapq
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from autoscaling.simulated_serve import SimulatedReplica, SimulatedServe, Times
from autoscaling.warm_pool import Phase, PoolSettings, WarmPool


@dataclass(frozen=True, slots=True)
class Request:
    """One line of a trace."""

    at: float
    """Seconds since the first one."""
    prompt: int
    output: int

    @property
    def tokens(self) -> int:
        return self.prompt + self.output


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a replica computes."""

    prompt_tokens_s: float = 8000.0
    """Tokens of a prompt that are read in a second."""
    token_s: float = 0.03
    """Seconds between two tokens of an answer."""

    def lasts(self, request: Request) -> float:
        return request.prompt / self.prompt_tokens_s + request.output * self.token_s


@dataclass(slots=True)
class Outcome:
    """What one arm came to."""

    requests: int = 0
    waited: int = 0
    """Requests that no replica took at once."""
    waited_for_start: int = 0
    """Of these, requests that waited while replicas were wanted that had yet to be started."""
    waits: list[float] = field(default_factory=list)
    """Seconds that those waited that did."""
    replica_hours: float = 0.0
    """Of all replicas, those on standby and starting among them."""
    woken: int = 0
    started: int = 0
    seconds: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Each second: active, on standby, wanted active, requests waiting."""

    @property
    def share(self) -> float:
        return self.waited_for_start / max(1, self.requests)

    def figures(self) -> dict[str, Any]:
        figures = asdict(self)
        ordered = sorted(figures.pop("waits"))
        del figures["seconds"]
        place = max(0, math.ceil(0.99 * len(ordered)) - 1)
        return figures | {
            "share_waited_for_start": self.share,
            "wait_p99_of_those_s": ordered[place] if ordered else 0.0,
            "wait_most_s": ordered[-1] if ordered else 0.0,
            "active_most": max((second[0] for second in self.seconds), default=0),
        }


def read_trace(path: Path, length_s: float = math.inf) -> list[Request]:
    """Reads a CSV with TIMESTAMP, ContextTokens and GeneratedTokens, as Azure publishes them.

    Args:
        path: The file.
        length_s: Seconds of it to take.
    """
    requests = []
    with path.open(newline="") as lines:
        first: datetime | None = None
        for row in csv.DictReader(lines):
            # Seven digits of a second: one more than can be read.
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            seconds = (at - first).total_seconds()
            if seconds < length_s:
                requests.append(
                    Request(seconds, int(row["ContextTokens"]), int(row["GeneratedTokens"]))
                )
    return sorted(requests, key=lambda request: request.at)


class Replay:
    """Plays requests to a pool that begins at rest, with its least replicas active.

    Args:
        settings: What the pool is set to.
        times: How long its replicas take to be ready.
        speed: How fast they compute.
    """

    def __init__(self, settings: PoolSettings, times: Times, speed: Speed) -> None:
        self._settings = settings
        self._speed = speed
        self._ends: list[tuple[float, int, SimulatedReplica, int]] = []
        self._queue: deque[tuple[Request, bool]] = deque()
        self._outcome = Outcome()
        self._now = 0.0
        self._number = count()
        self._serve = SimulatedServe(WarmPool(settings), lambda: times, 0)
        rest = math.ceil(times.start_s + times.wake_s + settings.settle_s) + 10
        for _ in range(rest):
            self._second()
        self._began, self._outcome = self._now, Outcome()

    def run(self, requests: Iterable[Request], lead_in_s: float = 0.0) -> Outcome:
        """Plays all of them, and goes on until the last one has ended.

        Args:
            requests: What is asked, by time.
            lead_in_s: Seconds at the beginning that are played and not counted: a trace begins all
                at once, which demand does not.
        """
        leading = True
        for request in requests:
            at = self._began + request.at
            while self._now + 1 <= at:
                self._second()
            self._end_until(at)
            if leading and request.at >= lead_in_s:
                leading, self._outcome = False, Outcome()
                started, woken = self._serve.started, self._woken()
            waits = bool(self._queue) or not self._take(request, at)
            self._outcome.requests += 1
            self._outcome.waited += waits
            if waits:
                self._queue.append((request, False))
        while self._ends or self._queue:
            self._second()
        if not leading:
            self._outcome.started = self._serve.started - started
            self._outcome.woken = self._woken() - woken
        return self._outcome

    def _woken(self) -> int:
        return self._serve.pool.snapshot(self._now)["woken"]

    def _second(self) -> None:
        self._end_until(self._now + 1)
        self._now += 1
        tokens = float(sum(request.tokens for request, _ in self._queue))
        self._serve.pool.waiting(tokens, len(self._queue), self._now)
        self._serve.step(self._now)
        self._drain_queue(self._now)
        counts = self._serve.pool.snapshot(self._now)
        there = counts["active"] + counts["waking"] + counts["standby"]
        if counts["wanted"] > there:
            self._queue = deque((request, True) for request, _ in self._queue)
        active = len(self._serve.of(Phase.ACTIVE, self._now))
        standby = len(self._serve.of(Phase.STANDBY, self._now))
        self._outcome.seconds.append((active, standby, counts["wanted"], len(self._queue)))
        self._outcome.replica_hours += len(self._serve.replicas) / 3600

    def _end_until(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            ended, _, replica, tokens = heapq.heappop(self._ends)
            replica.outstanding = max(0.0, replica.outstanding - tokens)
            self._drain_queue(ended)

    def _drain_queue(self, now: float) -> None:
        while self._queue and self._take(self._queue[0][0], now):
            request, cold = self._queue.popleft()
            self._outcome.waited_for_start += cold
            self._outcome.waits.append(now - self._began - request.at)

    def _take(self, request: Request, now: float) -> bool:
        active = self._serve.of(Phase.ACTIVE, now)
        replica = min(active, key=lambda one: one.outstanding, default=None)
        saturated = self._settings.tokens_per_replica
        if replica is None:
            return False
        if replica.outstanding and replica.outstanding + request.tokens > saturated:
            return False
        ends = now + self._speed.lasts(request)
        replica.outstanding += request.tokens
        replica.work_ends = max(replica.work_ends, ends)
        # The number tells apart what ends at the same moment.
        heapq.heappush(self._ends, (ends, next(self._number), replica, request.tokens))
        return True


def compare(
    requests: Sequence[Request],
    settings: PoolSettings,
    *,
    cold_s: float,
    cached_s: float,
    standby_s: float,
    speed: Speed,
    lead_in_s: float = 0.0,
) -> dict[str, Outcome]:
    """Plays the same requests without standby replicas and with them.

    Args:
        requests: What is asked, by time.
        settings: The pool with its standby replicas.
        cold_s: Measured seconds to ready where nothing is on the node.
        cached_s: The same with the weights in the node's cache.
        standby_s: The same from standby.
        speed: How fast replicas compute.
        lead_in_s: Seconds that are played and not counted.
    """
    bare = replace(settings, standby=0)
    arms = {
        "no standby, cold": (bare, Times(cold_s, standby_s)),
        "no standby, cached": (bare, Times(cached_s, standby_s)),
        "standby, cold": (settings, Times(cold_s, standby_s)),
        "standby, cached": (settings, Times(cached_s, standby_s)),
    }
    return {
        name: Replay(pool, times, speed).run(requests, lead_in_s)
        for name, (pool, times) in arms.items()
    }
