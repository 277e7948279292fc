"""The demand of all groups, in bins of 10 s, 1 min and 10 min.

Where nobody was listening there is a gap, which is no zero. A bin that was listened to for at least
half of its time counts in proportion; one that was not is a gap.
"""

from collections.abc import Iterable, Mapping
from math import floor, isfinite
from typing import Any, Literal

import numpy as np

from autoscaling.demand.bins import SECONDS, Slots, level, spread
from autoscaling.demand.listening import Listening
from autoscaling.demand.record import Record
from autoscaling.demand.senders import SILENT_S, Senders, sound
from autoscaling.demand.terms import Message, Sample, Series, Work

Side = Literal["prefill", "decode"]

LONGEST_S = 3600.0
"""Of a message that speaks of a longer time its last hour counts, at the rate of the whole."""
STEP_BACK_S = 10.0
"""Clocks are put right by less than this; one that goes back further has been set."""
_LEAST_S = 5
_LAST = 1e11


class DemandHistory:
    """Keeps what gateways say of demand. Bounded: a group takes memory once it has had demand.

    All times are Unix time in seconds, as the caller has it. If the clock is set back by more than
    `STEP_BACK_S`, bins that now lie in the future are forgotten; if it is set forward there is a
    gap.

    Args:
        groups: names of all groups; others do not count.
    """

    __slots__ = ("_answers", "_groups", "_heard", "_listening", "_now", "_recent", "_records",
                 "_senders")  # fmt: skip

    def __init__(self, groups: Iterable[str]) -> None:
        self._groups = frozenset(groups)
        self._records: dict[str, Record] = {}
        self._senders = Senders()
        self._answers: dict[str, tuple[int, int]] = {}
        self._listening: Listening | None = None
        self._now = 0.0
        self._heard: float | None = None
        self._recent: tuple[tuple[int, int], Slots, int] = (0, 0), np.arange(0), 0

    def take(self, message: Message, wall: float) -> bool:
        """Counts a message.

        Args:
            message: what a gateway says; not to be trusted.
            wall: Unix time now.

        Returns:
            Whether all of it was counted. Nothing of it is if it came before, holds numbers that
            cannot be meant, or is from more gateways than there can be; what it says of unknown
            groups is left out.
        """
        if not _is_time(wall) or not sound(message):
            return False
        now = self._advance(wall)
        if not self._senders.accept(message, self._groups, now):
            return False
        self._heard = now
        end = now - message.delay_s
        span = min(message.span_s, LONGEST_S)
        assert self._listening is not None
        self._listening.heard(end - span, end)
        slots, shares = spread(end - span, end, self._listening.reached)
        if message.span_s > span:
            shares = shares * np.float32(span / message.span_s)
        unknown = 0
        for name, sample in message.groups.items():
            if name not in self._groups:
                unknown += 1
                continue
            if sample.answers:
                answers, late = self._answers.get(name, (0, 0))
                self._answers[name] = answers + sample.answers, late + sample.late
            if sample.arrived.prefill or sample.arrived.decode:
                self._record(name).add(slots, shares, sample.arrived)
            self._correct(name, sample, end)
        return not unknown

    def _correct(self, group: str, sample: Sample, end: float) -> None:
        for each in sample.corrections:
            record = self._record(group)
            at = end - each.age_s
            record.add(*spread(at, at, record.reached), each.work)

    def series(self, group: str, side: Side, step_s: float, wall: float) -> Series:
        """The closed bins of a group, from the first that was listened to.

        Args:
            group: its name; of an unknown one there is nothing but zeros.
            side: which half of the work.
            step_s: 10, 60 or 600 seconds.
            wall: Unix time now.

        Raises:
            ValueError: there are no bins of this length.
        """
        of = level(step_s)
        now = floor(self._advance(wall))
        assert self._listening is not None
        last = now // of.step - 1
        slots = of.slots(last - of.count + 2, last)
        counts = self._listening.counts[slots]
        record = self._records.get(group)
        if record is None:
            covered, tokens = counts.astype(np.float64), np.zeros(len(slots))
        else:
            record.advance(now)
            covered = record.covered(slots, counts)
            tokens = record.values[_ROWS[side], slots].astype(np.float64)
        heard = 2 * covered >= of.step
        values = np.full(len(slots), np.nan)
        np.divide(np.maximum(tokens, 0.0), covered, out=values, where=heard)
        first = int(np.argmax(heard)) if heard.any() else len(values)
        values = values[first:]
        return Series(float((last + 1 - len(values)) * of.step), float(of.step), values)

    def recent(self, group: str, wall: float, over_s: float = 30.0) -> Work | None:
        """Tokens a second that arrived of late.

        Args:
            group: its name.
            wall: Unix time now.
            over_s: seconds to look back, from 5 to 100.

        Returns:
            The rate; None if nobody has said anything for 10 s, or of too few of these seconds.
        """
        now = self._advance(wall)
        if self._heard is None or now - self._heard > SILENT_S:
            return None
        slots, covered = self._window(floor(now), int(over_s))
        if covered < _LEAST_S:
            return None
        record = self._records.get(group)
        if record is None:
            return Work()
        record.advance(floor(now))
        prefill, decode = record.values[:, slots].sum(axis=1, dtype=np.float64)
        return Work(max(0.0, float(prefill)) / covered, max(0.0, float(decode)) / covered)

    def backlog(self, group: str, wall: float) -> Work:
        """Tokens that wait for a replica, at all gateways that have spoken in the last 10 s."""
        return self._senders.backlog(group, self._advance(wall))

    def answers(self, group: str, wall: float) -> tuple[int, int]:
        """Answers that ended well, and the late ones among them, since this was last asked."""
        return self._answers.pop(group, (0, 0))

    def state(self, group: str) -> dict[str, Any]:
        """A group's history as plain data of a bounded size; empty where it has had no demand."""
        record = self._records.get(group)
        if record is None or self._listening is None:
            return {}
        record.advance(self._listening.reached)
        return record.state(self._listening.counts)

    def restore(self, group: str, state: Mapping[str, Any]) -> None:
        """Takes a group's history back; what has come since is added to it.

        The time from when it was stored to now is a gap. If the clock was set back meanwhile, what
        now lies in the future is left out.

        Args:
            group: its name.
            state: what `state` gave.

        Raises:
            ValueError: the group is unknown, or it is no such state; nothing has changed.
        """
        if group not in self._groups:
            raise ValueError(f"there is no group {group!r}")
        if not isinstance(state, Mapping):
            raise ValueError(  # noqa: TRY004 - as everything else that is wrong with it
                f"a history is a mapping, not {type(state).__name__}"
            )
        if not state:
            return
        known = self._records.get(group)
        if known is not None:
            known.restore(state)
            return
        # Nothing has been heard yet: its own time is the newest that is known.
        reached = state.get("reached") if self._listening is None else self._listening.reached
        record = Record(reached if type(reached) is int else 0)
        record.restore(state)
        self._records[group] = record

    def known(self) -> list[str]:
        """Groups that have had demand, or a history that was restored."""
        return list(self._records)

    @property
    def nbytes(self) -> int:
        """Bytes of all groups' bins."""
        return sum(record.nbytes for record in self._records.values())

    def _record(self, group: str) -> Record:
        assert self._listening is not None
        record = self._records.get(group)
        if record is None:
            record = self._records[group] = Record(self._listening.reached)
        record.advance(self._listening.reached)
        return record

    def _window(self, now: int, over_s: int) -> tuple[Slots, int]:
        """Slots of the last seconds, and how many of them are covered; the newest is not whole."""
        key = now, over_s
        assert self._listening is not None
        if self._recent[0] != key:
            slots = SECONDS.slots(now - 1 - min(over_s, 100), now - 2)
            self._recent = key, slots, 0
        slots = self._recent[1]
        return slots, int(self._listening.counts[slots].sum())

    def _advance(self, wall: float) -> float:
        """Goes on to a time, or back if the clock was set back; the time that counts."""
        if self._listening is None:
            self._now, self._listening = wall, Listening(floor(wall))
        back = wall < self._now - STEP_BACK_S
        if wall <= self._now and not back:
            return self._now
        self._now = wall
        self._listening.advance(floor(wall))
        if back:
            self._heard = None if self._heard is None else min(self._heard, wall)
            for record in self._records.values():
                record.advance(floor(wall))
        return wall


_ROWS: dict[Side, int] = {"prefill": 0, "decode": 1}


def _is_time(wall: object) -> bool:
    return isinstance(wall, int | float) and isfinite(wall) and 0 <= wall <= _LAST
