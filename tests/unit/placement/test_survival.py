import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.placement.experience import AGES_S, WEIGHT
from autoscaling.placement.shocks import PRIOR as SHARES
from autoscaling.placement.survival import MAX_SITES, SurvivalModel
from autoscaling.plan_terms import Site

A, B, C = (Site("spot", "us-west-2", f"us-west-2{letter}") for letter in "abc")
FAR = Site("spot", "eu-west-1", "eu-west-1a")
MIN = 60.0
HOUR = 3600.0


@pytest.mark.parametrize(
    ("age", "lost"), [(0.0, 0.26), (20 * MIN, 0.14), (2 * HOUR, 0.04), (10 * HOUR, 0.01)]
)
def test_without_experience_nodes_last_as_long_as_in_the_public_probes(
    age: float, lost: float
) -> None:
    assert SurvivalModel().survival(A, age, 600.0, 0.0) == pytest.approx(1 - lost)


def test_a_horizon_runs_through_the_ages() -> None:
    # Five minutes as a new node, five as one that has been up for ten.
    expected = (1 - 0.26) ** 0.5 * (1 - 0.14) ** 0.5
    assert SurvivalModel().survival(A, 300.0, 600.0, 0.0) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5))
def test_survival_is_a_chance_and_multiplies_over_time(age: float, one: float, two: float) -> None:
    model = SurvivalModel()
    both = model.survival(A, age, one + two, 0.0)
    assert 0.0 <= both <= 1.0
    parts = model.survival(A, age, one, 0.0) * model.survival(A, age + one, two, 0.0)
    assert both == pytest.approx(parts, rel=1e-6, abs=1e-12)


def test_a_node_on_demand_is_never_lost() -> None:
    model = SurvivalModel()
    model.lost(Site("on-demand"), 0.0, 0.0)
    assert model.survival(Site("on-demand"), 0.0, 1e6, 0.0) == 1.0
    assert model.state()["sites"] == []


def test_experience_comes_to_outweigh_the_prior() -> None:
    rng, model = random.Random(3), SurvivalModel()
    hazard = 0.5 / HOUR
    age = 7 * HOUR
    for minute in range(60 * 24 * 20):
        model.exposed(A, age, MIN)
        if rng.random() < hazard * MIN:
            model.lost(A, age, minute * MIN)
    assert model.risk(A, age, HOUR, 60 * 24 * 20 * MIN) == pytest.approx(0.5, rel=0.4)
    # Other ages have not been seen.
    assert model.survival(A, 0.0, 60.0, 0.0) == pytest.approx((1 - 0.26) ** 0.1)


def test_an_unknown_availability_zone_is_like_its_region_and_another_region_like_the_prior() -> (
    None
):
    model = SurvivalModel()
    for hour in range(50):
        model.exposed(A, 7 * HOUR, HOUR)
        model.lost(A, 7 * HOUR, hour * HOUR)
    prior = SurvivalModel().risk(B, 7 * HOUR, HOUR, 0.0)
    known = model.risk(A, 7 * HOUR, HOUR, 0.0)
    neighbour = model.risk(B, 7 * HOUR, HOUR, 0.0)
    assert known > 8 * prior
    # All losses in 50 hours and in those that the prior's stand for; a little of it has faded.
    assert neighbour == pytest.approx((50 + WEIGHT) / (50 + WEIGHT / prior), rel=0.2)
    assert model.survival(FAR, 7 * HOUR, 600.0, 0.0) == pytest.approx(0.99)


def test_an_availability_zone_that_holds_is_told_from_one_that_does_not() -> None:
    model = SurvivalModel()
    for hour in range(100):
        model.exposed(A, 7 * HOUR, HOUR)
        model.exposed(B, 7 * HOUR, HOUR)
        if hour % 4 == 0:
            model.lost(B, 7 * HOUR, hour * HOUR)
    assert model.risk(A, 7 * HOUR, HOUR, 0.0) < 0.5 * model.risk(B, 7 * HOUR, HOUR, 0.0)


