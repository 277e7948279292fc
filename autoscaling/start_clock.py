"""How long replicas take to be ready: from the moment they are wanted, whatever it is spent on."""

from collections import deque
from typing import Literal

from autoscaling.pool_terms import Order, Phase, Report

Kind = Literal["cold", "cached", "standby"]
RESTS_S = 10.0
"""A replica that is not woken so soon after it was heard of was ready when it stood by."""
MOST = 2000
"""Starts that are timed at once, and that are kept until they are asked for."""


class StartClock:
    """Times the starts of one deployment.

    Nobody says for which want a replica is started, so the first one that comes answers the oldest.
    Times are monotonic, in seconds.
    """

    __slots__ = ("_begun", "_known", "_open", "_taken", "_woken")

    def __init__(self) -> None:
        self._open: deque[float] = deque()
        self._begun: dict[str, tuple[float, float, Kind]] = {}
        self._woken: dict[str, float] = {}
        self._known: dict[str, float] = {}
        self._taken: deque[tuple[Kind, float]] = deque(maxlen=MOST)

    def wanted(self, missing: int, now: float) -> None:
        """Takes how many replicas are wanted that have not been heard of, at every plan.

        Args:
            missing: How many.
            now: The time.
        """
        missing = max(0, min(missing, MOST))
        while len(self._open) > missing:
            self._open.pop()
        while len(self._open) < missing:
            self._open.append(now)

    def heard(self, report: Report, order: Order, now: float) -> None:
        """Takes a report and what was answered.

        Args:
            report: What the replica says.
            order: What it is told.
            now: The time.
        """
        replica, phase = report.replica, report.phase
        if replica not in self._known:
            self._first(report, now)
        self._known[replica] = now
        if phase is Phase.STANDBY and order is Order.WAKE:
            self._woken.setdefault(replica, now)
        elif phase is Phase.ACTIVE and replica in self._woken:
            self._taken.append(("standby", now - self._woken.pop(replica)))
            if replica in self._begun:
                since, _, kind = self._begun.pop(replica)
                self._taken.append((kind, now - since))
        elif phase not in {Phase.STANDBY, Phase.WAKING}:
            self._woken.pop(replica, None)

    def taken(self, now: float) -> list[tuple[Kind, float]]:
        """Starts that have ended since this was last asked: their kind and their seconds.

        Args:
            now: The time.
        """
        for replica, (since, ready, kind) in list(self._begun.items()):
            if replica not in self._woken and now - ready >= RESTS_S:
                del self._begun[replica]
                self._taken.append((kind, ready - since))
        for replica, at in list(self._known.items()):
            if now - at >= RESTS_S:
                # If it comes again, no start of it is measured: nothing is open for it then.
                del self._known[replica]
                self._woken.pop(replica, None)
                self._begun.pop(replica, None)
        taken, self._taken = list(self._taken), deque(maxlen=MOST)
        return taken

    def _first(self, report: Report, now: float) -> None:
        ready = now - report.age_s
        if not self._open or ready < self._open[0]:
            return
        # It may have been started before anybody counted, so it took at least what it says.
        since = min(self._open.popleft(), ready - report.start_s)
        self._begun[report.replica] = (since, ready, "cached" if report.cached else "cold")
