"""Judging a text before it is served: task, zone floor, risk, personal data and secrets.

Zone markers, personal data and secrets are looked for in the whole text. Task and risk are
heuristics, and look at the first `_HEAD` and the last `_TAIL` bytes of it (all of most texts),
where the question and most attempts stand. All of it is linear in the length of the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import re2

from app.classification.fold import fold
from app.classification.lookalikes import reading
from app.classification.markers import ZoneMarkers
from app.classification.patterns import CODE, COMPLEX, EXHAUSTION, INJECTION, RISK, Task
from app.guards import personal
from app.guards.kinds import Kind

_HEAD = 48 * 1024
_TAIL = 16 * 1024
_WORDS = 4_096  # bytes that are looked at for repetition, at the beginning, middle and end
_REPETITION_RISK = 0.4
_HIDDEN_RISK = 0.4
_FEW_HIDDEN = 32  # joiners of emoji and of some scripts, soft hyphens, a byte order mark


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """What to look for."""

    zone_markers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """RE2 patterns by the zone that they raise a text to, the lowest zone first."""
    long_context_chars: int = 16_000
    """A text of at least so many characters is a task over a long context."""
    complex_chars: int = 2_000
    """A text of at least so many characters is not a simple task."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a text says about its request. Holds none of the text."""

    task: Task
    """The kind of task; a heuristic."""
    zone_floor: str | None
    """The lowest zone that may serve it; None: the text sets none."""
    risk: float
    """How much it looks like an attempt on the model, 0 to 1; a heuristic."""
    reasons: tuple[str, ...]
    """The names of the signs that were found, such as `zone:private` and `code:fence`."""
    found: Mapping[str, int] = field(default_factory=dict)
    """How many were found of each kind in `app.guards.kinds`; kinds not found are left out."""


class Judge:
    """Judges texts; the same text always gets the same verdict.

    Args:
        settings: what to look for.

    Raises:
        ValueError: a zone marker is not RE2, or matches every text.
    """

    __slots__ = ("_markers", "_settings", "_signs", "_signs_by_index")

    def __init__(self, settings: JudgeSettings | None = None) -> None:
        self._settings = settings or JudgeSettings()
        self._markers = ZoneMarkers(self._settings.zone_markers)
        options = re2.Options()
        options.log_errors = False
        # A set whose automaton outgrows its memory matches nothing; these stay far below this.
        options.max_mem = 64 << 20
        self._signs = re2.Set.SearchSet(options)
        self._signs_by_index: list[str] = []
        risky = {name: pattern for name, (_, pattern) in RISK.items()}
        for name, pattern in {**CODE, **COMPLEX, **risky}.items():
            self._signs.Add(f"(?im){pattern}")
            self._signs_by_index.append(name)
        self._signs.Compile()
        # Makes tables and automata now rather than with the first request.
        fold("\xad")
        personal.count("")

    def judge(self, text: str) -> Verdict:
        """Judges the text of a request.

        Args:
            text: the contents of all its messages, one after the other, with a line break between
                two of them: the ends of two words must not make a third.

        Returns:
            The verdict.
        """
        folded = fold(text)
        zone = self._markers.highest_zone(folded.text)
        seen = folded.text
        if len(seen) > _HEAD + _TAIL:
            seen = seen[:_HEAD] + b"\n" + seen[-_TAIL:]
        indices = set(self._signs.Match(seen) or ())
        disguised = reading(seen)
        if disguised is not None:
            indices |= {
                index
                for index in self._signs.Match(disguised) or ()
                if self._signs_by_index[index] in RISK
            }
        signs = [self._signs_by_index[index] for index in sorted(indices)]
        if folded.hidden > _FEW_HIDDEN and folded.hidden * 10 > len(text):
            signs.append("risk:hidden-characters")
        if any(map(_repeats_itself, _windows(seen))):
            signs.append("risk:repetition")
        if zone is not None:
            signs.append(f"zone:{zone}")
        found = personal.count(text)
        for kind, names in _COUNTED.items():
            if number := len(names & set(signs)):
                found[kind.value] = number
        return Verdict(self._task(text, signs), zone, _risk(signs), tuple(signs), found)

    def _task(self, text: str, signs: list[str]) -> Task:
        if len(text) >= self._settings.long_context_chars:
            return Task.LONG_CONTEXT
        if any(sign.startswith("code:") for sign in signs):
            return Task.CODE
        if len(text) >= self._settings.complex_chars:
            return Task.COMPLEX
        if any(sign.startswith("complex:") for sign in signs):
            return Task.COMPLEX
        return Task.SIMPLE


_RISKS = {name: risk for name, (risk, _) in RISK.items()} | {
    "risk:hidden-characters": _HIDDEN_RISK,
    "risk:repetition": _REPETITION_RISK,
}


_COUNTED = {
    Kind.INJECTION: INJECTION.keys() | {"risk:hidden-characters"},
    Kind.EXHAUSTION: EXHAUSTION.keys() | {"risk:repetition"},
}


def _risk(signs: list[str]) -> float:
    """The signs' risks together, as if each were a chance independent of the others."""
    harmless = 1.0
    for sign in signs:
        harmless *= 1.0 - _RISKS.get(sign, 0.0)
    return round(1.0 - harmless, 3)


def _windows(text: bytes) -> tuple[bytes, ...]:
    """What of a text is looked at for repetition."""
    if len(text) <= 2 * _WORDS:
        return (text[:_WORDS],)
    middle = len(text) // 2
    return text[:_WORDS], text[middle : middle + _WORDS], text[-_WORDS:]


def _repeats_itself(text: bytes) -> bool:
    """Whether the same few words, or letters, come over and over."""
    # The first few letters tell of most texts that there are more than that.
    if len(text) >= 256 and len(set(text[:64])) <= 4 and len(set(text)) <= 4:
        return True
    words = text.split()
    return len(words) >= 64 and len(set(words)) * 16 <= len(words)
