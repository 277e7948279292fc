"""The labelled set: its labels are what they say, and the guards do not fall behind on it."""

import pytest

from app.classification.judge import Judge
from app.guards import checks
from app.guards.kinds import Kind
from app.guards.sight import see
from benchmarks.guards.labelled import halves, load, score

ENTRIES = load()


def test_labels_stand_in_their_texts_and_are_what_they_say() -> None:
    assert len(ENTRIES) >= 300
    assert len({entry.text for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        for kind, text in entry.labels:
            assert kind in set(Kind)
            assert text in entry.text
            seen = see(text).text
            assert kind != Kind.CARD or checks.card(seen), entry.line
            assert kind != Kind.IBAN or checks.iban(seen) == len(seen), entry.line


@pytest.mark.parametrize("half", [0, 1])
def test_precision_and_recall(half: int) -> None:
    for kind, each in score(halves(ENTRIES)[half], Judge()).items():
        assert each.precision is not None, kind
        assert each.recall is not None, kind
        assert each.precision >= 0.95, kind
        assert each.recall >= 0.85, kind
