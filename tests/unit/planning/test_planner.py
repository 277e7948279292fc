"""A group needs enough replicas in time, and gives up none too soon."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from autoscaling.demand.terms import Work
from autoscaling.forecast.terms import Forecast
from autoscaling.needs import replicas_for
from autoscaling.plan_terms import Capacity, Need, Situation
from autoscaling.planner import Planner, PlannerSettings

CAPACITY = Capacity(6400.0, 412.0, measured=True, reason="isolation headroom 1.25 in it")
SETTINGS = PlannerSettings(down_delay_s=100.0, hold_s=10.0)


def forecast(value: float) -> Forecast:
    """One whose P90 is `value`."""
    return Forecast(95.0, (value / 2, value, value * 1.1, value * 1.5))


def situation(prefill: float = 0.0, decode: float = 0.0, **changes: Any) -> Situation:
    """Of a group with this P90 of demand, and less of it now."""
    return replace(
        Situation(
            lead_s=95.0,
            lead_reason="P90 of 12 cold starts on spot",
            prefill=forecast(prefill),
            decode=forecast(decode),
            recent=Work(prefill / 3, decode / 3),
            backlog=Work(),
            capacity=CAPACITY,
            reactive=0,
            ready=0,
            least=1,
            most=20,
        ),
        **changes,
    )


def decide(s: Situation, now: float = 0.0) -> Need:
    return Planner(SETTINGS).decide(s, now)


def after(s: Situation, start: float = 0.0, seconds: int = 60) -> Planner:
    """A planner that has been in a situation for a while."""
    planner = Planner(SETTINGS)
    for second in range(seconds):
        planner.decide(s, start + second)
    return planner


BUSY = situation(8400.0, 2100.0)


def test_a_need_says_why_in_words_and_numbers() -> None:
    need = decide(replace(BUSY, reactive=3))
    assert (need.replicas, need.binding) == (7, "forecast")
    assert need.reason == (
        "7 replicas: P90 of demand in 95 s (P90 of 12 cold starts on spot) is 8,400 prompt and "
        "2,100 output tokens/s (1.3 and 5.1 replicas at 6,400 and 412 tokens/s each, isolation "
        "headroom 1.25 in it); recent demand and backlog ask for 3; work outstanding for 3; "
        "the minimum is 1"
    )
    assert [term.name for term in need.terms] == [
        "forecast",
        "backlog",
        "reactive",
        "minimum",
        "held",
    ]


def test_one_side_of_a_disaggregated_pool_is_asked_for_alone() -> None:
    need = decide(situation(8400.0, 0.0))
    assert need.replicas == 2
    assert "8,400 prompt tokens/s (1.3 replicas at 6,400 tokens/s each" in need.reason


def test_what_waits_is_worked_off_beside_what_arrives() -> None:
    need = decide(situation(300.0, 60.0, backlog=Work(0.0, 61_800.0)))
    assert (need.replicas, need.binding) == (6, "backlog")
    assert "61,800 output tokens that wait ask for 5.0 more to be done in 30 s" in need.reason


def test_without_a_forecast_the_rest_decides_and_the_reason_says_so() -> None:
    need = decide(
        replace(BUSY, prefill=None, decode=None, reactive=4, no_forecast="12 of 60 bins so far")
    )
    assert (need.replicas, need.binding) == (4, "reactive")
    assert [term.name for term in need.terms] == ["backlog", "reactive", "minimum", "held"]
    assert "no forecast: 12 of 60 bins so far" in need.reason


def test_a_half_without_a_forecast_is_expected_to_stay_as_it_is() -> None:
    need = decide(replace(BUSY, prefill=None, recent=Work(6400.0, 0.0)))
    assert need.replicas == math.ceil(1.0 + 2100 / 412)


def test_without_a_known_capacity_only_whole_replicas_are_counted() -> None:
    unknown = Capacity(1.0, 1.0, False, "capacity unknown: run `tidegate profile`")
    need = decide(replace(BUSY, capacity=unknown, reactive=2))
    assert (need.replicas, need.binding) == (2, "reactive")
    assert "capacity unknown: run `tidegate profile`" in need.reason
    assert [term.name for term in need.terms] == ["reactive", "minimum", "held"]


def test_what_is_allowed_limits_and_is_named() -> None:
    need = decide(replace(BUSY, most=5))
    assert (need.replicas, need.binding) == (5, "most")
    assert need.reason.startswith("5 replicas: 7 are asked for and most is 5; P90 of demand")


def test_the_minimum_holds_without_demand() -> None:
    need = decide(situation(least=2))
    assert (need.replicas, need.binding) == (2, "minimum")
    assert decide(situation(least=0)).replicas == 0
    assert decide(situation(1.0, 0.0, least=0)).replicas == 1


def test_it_goes_up_at_once() -> None:
    planner = after(situation())
    assert planner.decide(BUSY, 60.0).replicas == 7


def test_it_goes_down_late_to_the_most_that_was_needed_meanwhile() -> None:
    planner = after(BUSY)
    calm = situation()
    counts = [planner.decide(calm, 60.0 + second).replicas for second in range(101)]
    assert counts == [7] * 100 + [1]
    planner = after(BUSY)
    need = planner.decide(calm, 60.0)
    need = planner.decide(calm, 61.0)
    assert need.binding == "held"
    assert "7 are kept: 1 have been enough for 1 of 100 s" in need.reason
    some = situation(0.0, 412 * 3.5)
    assert planner.decide(some, 62.0).replicas == 7
    assert planner.decide(calm, 160.0).replicas == 4
    # What was needed 100 s ago counts no longer.
    assert planner.decide(calm, 162.0).replicas == 4
    assert planner.decide(calm, 163.0).replicas == 1


def test_a_fall_is_followed_at_the_pace_that_it_has() -> None:
    planner = after(situation(0.0, 412 * 18.0))
    demand = [412 * max(1.0, 18.0 - second / 10) for second in range(400)]
    counts = [
        planner.decide(situation(0.0, each), 60.0 + second).replicas
        for second, each in enumerate(demand)
    ]
    for second in range(120, 270):
        assert counts[second] == math.ceil(demand[second - 100] / 412 * 1.05)


def test_one_that_is_needed_again_soon_is_kept() -> None:
    planner = after(BUSY)
    for second in range(1000):
        # For the work of now three are enough; the peak within the lead time takes seven.
        now = replace(BUSY, recent=Work(2000.0, 400.0))
        assert planner.decide(now, 60.0 + second).replicas == 7


def test_a_rise_amid_a_lull_begins_the_delay_anew() -> None:
    planner = after(BUSY)
    for second in range(99):
        planner.decide(situation(), 60.0 + second)
    assert planner.decide(BUSY, 159.0).replicas == 7
    assert all(planner.decide(situation(), 160.0 + s).replicas == 7 for s in range(100))
    assert planner.decide(situation(), 260.0).replicas == 1


def test_fewer_have_to_be_enough_with_a_margin() -> None:
    for decode, expected in ((412 * 5.9, 7), (412 * 5.6, 6)):
        planner = after(situation(0.0, 412 * 6.9))
        for second in range(150):
            need = planner.decide(situation(0.0, decode), 60.0 + second)
        assert need.replicas == expected


def test_lost_metrics_lower_nothing_and_still_let_it_rise() -> None:
    planner = after(BUSY)
    lost = situation(recent=None)
    for second in range(1000):
        need = planner.decide(lost, 60.0 + second)
        assert need.replicas == 7
    assert "7 are kept, since metrics are lost" in need.reason
    assert planner.decide(replace(lost, reactive=9), 1060.0).replicas == 9
    # Once they are back, all delays begin anew.
    counts = [planner.decide(situation(), 1061.0 + second).replicas for second in range(112)]
    assert counts.index(1) >= 109


def test_replicas_that_do_not_come_freeze_nothing() -> None:
    planner = after(BUSY)
    assert planner.decide(replace(BUSY, ready=0, reactive=9), 60.0).replicas == 9
    for second in range(101):
        need = planner.decide(replace(situation(), ready=0), 61.0 + second)
    assert need.replicas == 1


def test_what_is_active_at_first_is_not_given_up_unheard() -> None:
    planner = Planner(SETTINGS)
    counts = [planner.decide(situation(ready=6), 0.0 + second).replicas for second in range(111)]
    assert counts == [6] * 110 + [1]
    assert decide(situation(ready=60)).replicas == 20


def test_another_clock_lowers_nothing_at_once() -> None:
    planner = after(BUSY, start=1e6)
    for second in range(99):
        planner.decide(situation(), 1e6 + 60 + second)
    counts = [planner.decide(situation(), 5.0 + second).replicas for second in range(111)]
    assert counts[:109] == [7] * 109
    assert counts[-1] == 1


def test_a_planner_that_is_restored_keeps_what_was_needed() -> None:
    planner, other = after(BUSY), Planner(SETTINGS)
    other.restore(planner.state())
    assert other.state() == {"held": 7}
    counts = [other.decide(situation(ready=2), 0.0 + second).replicas for second in range(111)]
    assert counts == [7] * 110 + [1]


@pytest.mark.parametrize("state", [None, [], {}, {"held": -1}, {"held": 2.5}, {"held": True}])
def test_garbage_is_refused_and_changes_nothing(state: object) -> None:
    planner = after(BUSY)
    with pytest.raises(ValueError):
        planner.restore(state)
    assert planner.state() == {"held": 7}


BAD = [math.nan, math.inf, -math.inf, -1.0]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("field", ["prefill", "decode", "recent", "backlog", "capacity", "both"])
def test_numbers_that_make_no_sense_lower_nothing(field: str, bad: float) -> None:
    choices: dict[str, dict[str, Any]] = {
        "prefill": {"prefill": Forecast(95.0, (bad,) * 4)},
        "decode": {"decode": Forecast(95.0, ())},
        "recent": {"recent": Work(bad, 0.0)},
        "backlog": {"backlog": Work(0.0, bad)},
        "capacity": {"capacity": Capacity(bad, 1.0, measured=True)},
        "both": {"reactive": bad, "lead_s": bad},
    }
    changes = choices[field]
    planner = after(BUSY)
    for second in range(300):
        need = planner.decide(replace(situation(), **changes), 60.0 + second)
    assert need.replicas == 7
    assert "since" in need.reason
    assert planner.decide(replace(situation(least=8), **changes), 400.0).replicas == 8


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf])
def test_a_time_that_makes_no_sense_lowers_nothing(now: float) -> None:
    planner = after(BUSY)
    for _ in range(300):
        assert planner.decide(situation(), now).replicas == 7
    assert Planner(SETTINGS).decide(BUSY, now).replicas == 7


def test_demand_beyond_all_bounds_is_only_much() -> None:
    need = decide(situation(1e308, 1e308, backlog=Work(1e308, 1e308)))
    assert (need.replicas, need.binding) == (20, "most")


rates = st.floats(0, 1e5)
situations = st.builds(
    Situation,
    lead_s=st.floats(1, 3600),
    lead_reason=st.just(""),
    prefill=st.none() | st.builds(forecast, rates),
    decode=st.none() | st.builds(forecast, rates),
    recent=st.none() | st.builds(Work, rates, rates),
    backlog=st.builds(Work, st.floats(0, 1e6), st.floats(0, 1e6)),
    capacity=st.builds(
        Capacity,
        st.floats(100, 1e5),
        st.floats(10, 1e4),
        st.sampled_from([True, True, True, False]),
    ),
    reactive=st.integers(0, 30),
    ready=st.integers(0, 30),
    least=st.integers(0, 5),
    most=st.integers(5, 40),
)
past = st.lists(st.tuples(situations, st.floats(0, 200)), max_size=6)


def lived(past: list[tuple[Situation, float]]) -> tuple[Planner, float]:
    planner, now = Planner(SETTINGS), 0.0
    for s, seconds in past:
        now += seconds
        planner.decide(s, now)
    return planner, now


@settings(max_examples=80, deadline=None)
@given(past, situations, st.floats(0, 200))
def test_bounds_and_the_quantile_always_hold(
    past: list[tuple[Situation, float]], s: Situation, seconds: float
) -> None:
    planner, now = lived(past)
    before = planner.state()["held"]
    need = planner.decide(s, now + seconds)
    assert s.least <= need.replicas <= s.most
    if s.prefill and s.decode and s.capacity.measured:
        ahead = Work(s.prefill.at(0.9), s.decode.at(0.9))
        enough = need.replicas >= replicas_for(ahead, s.capacity) * (1 - 1e-6)
        assert enough or (need.binding == "most" and f"most is {s.most:,}" in need.reason)
    # It may go down by more than one, and not before the delay is over.
    if s.recent is None or now + seconds < SETTINGS.down_delay_s:
        assert need.replicas >= min(before, s.most)
    largest = max(term.replicas for term in need.terms)
    assert need.replicas == min(largest, s.most)
    if need.binding != "most":
        assert largest == next(t.replicas for t in need.terms if t.name == need.binding)


@settings(max_examples=80, deadline=None)
@given(past, situations, st.floats(0, 200), st.data())
def test_more_demand_never_means_fewer_replicas(
    past: list[tuple[Situation, float]], s: Situation, seconds: float, data: st.DataObject
) -> None:
    planner, now = lived(past)
    more = st.floats(0, 1e5)
    recent = s.recent and Work(s.recent.prefill + data.draw(more), s.recent.decode)
    prefill = s.prefill and forecast(s.prefill.at(0.9) + data.draw(more))
    decode = s.decode and forecast(s.decode.at(0.9) + data.draw(more))
    backlog = Work(s.backlog.prefill, s.backlog.decode + data.draw(more))
    greater = replace(
        s,
        prefill=prefill,
        decode=decode,
        recent=recent,
        backlog=backlog,
        reactive=s.reactive + data.draw(st.integers(0, 3)),
    )
    other = copy.deepcopy(planner)
    assume(greater != s)
    less = planner.decide(s, now + seconds).replicas
    assert other.decide(greater, now + seconds).replicas >= less


@pytest.mark.parametrize(
    "bad",
    [
        {"quantile": 0.8},
        {"drain_backlog_s": 0.0},
        {"down_delay_s": math.nan},
        {"hold_s": -1.0},
        {"margin": math.inf},
    ],
)
def test_settings_that_no_need_could_follow_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        PlannerSettings(**bad)
