from collections.abc import Mapping
from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import PolicyFailed
from autoscaling.plan_terms import Site
from autoscaling.simulator.rivals.future_oracle import FutureOracle
from autoscaling.simulator.rivals.instant_oracle import InstantOracle
from autoscaling.simulator.rivals.lookahead import greatest_ahead, needed
from autoscaling.simulator.terms import ON_DEMAND, SpotSupply
from tests.unit.simulator.rivals.seeing import STEP_S, A, B, C, Fleet, seen, supply, terms


def lived(
    work: list[float], spot: SpotSupply | None = None, lead: int = 3, first: int = 1
) -> tuple[list[int], Fleet, list[Mapping[Site, int]]]:
    """Ready replicas at each step, the fleet, and what was asked for."""
    oracle = FutureOracle(work, STEP_S, supply=spot, lead_margin=1.0)
    fleet = Fleet(oracle, terms(lead_s=lead * STEP_S, least=0), spot).begin(first)
    ready, asked = [], []
    for _ in work:
        asked.append(fleet.go())
        ready.append(fleet.ready)
    return ready, fleet, asked


def test_replicas_are_started_a_lead_time_before_they_are_needed() -> None:
    work = [1.0] * 10 + [4.0] * 10
    _, _, asked = lived(work)
    counts = [each[ON_DEMAND] for each in asked]
    assert counts == [1] * 7 + [4] * 13


def test_they_are_stopped_at_once_when_they_are_not_needed_again() -> None:
    _, _, asked = lived([4.0] * 5 + [1.0] * 10, first=4)
    assert [each[ON_DEMAND] for each in asked] == [4] * 5 + [1] * 10


def test_a_gap_shorter_than_a_start_is_bridged_and_a_longer_one_is_not() -> None:
    _, _, short = lived([2.0] * 3 + [1.0] * 2 + [2.0] * 3, first=2)
    assert [each[ON_DEMAND] for each in short] == [2] * 8
    _, _, long = lived([2.0] * 3 + [1.0] * 6 + [2.0] * 3, first=2)
    assert [each[ON_DEMAND] for each in long] == [2] * 3 + [1] * 3 + [2] * 6


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=4, max_size=6))
def test_on_demand_nobody_needs_fewer_replica_seconds(later: list[int]) -> None:
    work = [2, 2, *later]
    _, fleet, _ = lived([float(each) for each in work], lead=2, first=work[0])
    best = min(
        sum(plan) for plan in product(range(3), repeat=len(work)) if _carries(plan, work, lead=2)
    )
    assert fleet.seconds[ON_DEMAND] == pytest.approx(best * STEP_S)


def _carries(plan: tuple[int, ...], work: list[int], lead: int) -> bool:
    """Whether so many nodes a step are ready when they are needed; the oldest stay."""
    nodes = [0] * work[0]
    for step, (count, need) in enumerate(zip(plan, work, strict=True)):
        del nodes[count:]
        nodes.extend([step + lead] * (count - len(nodes)))
        if sum(at <= step for at in nodes) < need:
            return False
    return True


def test_spot_replicas_are_taken_where_the_supply_lasts() -> None:
    # B is lost soon; C and A last, and are as cheap: the first of them holds all.
    rows = [(9, 5 if step < 6 else 0, 9) for step in range(60)]
    _, _, asked = lived([3.0] * 60, supply(rows), first=3)
    assert asked[0] == {A: 3, B: 0, C: 0, ON_DEMAND: 3}
    assert asked[20] == {A: 3, B: 0, C: 0, ON_DEMAND: 0}


def test_on_demand_replicas_are_ready_when_spot_ones_are_lost() -> None:
    rows = [(9 if step < 40 else 0,) for step in range(80)]
    ready, fleet, asked = lived([3.0] * 80, supply(rows, (A,)), first=3)
    assert min(ready) >= 3
    assert asked[30][ON_DEMAND] == 0
    # A lead time before the loss.
    assert [each[ON_DEMAND] for each in asked[36:41]] == [0, 3, 3, 3, 3]
    assert fleet.seconds[A] > 30 * 3 * STEP_S


def test_a_supply_that_does_not_earn_its_start_is_left_alone() -> None:
    rows = [(5,) if step % 8 < 4 else (0,) for step in range(80)]
    _, fleet, _ = lived([3.0] * 80, supply(rows, (A,)), first=3)
    assert fleet.seconds[A] == 0.0


WALK = st.lists(st.integers(0, 4), min_size=12, max_size=40)


@settings(max_examples=40, deadline=None)
@given(WALK, st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=5, max_size=40))
def test_what_is_needed_is_always_ready(work: list[int], rows: list[tuple[int, ...]]) -> None:
    ready, _, asked = lived([float(each) for each in work], supply(rows), first=max(work))
    assert all(have >= need for have, need in zip(ready, work, strict=True))
    assert all(count >= 0 for each in asked for count in each.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 70))
def test_the_greatest_ahead_is_the_greatest(values: list[int], count: int) -> None:
    expected = [max(values[place : place + count]) for place in range(len(values))]
    assert greatest_ahead(np.array(values, dtype=np.int64), count).tolist() == expected


def test_headroom_is_applied_before_rounding() -> None:
    assert needed([0.0, 1.0, 1.5, 2.0], 1.1).tolist() == [0, 2, 2, 3]
    assert needed([3.0], 1.0).tolist() == [3]
    assert ceil(1.5 * 1.1) == 2


@pytest.mark.parametrize("work", [[], [1.0, float("nan")], [-1.0]])
def test_work_that_is_none_is_refused(work: list[float]) -> None:
    with pytest.raises(PolicyFailed, match="needs the work of each step"):
        FutureOracle(work, STEP_S)


def test_instantly_the_cheapest_nodes_that_there_are_carry_the_work() -> None:
    prices = {ON_DEMAND: 4.0, A: 1.5, B: 1.0, C: 5.0}
    oracle = InstantOracle([3.0, 6.5, 0.0], STEP_S, supply=supply([(2, 2, 9)]))
    oracle.begin(terms(prices=prices, lead_s=0.0), None)
    assert oracle.decide(seen(0)) == {B: 2, A: 1, ON_DEMAND: 0}
    # Spot nodes that cost more than on-demand ones are no bargain.
    assert oracle.decide(seen(1)) == {B: 2, A: 2, ON_DEMAND: 3}
    assert oracle.decide(seen(2)) == {B: 1, A: 0, ON_DEMAND: 0}


def test_both_are_bounded() -> None:
    for oracle in (FutureOracle([90.0], STEP_S), InstantOracle([90.0], STEP_S)):
        oracle.begin(terms(most=7), None)
        assert oracle.decide(seen(0)) == {ON_DEMAND: 7}