def test_many_nodes_lost_at_once_are_one_observation() -> None:
    one, many = SurvivalModel(), SurvivalModel()
    for model, nodes in ((one, 1), (many, 40)):
        for second in range(0, 7200, 30):
            for _ in range(nodes):
                model.exposed(A, 1000.0, 30.0)
            model.survival(A, 0.0, 1.0, float(second + 30))
        before = model.risk(A, 1000.0, 600.0, 7200.0)
        for _ in range(nodes):
            model.lost(A, 1000.0, 7201.0)
        assert model.risk(A, 1000.0, 600.0, 7201.0) > 1.1 * before
    risks = [model.risk(A, 1000.0, 600.0, 7201.0) for model in (one, many)]
    assert risks[1] == pytest.approx(risks[0], rel=0.02)


def test_many_new_nodes_are_no_proof_of_anything_before_they_have_been_counted() -> None:
    model = SurvivalModel()
    for _ in range(10):
        for _ in range(100):
            model.exposed(A, 5.0, 1.0)
    prior = SurvivalModel().risk(A, 0.0, 60.0, 0.0)
    assert model.risk(A, 0.0, 60.0, 0.0) == pytest.approx(prior, rel=0.01)


def test_a_rebalance_notice_makes_old_nodes_as_risky_as_new_ones_for_a_while() -> None:
    model = SurvivalModel()
    model.warned(A, 1000.0)
    assert model.survival(A, 10 * HOUR, 600.0, 1001.0) == pytest.approx(1 - 0.26)
    assert model.survival(B, 10 * HOUR, 600.0, 1001.0) == pytest.approx(0.99)
    assert model.survival(A, 10 * HOUR, 600.0, 1000.0 + 1801) == pytest.approx(0.99)
    # A clock that is set back by a day does not leave it warned for a day.
    assert model.survival(A, 10 * HOUR, 600.0, 1000.0 - 86400) == pytest.approx(0.99)


def test_lives_are_those_of_the_prior() -> None:
    first, settled, *_ = SurvivalModel().prospects(A, 180.0, 0.0)
    rates = [-math.log(1 - lost) / 600 for lost in (0.26, 0.14, 0.04, 0.01)]
    expected = alive = 0.0
    alive = 1.0
    for rate, begin, end in zip(rates, AGES_S, (*AGES_S[1:], math.inf), strict=True):
        left = alive * math.exp(-rate * (end - begin))
        expected += (alive - left) / rate
        alive = left
    assert first.life == settled.life == pytest.approx(expected)
    assert settled.young == pytest.approx(0.26 / rates[0])
    assert first.young == 0.0
    assert settled.risk == pytest.approx(SurvivalModel().risk(A, 600.0, 180.0, 0.0))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_what_makes_no_sense_is_not_learned(bad: float) -> None:
    model = SurvivalModel()
    model.exposed(A, bad, 1.0)
    model.exposed(A, 1.0, bad)
    model.lost(A, bad, 0.0)
    model.lost(A, 1.0, float("nan"))
    model.warned(A, float("nan"))
    assert model.state() == SurvivalModel().state()
    assert model.survival(A, bad, 600.0, 0.0) == pytest.approx(1 - 0.26)
    with pytest.raises(ValueError, match="horizon_s"):
        model.survival(A, 1.0, bad, 0.0)


def test_a_place_that_nothing_runs_in_any_more_becomes_an_unknown_one() -> None:
    model, now = SurvivalModel(), 0.0
    for _ in range(20):
        now = run(model, {A: 2, B: 2}, now, 300)
        for site in (A, A, B, B):
            model.lost(site, 3000.0, now)
    prior = SurvivalModel().risk(A, 3000.0, 600.0, 0.0)
    assert model.risk(A, 3000.0, 600.0, now) > 1.5 * prior
    for hour in range(24 * 30):
        risk = model.risk(A, 3000.0, 600.0, now + hour * HOUR)
    assert risk == pytest.approx(prior, rel=0.05)
    assert model.shocks().region == pytest.approx(SHARES.region, abs=0.01)


def test_memory_is_bounded() -> None:
    model = SurvivalModel()
    for number in range(3 * MAX_SITES):
        site = Site("spot", f"region-{number}", f"zone-{number}")
        model.exposed(site, 1.0, 1.0)
        model.warned(site, 0.0)
        model.lost(site, 1.0, number / 100)
    assert len(model.state()["sites"]) == MAX_SITES
    assert len(json.dumps(model.state())) < 100_000
    for _ in range(2000):
        model.exposed(Site("spot", "region-0", "zone-0"), 1.0, HOUR)
    exposed = model.state()["sites"][0][3][0]
    assert exposed <= 30 * 86400.0


