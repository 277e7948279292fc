"""What guards cost, in microseconds of one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from statistics import median

from app.classification.judge import Judge
from app.config import GuardAction
from app.guards.answer import AnswerFilter
from app.guards.body import redact_body
from app.guards.kinds import REDACTABLE
from app.guards.personal import find

SIZES = (1_000, 10_000, 100_000)
_DELTA = 5  # characters of a streamed token
_PROSE = (
    "The river rose in the night, and nobody in the valley had thought it could. By noon, 12 "
    "houses stood in the water; the mayor's office (page 3, table 2.1) counted 48 sheep. "
)
_FINDINGS = (
    "Write to ada.lovelace@example.com, call +44 20 7946 0958 or pay with 4111 1111 1111 1111. "
)
_CYRILLIC = "Река поднялась ночью, и никто в долине не думал, что так может быть. "


@dataclass(frozen=True)
class Cost:
    what: str
    text: str
    size: int
    us: float


def texts() -> dict[str, str]:
    """Texts of every kind, as long as the longest size at least."""
    random = Random(7)
    numbers = ",".join(str(random.randrange(10 ** random.randrange(1, 17))) for _ in range(20_000))
    longest = SIZES[-1]
    return {
        "prose": _PROSE * (longest // len(_PROSE) + 1),
        "prose with 3 findings a kB": (_PROSE * 5 + _FINDINGS) * (longest // 900),
        "numbers with commas": numbers[: longest + 1],
        "Cyrillic": _CYRILLIC * (longest // len(_CYRILLIC) + 1),
        "card-like groups (the worst)": "4111 " * (longest // 5 + 1),
    }


def costs(rounds: int) -> Iterator[Cost]:
    judge = Judge()
    everything = dict.fromkeys(REDACTABLE, GuardAction.REDACT)

    def stream(text: str) -> None:
        answer = AnswerFilter(everything)
        for start in range(0, len(text), _DELTA):
            answer.push(text[start : start + _DELTA])
        answer.finish()

    def body(text: str) -> None:
        redact_body({"messages": [{"role": "user", "content": text}]}, REDACTABLE)

    steps: dict[str, Callable[[str], object]] = {
        "find": find,
        "judge (all of the classifier)": judge.judge,
        "redact_body": body,
        f"AnswerFilter, {_DELTA} characters a push": stream,
    }
    for name, text in texts().items():
        for size in SIZES:
            for what, step in steps.items():
                yield Cost(what, name, size, _us(step, text[:size], rounds))


def _us(step: Callable[[str], object], text: str, rounds: int) -> float:
    """Median over rounds of at least a millisecond each."""
    step(text)
    times = 1
    while True:
        lasted = _timed(step, text, times)
        if lasted >= 1e-3 or times >= 1_000:
            break
        times *= 2
    return median(_timed(step, text, times) / times for _ in range(rounds)) * 1e6


def _timed(step: Callable[[str], object], text: str, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        step(text)
    return time.perf_counter() - started
