"""Time to ready: measured where it can be, and never believed too short."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.lead_time import LeadTimes

PRIOR = {"cold": 300.0, "cached": 90.0, "standby": 5.0}
DAY = 86400.0


def leads(*seconds: float, kind: str = "cold", **settings: Any) -> LeadTimes:
    times = LeadTimes(PRIOR, **settings)
    for place, each in enumerate(seconds):
        times.started("chat", "spot", kind, each, 1e9 + place)
    return times


def test_a_prior_counts_until_a_start_was_measured() -> None:
    assert leads().lead("chat", "spot", "cold") == (300.0, "no cold start measured yet")
    assert leads(20.0).lead("chat", "on-demand", "cold")[0] == 300.0
    assert leads(20.0).lead("code", "spot", "cold")[0] == 300.0
    assert leads(20.0).lead("chat", "spot", "standby")[0] == 5.0


def test_one_quick_start_does_not_make_the_prior_forgotten() -> None:
    one, words = leads(100.0).lead("chat", "spot", "cold")
    assert one == pytest.approx(260.0)
    assert words == "1 cold start on spot, the longest 100 s; 300 s expected before"
    assert leads(100.0, 60.0, 80.0, 90.0).lead("chat", "spot", "cold")[0] == pytest.approx(140.0)


def test_one_slow_start_counts_at_once() -> None:
    assert leads(700.0).lead("chat", "spot", "cold")[0] == 700.0
    assert leads(700.0, 20.0).lead("chat", "spot", "cold")[0] == 700.0


@given(st.lists(st.floats(0, 20_000), min_size=5, max_size=64))
def test_the_p90_is_the_smallest_start_of_high_enough_rank(samples: list[float]) -> None:
    lead, words = leads(*samples).lead("chat", "spot", "cold")
    ordered = sorted(samples)
    enough = [each for rank, each in enumerate(ordered, 1) if rank * 10 >= 9 * (len(samples) + 1)]
    assert lead == (enough[0] if enough else ordered[-1])
    assert words == f"P90 of {len(samples)} cold starts on spot"


def test_only_the_last_starts_count() -> None:
    times = leads(*[500.0] * 10, *[50.0] * 8, window=8)
    assert times.lead("chat", "spot", "cold")[0] == 50.0


def test_old_starts_do_not_count_and_neither_do_those_of_a_wrong_clock() -> None:
    times = leads(*[500.0] * 10)
    for place in range(5):
        times.started("chat", "spot", "cold", 50.0, 1e9 + 8 * DAY + place)
    assert times.lead("chat", "spot", "cold") == (50.0, "P90 of 5 cold starts on spot")
    times.started("other", "spot", "cold", 50.0, 4e9)
    times.started("other", "spot", "cold", 50.0, 1e9 + 8 * DAY + 9)
    assert times.lead("chat", "spot", "cold")[0] == 50.0
    assert "1 cold start" in times.lead("other", "spot", "cold")[1]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 6 * 3600 + 1])
def test_nonsense_is_dropped(seconds: float) -> None:
    times = leads()
    times.started("chat", "spot", "cold", seconds, 1e9)
    times.started("chat", "spot", "cold", 50.0, math.nan)
    times.started("chat", "spot", "lukewarm", 50.0, 1e9)
    assert times.lead("chat", "spot", "cold")[0] == 300.0
    assert not times.state()["series"]


def test_the_horizon_is_that_of_the_slowest_market() -> None:
    times = leads(*[400.0] * 5)
    for _ in range(5):
        times.started("chat", "on-demand", "cold", 100.0, 1e9)
    assert times.horizon("chat", ["on-demand"], "cold")[0] == 100.0
    seconds, words = times.horizon("chat", ["on-demand", "spot"], "cold")
    assert (seconds, words) == (400.0, "P90 of 5 cold starts on spot")
    assert times.horizon("chat", [], "cold")[0] == 300.0


def test_a_kind_that_is_unknown_is_refused() -> None:
    with pytest.raises(ValueError, match="lukewarm"):
        leads().lead("chat", "spot", "lukewarm")


def test_starts_are_cold_until_the_last_five_found_their_weights() -> None:
    times = leads(*[50.0] * 5, kind="cached")
    assert leads().kind("chat", ["spot"]) == "cold"
    assert times.kind("chat", ["spot"]) == "cached"
    times.started("chat", "on-demand", "cold", 300.0, 1e9 + 5)
    assert times.kind("chat", ["spot"]) == "cached"
    assert times.kind("chat", ["spot", "on-demand"]) == "cold"
    for place in range(5):
        times.started("chat", "spot", "cached", 50.0, 1e9 + 6 + place)
    times.started("chat", "spot", "standby", 3.0, 1e9 + 20)
    assert times.kind("chat", ["spot", "on-demand"]) == "cached"


def test_what_was_saved_is_taken_over() -> None:
    times, other = leads(*[50.0, 60.0] * 9), leads()
    other.restore(times.state())
    assert other.state() == times.state()
    assert other.lead("chat", "spot", "cold") == times.lead("chat", "spot", "cold")


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"wall": 0.0},
        {"wall": math.nan, "series": []},
        {"wall": 0.0, "series": 3},
        {"wall": 0.0, "series": [["chat", "spot", "cold"]]},
        {"wall": 0.0, "series": [["chat", "spot", "lukewarm", []]]},
        {"wall": 0.0, "series": [["chat", 7, "cold", []]]},
        {"wall": 0.0, "series": [["chat", "spot", "cold", [[1.0]]]]},
        {"wall": 0.0, "series": [["chat", "spot", "cold", [[-1.0, 0.0]]]]},
        {"wall": 0.0, "series": [["chat", "spot", "cold", [[True, 0.0]]]]},
        {"wall": 0.0, "series": [["c" * 300, "spot", "cold", []]]},
    ],
)
def test_garbage_is_refused_and_changes_nothing(state: object) -> None:
    times = leads(50.0, 60.0)
    before = times.state()
    with pytest.raises(ValueError):
        times.restore(state)
    assert times.state() == before


@pytest.mark.parametrize("prior", [{}, PRIOR | {"cold": 0.0}, PRIOR | {"cached": math.inf}])
def test_a_prior_that_says_nothing_is_refused(prior: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="prior"):
        LeadTimes(prior)


def test_where_on_demand_stands_in_nobody_waits_for_spot_nodes() -> None:
    times = leads(*[1800.0] * 10)
    assert times.stand_in("chat", "on-demand", ["spot"], "cold")[0] == PRIOR["cold"]
    assert times.horizon("chat", ["on-demand", "spot"], "cold")[0] == 1800.0
    for place in range(10):
        times.started("chat", "on-demand", "cold", 200.0, 1e9 + place)
    assert times.stand_in("chat", "on-demand", ["spot"], "cold")[0] == 200.0


def test_until_it_was_measured_the_quickest_of_all_markets_counts() -> None:
    seconds, words = leads(*[90.0] * 10).stand_in("chat", "on-demand", ["spot"], "cold")
    assert seconds == 90.0
    assert "spot" in words