def test_what_was_learned_survives_a_restart() -> None:
    model = SurvivalModel()
    for hour in range(30):
        model.exposed(A, 100.0, HOUR)
        model.lost(A, 100.0, hour * HOUR)
    model.shocks()
    again = SurvivalModel()
    again.restore(json.loads(json.dumps(model.state())))
    for site in (A, B, FAR):
        assert again.risk(site, 0.0, HOUR, 0.0) == model.risk(site, 0.0, HOUR, 0.0)
    assert again.shocks() == model.shocks()


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {"version": 2, "sites": [], "shocks": [0, 0, 0]},
        {"version": 1, "sites": "all", "shocks": [0, 0, 0]},
        {"version": 1, "sites": [["r", "z", [0, 0, 0, 0]]], "shocks": [0, 0, 0]},
        {"version": 1, "sites": [["r", 1, [0, 0, 0, 0], [0, 0, 0, 0]]], "shocks": [0, 0, 0]},
        {"version": 1, "sites": [["r", "z", [0, 0, -1, 0], [0, 0, 0, 0]]], "shocks": [0, 0, 0]},
        {"version": 1, "sites": [["r", "z", [0, 0, 0, math.nan], [0] * 4]], "shocks": [0, 0, 0]},
        {"version": 1, "sites": [], "shocks": [0, 0]},
        {"version": 1, "sites": [], "shocks": [0, 0, math.inf]},
        {"version": 1, "sites": [["r", "z", [0] * 4, [0] * 4]] * 1000, "shocks": [0, 0, 0]},
    ],
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state: object) -> None:
    model = SurvivalModel()
    model.exposed(A, 100.0, HOUR)
    before = model.state()
    with pytest.raises(ValueError):
        model.restore(state)
    assert model.state() == before


def run(model: SurvivalModel, sites: dict[Site, int], begin: float, seconds: int) -> float:
    """Lets nodes run for a while, so that they are counted."""
    for second in range(0, seconds, 30):
        for site, nodes in sites.items():
            for _ in range(nodes):
                model.exposed(site, 3000.0, 30.0)
        model.survival(A, 0.0, 1.0, begin + second + 30)
    return begin + seconds


def test_shares_begin_with_the_correlation_of_the_public_probes() -> None:
    assert SurvivalModel().shocks() == SHARES
    assert SHARES.region == 0.43


def test_losses_that_come_alone_are_learned_to_come_alone() -> None:
    model, now = SurvivalModel(), 0.0
    for _ in range(60):
        now = run(model, {A: 4, B: 4}, now, 300)
        model.lost(A, 3000.0, now)
    run(model, {A: 4, B: 4}, now, 300)
    assert model.shocks().alone > 0.5


def test_whole_availability_zones_that_go_are_learned() -> None:
    model, now = SurvivalModel(), 0.0
    for _ in range(30):
        now = run(model, {A: 4, B: 4}, now, 300)
        for _ in range(4):
            model.lost(A, 3000.0, now)
    run(model, {A: 4, B: 4}, now, 300)
    shares = model.shocks()
    assert shares.zone > 0.65
    assert shares.region < 0.2


def test_whole_regions_that_go_are_learned() -> None:
    model, now = SurvivalModel(), 0.0
    for _ in range(30):
        now = run(model, {A: 2, B: 2, C: 2}, now, 300)
        for site in (A, B, A, B, C):
            model.lost(site, 3000.0, now)
            now += 10
    run(model, {A: 2, B: 2, C: 2}, now, 300)
    assert model.shocks().region > 0.8


def test_the_loss_of_the_only_node_says_nothing_of_shares() -> None:
    model, now = SurvivalModel(), 0.0
    for _ in range(20):
        now = run(model, {A: 1}, now, 300)
        model.lost(A, 3000.0, now)
    run(model, {A: 1}, now, 300)
    assert model.shocks() == SHARES
