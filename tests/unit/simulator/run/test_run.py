"""A fleet lives through a scenario: nothing is lost from the books, and mistakes are said."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import PolicyFailed, SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.outcome import Outcome
from autoscaling.simulator.policy import Observation
from autoscaling.simulator.run import simulate
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.run.scenarios import OUTPUT, PROMPT, A, B, Fixed, InTurn, scenario, supply


def test_enough_replicas_keep_to_the_slo_and_cost_what_they_cost() -> None:
    policy = Fixed({ON_DEMAND: 3})
    came = simulate(scenario((2.0,) * 6, first=3), policy)
    assert came.requests == came.finished == pytest.approx(7200, rel=0.05)
    assert came.attainment > 0.99
    assert came.dollars == pytest.approx(3 * 10.0, rel=1e-9)
    assert came.replica_s["on-demand"] == pytest.approx(3 * 3600.0)
    assert came.tokens == came.finished * (PROMPT + OUTPUT)
    assert came.cost_per_million == pytest.approx(30.0 / came.tokens * 1e6)
    assert came.shortfall_s == 0.0
    assert (came.scale_events, came.cold_waits) == (0, 0)
    assert policy.terms is not None
    assert policy.terms.spot_sites == (A, B)


def test_too_few_replicas_fall_short_and_requests_are_given_up() -> None:
    came = simulate(scenario((8.0,) * 3), Fixed({ON_DEMAND: 1}))
    assert came.lost > 0
    assert came.attainment < 0.5
    assert came.shortfall_s > 1500


def test_a_day_is_closed_at_its_end_and_days_add_up() -> None:
    came = simulate(scenario((0.5,) * 288), Fixed({ON_DEMAND: 2}))
    assert len(came.days) == 2
    assert sum(day.requests for day in came.days) == came.requests
    assert sum(day.cost for day in came.days) == pytest.approx(came.dollars)
    assert len(came.series["at_s"]) == 288
    assert max(came.series["on_demand"]) == 2


@pytest.mark.parametrize(("notice_s", "moved"), [(0.0, True), (120.0, False)])
def test_what_a_preempted_replica_has_no_time_for_is_done_elsewhere(
    notice_s: float, moved: bool
) -> None:
    nodes = supply(*([(4, 4)] * 10 + [(0, 4)] * 50))
    policy = Fixed({ON_DEMAND: 1, A: 2, B: 2})
    came = simulate(scenario((3.0,) * 6, nodes, notice_s=notice_s, first=0), policy)
    assert came.preemptions == 2
    assert (came.retried_by_preemption > 0) is moved
    assert came.retried == came.retried_by_preemption
    assert came.finished == came.requests - came.lost
    assert came.cost["r1/r1a"] < came.cost["r2/r2a"]
    assert came.spot_share > 0.5


def test_what_waits_for_a_cold_start_is_counted() -> None:
    came = simulate(scenario((2.0,) * 2, first=0, patience_s=120.0), Fixed({ON_DEMAND: 2}))
    assert 60 < came.cold_waits < 400
    again = simulate(scenario((2.0,) * 2, first=2), Fixed({ON_DEMAND: 2}))
    assert again.cold_waits == 0


def test_one_that_stands_by_costs_as_others_and_is_there_soon() -> None:
    def rising(standby: int) -> Outcome:
        policy = InTurn({ON_DEMAND: 1}, standby={ON_DEMAND: standby}, each_s=900.0)
        return simulate(scenario((0.5, 3.8, 3.8), lead_s=300.0, patience_s=600.0), policy)

    without, held = rising(0), rising(1)
    assert held.attainment > without.attainment
    assert held.cold_waits < without.cold_waits
    assert held.shortfall_s < without.shortfall_s
    assert held.replica_s["on-demand"] == pytest.approx(without.replica_s["on-demand"] + 1800.0)
    assert held.scale_events == without.scale_events == 1


def test_an_answer_with_nobody_on_standby_is_one_without() -> None:
    nodes = supply((4, 4), (2, 3), (4, 1))
    wanted = {ON_DEMAND: 1, A: 2, B: 2}
    one = scenario((3.0,) * 4, nodes)
    assert simulate(one, InTurn(wanted, each_s=1e9)) == simulate(one, Fixed(wanted))


class Wavering(Fixed):
    """Asks for one and two in turn, each for five minutes."""

    def decide(self, seen: Observation) -> Mapping[Site, int]:
        return {ON_DEMAND: 1 + int(seen.now_s // 300) % 2}


def test_reversals_are_changes_that_undo_others() -> None:
    came = simulate(scenario((0.5,) * 6), Wavering({}))
    assert came.scale_events == 11
    assert came.reversals == 10


def test_the_same_again_is_the_same_to_the_digit() -> None:
    def once(seed: int) -> Outcome:
        nodes = supply((4, 4), (2, 3), (4, 1))
        return simulate(scenario((3.0,) * 4, nodes, seed=seed), Fixed({ON_DEMAND: 1, A: 2, B: 2}))

    first = once(1)
    assert first == once(1)
    assert first != once(2)
    assert Outcome.from_json(first.to_json()) == first


def test_lost_metrics_are_seen_as_such() -> None:
    policy = Fixed({ON_DEMAND: 2})
    simulate(scenario((1.0,) * 3, unseen=((600.0, 1200.0),)), policy)
    dark = [seen for seen in policy.seen if not seen.metrics]
    assert len(dark) == 60
    assert {seen.requests for seen in dark} == {0}
    assert dark[0].sites[ON_DEMAND].ready == 2


@given(
    rates=st.lists(st.floats(0.0, 8.0), min_size=1, max_size=3),
    counts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8),
    base=st.integers(0, 4),
    spot=st.integers(0, 4),
    notice_s=st.sampled_from([0.0, 30.0, 120.0]),
    standby=st.integers(0, 2),
)
@settings(max_examples=40, deadline=None)
def test_every_request_ends_once_and_every_second_is_paid(
    rates: list[float],
    counts: list[tuple[int, int]],
    base: int,
    spot: int,
    notice_s: float,
    standby: int,
) -> None:
    one = scenario(tuple(rates), supply(*counts), notice_s=notice_s, patience_s=30.0)
    wanted = {ON_DEMAND: base, A: spot, B: spot}
    policy = InTurn(wanted, standby={ON_DEMAND: standby, A: standby}) if standby else Fixed(wanted)
    came = simulate(one, policy)
    arrived = sum(len(one.workload.window(index)) for index in range(one.workload.windows))
    assert came.requests == arrived
    assert came.finished + came.refused + came.lost == arrived
    assert came.met <= came.finished
    paid = sum(
        seconds / 3600 * one.prices[site]
        for site, seconds in zip(
            (ON_DEMAND, A, B),
            (came.replica_s[name] for name in ("on-demand", "r1/r1a", "r2/r2a")),
            strict=True,
        )
    )
    assert came.dollars == pytest.approx(paid)
    assert sum(day.cost for day in came.days) == pytest.approx(came.dollars)


class Mistaken(Fixed):
    def decide(self, seen: Observation) -> Mapping[Site, int]:
        raise RuntimeError("out of its depth")


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        (Fixed({ON_DEMAND: 41}), "at most 40 may run"),
        (Fixed({ON_DEMAND: 40, A: 41}), "at most 40 may run"),
        (InTurn({ON_DEMAND: 40}, standby={ON_DEMAND: 1}), "41 of them on demand"),
        (InTurn({}, standby={A: -1}), "a whole number from 0 on"),
        (Fixed({ON_DEMAND: -1}), "a whole number from 0 on"),
        (Fixed({ON_DEMAND: 1.5}), "a whole number from 0 on"),  # type: ignore[dict-item]
        (Fixed({Site("spot", "mars", "m1"): 1}), "where there are none"),
        (Mistaken({}), "out of its depth"),
    ],
    ids=[
        "too many",
        "too many in all",
        "standby",
        "less standby",
        "negative",
        "no integer",
        "elsewhere",
        "raises",
    ],
)
def test_a_policy_that_goes_wrong_is_named(policy: Fixed, problem: str) -> None:
    with pytest.raises(PolicyFailed, match=problem) as caught:
        simulate(scenario((1.0,)), policy)
    assert "policy fixed, at 0 s" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"step_s": 7.0}, "must be a multiple of it"),
        ({"step_s": 0.0}, "step_s must be above 0"),
        ({"lead_s": float("nan")}, "lead_s must be 0 or more"),
        ({"begin_s": 30.0}, "begin_s is 30"),
        ({"end_s": 1e6}, "where the demand ends"),
        ({"least": 5, "most": 3}, "least, first and most"),
        ({"prices": {ON_DEMAND: 1.0}}, "prices has none for"),
        ({"prices": {ON_DEMAND: -1.0, A: 1.0, B: 1.0}}, "must be 0 or more dollars"),
    ],
    ids=["steps", "no step", "nan", "begin", "end", "bounds", "no price", "negative price"],
)
def test_a_scenario_that_makes_no_sense_is_refused(change: dict[str, Any], problem: str) -> None:
    with pytest.raises(SimulationError, match=problem):
        simulate(replace(scenario((1.0,)), **change), Fixed({ON_DEMAND: 1}))


def test_progress_goes_from_nothing_to_all() -> None:
    said: list[float] = []
    simulate(scenario((0.1,) * 24), Fixed({ON_DEMAND: 1}), progress=said.append)
    assert said[0] == 0.0
    assert said == sorted(said)
    assert np.all(np.array(said) <= 1.0)


def test_requests_that_move_too_often_are_lost_to_preemptions() -> None:
    # Every node goes after two minutes, and answers take longer than that to be computed again.
    nodes = supply(*([(2, 0), (0, 2)] * 30), step_s=60.0)
    one = scenario((2.0,) * 6, nodes, notice_s=0.0, first=0, lead_s=5.0, patience_s=600.0)
    slow = replace(one.model, itl_s=tuple(20 * each for each in one.model.itl_s))
    came = simulate(replace(one, model=slow), Fixed({A: 2, B: 2}))
    assert came.preemptions > 20
    assert 0 < came.lost_to_preemption <= came.lost
    assert came.retried == came.retried_by_preemption
