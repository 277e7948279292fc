"""Who has spoken: which message of each gateway was the last, and what waits at it."""

from collections.abc import Collection
from dataclasses import dataclass
from math import isfinite

from autoscaling.demand.terms import Message, Sample, Work

MOST_GATEWAYS = 1024
MOST_CORRECTIONS = 64
"""Of one group in one message."""
SILENT_S = 10.0
"""After so long without a word, what a gateway last said to be waiting counts no more."""
_GONE_S = 600.0
_MOST_NAME = 128
_MOST_TOKENS = 1e12
_LONGEST_S = 35 * 86400.0


@dataclass(slots=True)
class _Sender:
    number: int
    heard: float
    backlog: dict[str, Work]


class Senders:
    """Takes each message of each gateway once."""

    __slots__ = ("_backlog", "_senders")

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}
        self._backlog: dict[str, Work] | None = None

    def accept(self, message: Message, groups: Collection[str], now: float) -> bool:
        """Whether a message is to be counted: it is new, and there is room for its gateway.

        Args:
            message: a sound one.
            groups: the names that count.
            now: Unix time.
        """
        known = self._senders.get(message.gateway)
        if known is None:
            if len(self._senders) >= MOST_GATEWAYS:
                self._forget(now)
            if len(self._senders) >= MOST_GATEWAYS:
                return False
            known = self._senders[message.gateway] = _Sender(0, now, {})
        known.heard = now
        if message.number <= known.number:
            return False
        known.number = message.number
        waits = {
            name: sample.backlog
            for name, sample in message.groups.items()
            if name in groups and (sample.backlog.prefill or sample.backlog.decode)
        }
        if message.delay_s >= SILENT_S:
            waits = {}
        if waits != known.backlog:
            known.backlog, self._backlog = waits, None
        return True

    def backlog(self, group: str, now: float) -> Work:
        """What waits at all gateways together."""
        for sender in self._senders.values():
            if sender.backlog and abs(now - sender.heard) > SILENT_S:
                sender.backlog, self._backlog = {}, None
        if self._backlog is None:
            self._backlog = {}
            for sender in self._senders.values():
                for name, work in sender.backlog.items():
                    before = self._backlog.get(name, _NOTHING)
                    self._backlog[name] = Work(
                        before.prefill + work.prefill, before.decode + work.decode
                    )
        return self._backlog.get(group, _NOTHING)

    def _forget(self, now: float) -> None:
        self._senders = {
            name: sender
            for name, sender in self._senders.items()
            if abs(now - sender.heard) < _GONE_S
        }
        self._backlog = None


_NOTHING = Work()


def sound(message: Message) -> bool:
    """Whether all of a message can be meant: numbers in their range, not too much of anything."""
    return (
        _whole(message.number, 1)
        and 0 < len(message.gateway) <= _MOST_NAME
        and _within(message.span_s, 0, _LONGEST_S)
        and _within(message.delay_s, 0, _LONGEST_S)
        and all(_sound(sample) for sample in message.groups.values())
    )


def _sound(sample: Sample) -> bool:
    return (
        all(_whole(number, 0) for number in (sample.requests, sample.answers, sample.late))
        and sample.late <= sample.answers
        and _amount(sample.arrived, 0)
        and _amount(sample.backlog, 0)
        and len(sample.corrections) <= MOST_CORRECTIONS
        and all(
            _within(each.age_s, 0, _LONGEST_S) and _amount(each.work, -_MOST_TOKENS)
            for each in sample.corrections
        )
    )


def _amount(work: Work, least: float) -> bool:
    return _within(work.prefill, least, _MOST_TOKENS) and _within(work.decode, least, _MOST_TOKENS)


def _whole(number: object, least: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= least


def _within(number: object, least: float, most: float) -> bool:
    return isinstance(number, int | float) and isfinite(number) and least <= number <= most
