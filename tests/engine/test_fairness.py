"""The fair queue inside real engines, against the order of arrival."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.isolation.engine import Answer, LoneEngine
from tests.engine.stack import side_by_side


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """These engines are apart from the stack's."""


@pytest.fixture(scope="module", autouse=True)
def beside_the_stack() -> Iterator[None]:
    with side_by_side():
        yield


@pytest.fixture(scope="module")
def fair() -> Iterator[LoneEngine]:
    with LoneEngine(fairness={"ageing_s": 1000.0}, engine={"max_num_seqs": 2}) as engine:
        yield engine


@pytest.fixture(scope="module")
def patient() -> Iterator[LoneEngine]:
    """Fair, but whatever runs is never set aside, and pauses are worth nothing."""
    with LoneEngine(fairness={"set_aside": 0, "credit": 0.0}, engine={"max_num_seqs": 2}) as engine:
        yield engine


@pytest.fixture(scope="module")
def fcfs() -> Iterator[LoneEngine]:
    with LoneEngine(fairness={"scheduling": "fcfs"}, engine={"max_num_seqs": 2}) as engine:
        yield engine


def crowd(engine: LoneEngine) -> tuple[list[Answer], Answer]:
    """A flood of one tenant, and one request of another that comes after it."""
    flood = [engine.send([40 + n] * 20, "noisy", max_tokens=8) for n in range(20)]
    last = engine.send([90] * 20, "quiet", max_tokens=8)
    for answer in [*flood, last]:
        answer.wait()
    return flood, last


def _all_begun(answers: list[Answer]) -> None:
    while any(answer.first_at is None for answer in answers):
        time.sleep(0.001)


def before(flood: list[Answer], answer: Answer) -> int:
    """How many of the flood had their first token before the answer had."""
    assert answer.first_at is not None
    return sum(each.first_at is not None and each.first_at < answer.first_at for each in flood)


def test_who_comes_after_a_flood_is_next_if_fair_and_last_if_not(
    fair: LoneEngine, fcfs: LoneEngine
) -> None:
    flood, last = crowd(fair)
    assert before(flood, last) <= 4
    unfair_flood, unfair_last = crowd(fcfs)
    assert before(unfair_flood, unfair_last) >= 18
    assert [a.tokens for a in flood] == [a.tokens for a in unfair_flood]
    assert last.tokens == unfair_last.tokens


def test_a_more_urgent_tier_goes_first(fair: LoneEngine) -> None:
    batch = [fair.send([50 + n] * 20, "a", tier="batch", max_tokens=8) for n in range(10)]
    standard = [fair.send([60 + n] * 20, "b", max_tokens=8) for n in range(4)]
    critical = fair.send([70] * 20, "c", tier="critical", max_tokens=8)
    for answer in [*batch, *standard, critical]:
        answer.wait()
    assert before(batch + standard, critical) <= 4
    assert max(before(batch, each) for each in standard) <= 4


def test_who_has_less_than_its_share_waits_for_no_end(fair: LoneEngine) -> None:
    prompts = [[30 + n] * 20 for n in range(2)]
    alone = [fair.send(prompt, "noisy", max_tokens=150).wait().tokens for prompt in prompts]
    asides = fair.scheduler.asides
    running = [fair.send(prompt, "noisy", max_tokens=150) for prompt in prompts]
    _all_begun(running)
    quiet = fair.send([90] * 20, "quiet", max_tokens=8).wait()
    assert all(answer.ended_at is None for answer in running)
    assert fair.scheduler.asides == asides + 1
    # Now both have a place of two: nobody else is set aside for either.
    again = [fair.send([91 + n] * 20, "quiet", max_tokens=40) for n in range(3)]
    for answer in [*running, *again]:
        answer.wait()
    assert fair.scheduler.asides <= asides + 2
    assert quiet.batch_tenants == {"noisy", "quiet"}
    # Who was set aside says what it would have said, no token twice and none left out.
    assert [answer.tokens for answer in running] == alone


def test_nobody_is_set_aside_where_that_is_switched_off(patient: LoneEngine) -> None:
    running = [patient.send([30 + n] * 20, "noisy", max_tokens=60) for n in range(2)]
    _all_begun(running)
    quiet = patient.send([90] * 20, "quiet", max_tokens=8)
    for answer in [*running, quiet]:
        answer.wait()
    assert patient.scheduler.asides == 0
    assert quiet.first_at is not None
    assert any((answer.ended_at or 0) < quiet.first_at for answer in running)


def test_served_by_weight(fair: LoneEngine) -> None:
    heavy = [fair.send([50 + n] * 20, "heavy", weight=3.0, max_tokens=8) for n in range(24)]
    light = [fair.send([60 + n] * 20, "light", max_tokens=8) for n in range(24)]
    for answer in [*heavy, *light]:
        answer.wait()
    order = sorted([*heavy, *light], key=lambda answer: answer.first_at or 0.0)
    early = [answer.tenant for answer in order[4:20]]
    assert 10 <= early.count("heavy") <= 14


def test_a_slot_freed_by_an_early_stop_is_filled_in_the_next_step_by_whom_it_is_due(
    patient: LoneEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = patient.send([30] * 20, "a", max_tokens=120)
    alone = patient.send([31] * 20, "a", max_tokens=30).wait()
    # The token that it says after a few, it will stop at.
    stop = alone.tokens[4]
    length = alone.tokens.index(stop) + 1
    steps: list[tuple[int, int]] = []
    schedule = patient.scheduler.schedule

    def recorded(*args: Any) -> Any:
        output = schedule(*args)
        steps.append((len(patient.scheduler.running), len(patient.scheduler.waiting)))
        return output

    monkeypatch.setattr(patient.scheduler, "schedule", recorded)
    early = patient.send(
        [31] * 20, "a", max_tokens=60, expected=60, params={"stop_token_ids": [stop]}
    )
    waiting = [patient.send([32 + n] * 20, tenant, max_tokens=4) for n, tenant in enumerate("abc")]
    for answer in [early, long, *waiting]:
        answer.wait()
    assert early.finish_reason == "stop"
    assert len(early.tokens) == length
    assert max(count for _, count in steps) == 3
    assert all(running == 2 for running, count in steps if count)
    first = min(waiting, key=lambda answer: answer.first_at or 0.0)
    assert first.tenant != "a"


def test_nothing_is_left_behind(fair: LoneEngine, patient: LoneEngine, fcfs: LoneEngine) -> None:
    for engine in (fair, patient, fcfs):
        deadline = time.monotonic() + 5
        while sum(engine.scheduler.get_request_counts()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert engine.scheduler.waiting.core.tracked == 0
        assert not engine.scheduler._claims
