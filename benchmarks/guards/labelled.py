"""The labelled set: texts, and what a reader would have found in them.

`labelled.jsonl` was written by hand for this: a text a line, with a pair of kind and finding for
everything in it (injection and exhaustion are of the whole text). Addresses, numbers and keys are
made up or are the examples of standards and vendors. Most texts hold nothing, and look as if they
did.

Every other line is for tuning: a pattern may be changed because of it. Figures are those of the
other half, which is only ever counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.classification.judge import Judge
from app.guards.kinds import Kind
from app.guards.personal import find

SET = Path(__file__).parent / "labelled.jsonl"
_WHOLE_TEXT = (Kind.INJECTION, Kind.EXHAUSTION)


@dataclass(frozen=True)
class Labelled:
    line: int
    text: str
    labels: Counter[tuple[str, str]]


@dataclass(frozen=True)
class Score:
    """Findings of one kind: right, wrong and missed."""

    right: int
    wrong: int
    missed: int

    @property
    def precision(self) -> float | None:
        found = self.right + self.wrong
        return self.right / found if found else None

    @property
    def recall(self) -> float | None:
        there = self.right + self.missed
        return self.right / there if there else None


def load(path: Path = SET) -> list[Labelled]:
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [
        Labelled(number, entry["text"], Counter((kind, text) for kind, text in entry["labels"]))
        for number, entry in enumerate(entries, start=1)
    ]


def halves(entries: Sequence[Labelled]) -> tuple[list[Labelled], list[Labelled]]:
    """For tuning, and for the figures."""
    return list(entries[::2]), list(entries[1::2])


def found_in(text: str, judge: Judge) -> Counter[tuple[str, str]]:
    found = Counter((each.kind.value, text[each.start : each.end]) for each in find(text))
    counts = judge.judge(text).found
    found.update((kind.value, "") for kind in _WHOLE_TEXT if kind in counts)
    return found


def score(entries: Iterable[Labelled], judge: Judge) -> dict[str, Score]:
    """By kind; a finding counts as right only if it begins and ends where the label does."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for entry in entries:
        found = found_in(entry.text, judge)
        for total, each in (
            (right, found & entry.labels),
            (wrong, found - entry.labels),
            (missed, entry.labels - found),
        ):
            for (kind, _), times in each.items():
                total[kind] += times
    return {
        kind.value: Score(right[kind.value], wrong[kind.value], missed[kind.value]) for kind in Kind
    }


def disagreements(
    entries: Iterable[Labelled], judge: Judge
) -> list[tuple[int, list[str], list[str]]]:
    """Line, kinds found and not labelled, kinds labelled and not found."""
    found = ((entry, found_in(entry.text, judge)) for entry in entries)
    return [
        (
            entry.line,
            sorted(kind for kind, _ in (there - entry.labels).elements()),
            sorted(kind for kind, _ in (entry.labels - there).elements()),
        )
        for entry, there in found
        if there != entry.labels
    ]
