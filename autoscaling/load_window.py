"""What one replica carried lately, and how many answers were late meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, sqrt

from autoscaling.demand.terms import Work

SLOT_S = 10.0
"""Seconds that are looked at together: answers are not late by the load of one second."""
_GAP_S = 60.0  # without a word; what was before says nothing of what is now
_SETTLE_S = 20.0  # in which replicas that have just come take up their share
_CHANGE = 0.1  # of the number of replicas
LEAST_SLOTS = 3
"""Slots that a judgement takes at least."""
_MOST_SLOTS = 30
_LEAST_ANSWERS = 20
_LEAST_LATE = 3
_FULL = 0.8  # share of the time with requests waiting
_BUSY = 0.8  # of the busiest slot: as busy as that


class Verdict(StrEnum):
    """What the answers of a window say."""

    LATE = "late"
    """More were late than the promise allows and chance explains."""
    KEPT = "kept"
    """No more were late than the promise allows, out of enough to tell."""
    UNCLEAR = "unclear"
    """There were too few to tell for too long."""


@dataclass(slots=True)
class Slot:
    """Some ten seconds of a group."""

    began: float
    """Unix time in seconds."""
    seconds: int = 0
    """Observations in it."""
    prefill: float = 0.0
    """Prompt tokens a second of one replica, summed over `seconds`."""
    decode: float = 0.0
    """Output tokens a second of one replica, summed over `seconds`."""
    answers: int = 0
    """Answers that ended."""
    late: int = 0
    """Those of them that were late."""
    saturated: int = 0
    """Observations in which requests waited in the replicas."""

    @property
    def work(self) -> Work:
        """Tokens a second of one replica, on average."""
        return Work(self.prefill / self.seconds, self.decode / self.seconds)


class LoadWindow:
    """The slots since the last judgement, and those that it was about.

    It begins anew when nobody has said anything for a minute, when the clock was set, and when the
    number of replicas has changed by more than a tenth: the load of each is another then, and the
    first answers of a replica that has just started are late by its start.
    """

    __slots__ = ("_before", "_from", "_heard", "_open", "_replicas", "slots")

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        """Closed slots since the last judgement, oldest first."""
        self._before: list[Slot] = []
        self._open: Slot | None = None
        self._heard: float | None = None
        self._from = 0.0
        self._replicas = 0

    def observe(
        self, work: Work, replicas: int, answers: int, late: int, saturated: bool, wall: float
    ) -> bool:
        """Takes one observation; nonsense is dropped.

        Args:
            work: Tokens a second that all replicas computed.
            replicas: How many they are.
            answers: Answers that ended.
            late: Those of them that were late.
            saturated: Whether requests waited in the replicas.
            wall: Unix time in seconds.

        Returns:
            Whether a slot was closed.
        """
        sound = all(isfinite(value) and value >= 0 for value in (work.prefill, work.decode))
        if not sound or not isfinite(wall) or not 0 <= late <= answers < 1e12:
            return False
        if not 1 <= replicas < 1e9:
            self._begin(0, wall)
            return False
        apart = abs(replicas - self._replicas) > _CHANGE * self._replicas
        if self._heard is None or not 0 <= wall - self._heard <= _GAP_S or apart:
            self._begin(replicas, wall)
        self._heard = wall
        if wall < self._from:
            return False
        closed = self._close(wall)
        slot = self._open = self._open or Slot(wall)
        slot.seconds += 1
        slot.prefill += work.prefill / replicas
        slot.decode += work.decode / replicas
        slot.answers += answers
        slot.late += late
        slot.saturated += saturated
        return closed

    def verdict(self, allowed: float) -> Verdict | None:
        """What the answers since the last judgement say; None while more are to be waited for.

        Args:
            allowed: Share of answers that may be late, between 0 and 1.
        """
        if len(self.slots) < LEAST_SLOTS:
            return None
        answers = sum(slot.answers for slot in self.slots)
        late = sum(slot.late for slot in self.slots)
        # Without the worst slot: a hiccup of some seconds makes many answers late.
        worst = max(self.slots, key=lambda slot: slot.late)
        limit = allowed * (answers - worst.answers)
        # Two standard deviations of a number of rare events beyond what is allowed.
        many = max(_LEAST_LATE, limit + 2 * sqrt(limit))
        if answers >= _LEAST_ANSWERS and late - worst.late >= many:
            return Verdict.LATE
        if allowed * answers >= 1 and late <= allowed * answers:
            return Verdict.KEPT
        return None if len(self.slots) < _MOST_SLOTS else Verdict.UNCLEAR

    def waited(self) -> bool:
        """Whether requests have been waiting most of the time in the last slots."""
        slots = self.slots[-LEAST_SLOTS:]
        seconds = sum(slot.seconds for slot in slots)
        waited = sum(slot.saturated for slot in slots)
        return len(slots) == LEAST_SLOTS and waited >= _FULL * seconds

    def judged(self) -> None:
        """Begins a new window; the one that was judged is remembered as the one before."""
        self._before, self.slots = self.slots, []

    def busy(self, weight: Callable[[Work], float], *, before: bool = False) -> tuple[Work, int]:
        """What one replica carried in the slots that were about as busy as the busiest one.

        Answers that are late by a burst may end when it is over: the busy time is to blame, not
        what came after.

        Args:
            weight: How busy a replica is with some work.
            before: Whether the window before counts too.

        Returns:
            Tokens a second on average over those slots, and how many slots they are.
        """
        works = [slot.work for slot in (*(self._before if before else ()), *self.slots)]
        loads = [weight(work) for work in works]
        least = _BUSY * max(loads, default=0.0)
        chosen = [work for work, load in zip(works, loads, strict=True) if load >= least]
        if not chosen:
            return Work(), 0
        prefill = sum(work.prefill for work in chosen) / len(chosen)
        return Work(prefill, sum(work.decode for work in chosen) / len(chosen)), len(chosen)

    def _begin(self, replicas: int, wall: float) -> None:
        self.slots, self._before, self._open = [], [], None
        self._replicas, self._heard, self._from = replicas, wall, wall + _SETTLE_S

    def _close(self, wall: float) -> bool:
        if self._open is None or wall - self._open.began < SLOT_S:
            return False
        self.slots.append(self._open)
        self._open = None
        return True
