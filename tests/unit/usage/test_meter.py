"""Totals are kept whatever the number of keys."""

from hypothesis import given
from hypothesis import strategies as st

from app.usage.meter import OVERFLOW, Totals, UsageKey, UsageMeter

uses = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 1000), st.integers(0, 1000)))


def key(number: int) -> UsageKey:
    return UsageKey(f"tenant-{number}", "demo", "pool", "public")


@given(uses, st.integers(2, 8))
def test_nothing_is_lost_and_memory_is_bounded(used: list[tuple[int, int, int]], most: int) -> None:
    meter = UsageMeter(most)
    for number, prompt, output in used:
        meter.add(key(number), prompt, output)
    taken = meter.take()
    assert len(taken) <= most + 1
    assert sum(totals.requests for totals in taken.values()) == len(used)
    assert sum(totals.prompt_tokens for totals in taken.values()) == sum(u[1] for u in used)
    assert sum(totals.output_tokens for totals in taken.values()) == sum(u[2] for u in used)
    assert meter.take() == {}


def test_the_longest_unused_is_folded() -> None:
    meter = UsageMeter(2)
    meter.add(key(1), 1, 1)
    meter.add(key(2), 1, 1)
    meter.add(key(1), 1, 1)
    meter.add(key(3), 1, 1)
    taken = meter.take()
    assert taken[key(1)] == Totals(2, 2, 2)
    assert key(2) not in taken
    assert taken[OVERFLOW] == Totals(1, 1, 1)
