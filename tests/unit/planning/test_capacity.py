"""Capacity is found out from what was carried and whether promises were kept meanwhile."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.capacity import UNKNOWN, CapacityModel
from autoscaling.demand.terms import Work
from autoscaling.plan_terms import Capacity
from tests.unit.planning.simulated_engines import Engines, Hidden

PROFILE = Capacity(8000.0, 500.0, measured=True)
TRUE = Hidden(8000.0, 500.0)
MIXES = [0.1, 0.3, 0.5, 0.7, 0.9]


def model(share: float = 1.0, headroom: float = 1.0) -> CapacityModel:
    """One whose profile is this share of what is true."""
    return CapacityModel(Capacity(TRUE.prefill * share, TRUE.decode * share, True), headroom)


def shares(model: CapacityModel, hidden: Hidden) -> list[float]:
    """What is believed to be carried, as a share of what is, by mix."""
    believed = Hidden(model.capacity.prefill_tps, model.capacity.decode_tps)
    return [1 / believed.load(hidden.work(1.0, mix)) for mix in MIXES]


def live(engines: Engines, minutes: int, least: float = 0.6, most: float = 1.0) -> list[float]:
    """Demand with changing mixes, on as many replicas as the model says it takes.

    Returns what is believed at worst in each minute of the last half, as shares of what is true.
    """
    draw = random.Random(7)
    seen: list[float] = []
    for minute in range(minutes):
        if minute % 2 == 0:
            mix = draw.uniform(0.05, 0.95)
            load = draw.uniform(0.5, 1.6)  # nobody plans: what comes, comes
            capacity = engines.model.capacity
            if capacity.measured:
                believed = Hidden(capacity.prefill_tps, capacity.decode_tps)
                load = draw.uniform(least, most) / believed.load(engines.hidden.work(1.0, mix))
            work = engines.hidden.work(load, mix)
        for _ in range(60):
            engines.second(work)
        if minute >= minutes // 2 and engines.model.capacity.measured:
            seen.append(max(shares(engines.model, engines.hidden)))
    return seen


@pytest.mark.parametrize("share", [0.6, 1.0, 1.4, 2.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_wrong_profile_is_corrected_and_never_overdone(share: float, seed: int) -> None:
    engines = Engines(TRUE, model(share), seed)
    seen = live(engines, 600)
    assert max(seen) <= 1.1
    capacity = engines.model.capacity
    assert capacity.prefill_tps == pytest.approx(TRUE.prefill, rel=0.15)
    assert capacity.decode_tps == pytest.approx(TRUE.decode, rel=0.15)


@pytest.mark.parametrize("hidden", [TRUE, Hidden(2000.0, 500.0), Hidden(10_000.0, 400.0)])
def test_without_a_profile_it_is_learned_from_full_replicas(hidden: Hidden) -> None:
    engines = Engines(hidden, CapacityModel(None, 1.0), 3)
    assert not engines.model.capacity.measured
    seen = live(engines, 900)
    assert max(seen) <= 1.1
    capacity = engines.model.capacity
    assert capacity.measured
    assert capacity.prefill_tps == pytest.approx(hidden.prefill, rel=0.15)
    assert capacity.decode_tps == pytest.approx(hidden.decode, rel=0.15)


def test_late_answers_show_what_is_too_much_though_nothing_waits() -> None:
    one = CapacityModel(None, 1.0)
    feed(one, 300, load=1.0, late=10)
    assert one.capacity.measured
    assert shares(one, TRUE)[2] == pytest.approx(1.0, rel=0.06)


@pytest.mark.parametrize("mix", [0.0, 1.0])
def test_one_side_of_a_disaggregated_pool_is_learned_alone(mix: float) -> None:
    engines = Engines(TRUE, CapacityModel(None, 1.0), 4)
    for minute in range(240):
        load = 1.5 if minute < 15 else 0.98 * shares_of(engines.model, mix)
        for _ in range(60):
            engines.second(TRUE.work(load, mix))
    assert 0.85 <= shares_of(engines.model, mix) <= 1.1


def shares_of(model: CapacityModel, mix: float) -> float:
    believed = Hidden(model.capacity.prefill_tps, model.capacity.decode_tps)
    return 1 / believed.load(TRUE.work(1.0, mix)) if model.capacity.measured else 1.0


def test_a_replica_that_is_never_busy_teaches_nothing() -> None:
    for share in (0.5, 2.0):
        engines = Engines(TRUE, model(share), 5)
        for _ in range(1800):
            engines.second(TRUE.work(0.3, 0.5))
        assert shares(engines.model, TRUE) == pytest.approx([share] * len(MIXES))
    unknown = Engines(TRUE, CapacityModel(None, 1.0), 5)
    for _ in range(1800):
        unknown.second(TRUE.work(0.8, 0.5))
    assert unknown.model.capacity.reason == UNKNOWN


def test_engines_that_become_slower_are_noticed_within_minutes() -> None:
    engines = Engines(TRUE, model(), 6)
    live(engines, 30)
    engines.hidden = Hidden(TRUE.prefill / 2, TRUE.decode / 2)
    for _ in range(600):
        engines.second(TRUE.work(0.7, 0.5))
    assert max(shares(engines.model, TRUE)) < 0.75


def feed(
    model: CapacityModel,
    seconds: int,
    load: float,
    late: int = 0,
    answers: int = 20,
    replicas: int = 4,
    start: float = 1e9,
    saturated: bool = False,
) -> float:
    """Seconds that are all the same. Returns when they are over."""
    work = Work(*(each * load * replicas / 2 for each in (TRUE.prefill, TRUE.decode)))
    for second in range(seconds):
        wall = start + second
        model.observe(work.prefill, work.decode, replicas, answers, late, 0.99, saturated, wall)
    return start + seconds


def test_late_answers_at_half_the_load_bring_it_down_and_no_further_than_a_quarter() -> None:
    one = model()
    feed(one, 300, load=0.5, late=10)
    assert 0.4 <= shares(one, TRUE)[2] <= 0.6
    feed(one, 3000, load=0.3, late=10, start=2e9)
    assert one.capacity.prefill_tps >= TRUE.prefill / 4
    assert 0.25 <= shares(one, TRUE)[2] <= 0.31


def test_work_that_was_carried_brings_it_up_slowly_and_to_four_times_at_most() -> None:
    one = model()
    until = feed(one, 90, load=1.5)
    assert 1.0 < shares(one, TRUE)[2] < 1.4
    until = feed(one, 1200, load=1.5, start=until)
    assert shares(one, TRUE)[2] == pytest.approx(1.5 / 0.94, rel=0.05)
    feed(one, 3000, load=9.0, start=until)
    assert one.capacity.prefill_tps == pytest.approx(4 * TRUE.prefill)


@pytest.mark.parametrize("offset", range(0, 30, 3))
def test_a_few_bad_seconds_teach_nothing(offset: int) -> None:
    one = model()
    until = feed(one, 120 + offset, load=0.5)
    until = feed(one, 20, load=0.5, late=20, start=until)
    feed(one, 120, load=0.5, start=until)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_late_answers_of_engines_that_are_not_at_work_teach_nothing() -> None:
    one = model()
    feed(one, 600, load=0.1, late=20)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_a_few_late_answers_amid_silence_teach_nothing() -> None:
    one, until = model(), 1e9
    for _ in range(6):
        until = feed(one, 1, load=0.5, late=1, answers=1, start=until)
        until = feed(one, 150, load=0.5, answers=0, start=until)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_late_answers_while_replicas_come_say_nothing_of_what_they_carry() -> None:
    one = model()
    wall = 1e9
    for replicas in range(1, 40, 4):
        wall = feed(one, 45, load=0.3, late=15, replicas=replicas, start=wall)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_answers_that_are_late_by_a_burst_are_not_blamed_on_the_lull_after_it() -> None:
    one = model()
    until = feed(one, 50, load=1.1, late=10)
    feed(one, 35, load=0.5, late=10, start=until)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_nobody_is_blamed_across_a_gap_or_a_clock_that_was_set_back() -> None:
    for step in (3600.0, -3600.0):
        one = model()
        until = feed(one, 60, load=0.5, late=10)
        feed(one, 45, load=0.5, late=10, start=until + step)
        assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_headroom_is_taken_off_what_is_carried() -> None:
    capacity = model(headroom=1.25).capacity
    assert capacity.prefill_tps == pytest.approx(6400.0)
    assert capacity.decode_tps == pytest.approx(400.0)
    assert capacity.reason == "from the profile, isolation headroom 1.25 in it"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_nonsense_is_survived(data: st.DataObject) -> None:
    number = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-3, 10)
    one = model()
    for _ in range(20):
        p, d, n, answers, late, kept, wall = [data.draw(number) for _ in range(7)]
        one.observe(p, d, n, answers, late, kept, True, wall)  # type: ignore[arg-type]
    capacity = one.capacity
    assert TRUE.prefill / 4 <= capacity.prefill_tps <= TRUE.prefill * 4
    assert TRUE.decode / 4 <= capacity.decode_tps <= TRUE.decode * 4


def test_what_is_no_number_or_of_no_replica_changes_nothing() -> None:
    one = model()
    for second in range(300):
        wall = 1e9 + second
        one.observe(math.nan, 900.0, 4, 20, 20, 0.99, True, wall)
        one.observe(9000.0, -1.0, 4, 20, 20, 0.99, True, wall)
        one.observe(9000.0, 900.0, 4, 20, 21, 0.99, True, wall)
        one.observe(9000.0, 900.0, 0, 20, 20, 0.99, True, wall)
        one.observe(9000.0, 900.0, 4, 20, 20, 1.0, True, wall)
    assert shares(one, TRUE) == pytest.approx([1.0] * len(MIXES))


def test_what_was_learned_is_taken_over() -> None:
    one, other = model(), model()
    feed(one, 300, load=0.5, late=10)
    other.restore(one.state())
    assert other.capacity == one.capacity
    assert "of the profile by what was seen" in other.capacity.reason
    learned, fresh = CapacityModel(None, 1.1), CapacityModel(None, 1.1)
    feed(learned, 300, load=1.0, saturated=True)
    assert learned.capacity.measured
    fresh.restore(learned.state())
    assert fresh.capacity == learned.capacity


@pytest.mark.parametrize(
    "change",
    [
        {"profile": [8000.0, 501.0]},
        {"profile": None},
        {"profile": "x"},
        {"costs": [1.0]},
        {"costs": [1.0, 5.0]},
        {"costs": [1.0, math.nan]},
        {"costs": None},
        {"late": -1},
        {"kept": 1.5},
    ],
)
def test_garbage_and_what_another_profile_taught_are_refused(change: dict[str, Any]) -> None:
    one = model()
    feed(one, 300, load=0.5, late=10)
    before = one.state()
    with pytest.raises(ValueError):
        one.restore(before | change)
    empty: tuple[object, ...] = (None, [], {}, 7)
    for garbage in empty:
        with pytest.raises(ValueError):
            one.restore(garbage)
    assert one.state() == before


@pytest.mark.parametrize("headroom", [0.9, math.nan, math.inf])
def test_a_headroom_that_adds_capacity_is_refused(headroom: float) -> None:
    with pytest.raises(ValueError, match="headroom"):
        CapacityModel(PROFILE, headroom)


def test_a_profile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="decode_tps"):
        CapacityModel(Capacity(1.0, 0.0, measured=True), 1.0)
