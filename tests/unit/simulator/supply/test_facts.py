from __future__ import annotations

import math

import numpy as np
import pytest

from app.errors import SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.disruptions import always, never
from autoscaling.simulator.supply.facts import facts
from autoscaling.simulator.terms import SpotSupply

A, B, C = Site("spot", "r", "r1"), Site("spot", "r", "r2"), Site("spot", "s", "s1")


def supply(*columns: list[int], step_s: float = 60.0) -> SpotSupply:
    sites = (A, B, C)[: len(columns)]
    return SpotSupply(step_s, sites, np.array(columns, dtype=np.int32).T)


def test_shares_of_the_time_are_counted_by_zone_region_and_number() -> None:
    found = facts(supply([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1]), probe_s=60)
    assert found.zones == (0.5, 0.5, 1.0)
    assert found.any_of == {"r": 0.75, "s": 1.0}
    assert found.at_least == (1.0, 0.75, 0.25)
    assert found.best == 1.0


def test_correlations_leave_out_what_never_changes() -> None:
    found = facts(supply([1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]), probe_s=60)
    assert found.within == pytest.approx(1.0)
    assert math.isnan(found.across)
    found = facts(supply([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1]), probe_s=60)
    assert found.within == pytest.approx(0.0)
    assert found.across == pytest.approx(-0.5)


def test_losses_are_sorted_by_how_long_it_was_up() -> None:
    # Up for 30 minutes, down for 30, ten times: probes at minutes 20 to 29 of a run see its end.
    found = facts(supply([0] * 30 + ([1] * 30 + [0] * 30) * 10), probe_s=60)
    assert found.loss_by_age[0] == 0.0
    assert found.loss_by_age[1] == pytest.approx(0.5)
    assert math.isnan(found.loss_by_age[2])
    assert math.isnan(found.loss_by_age[3])


def test_a_run_that_began_before_the_first_probe_has_no_age() -> None:
    found = facts(supply([1] * 100 + [0] * 100), probe_s=60)
    assert all(math.isnan(share) for share in found.loss_by_age)


def test_an_hour_later_is_asked_of_both_states() -> None:
    found = facts(supply([1] * 90 + [0] * 90), probe_s=60)
    assert found.up_if_up == pytest.approx(30 / 90)
    assert found.up_if_down == 0.0


def test_probes_miss_what_lies_between_them() -> None:
    column = [1] * 400
    column[1] = column[2] = 0
    assert facts(supply(column), probe_s=195).zones == (1.0,)
    assert facts(supply(column), probe_s=60).zones == (398 / 400,)


def test_nodes_live_from_their_coming_to_their_loss_the_youngest_first() -> None:
    found = facts(supply([0, 1, 2, 2, 1, 1, 0, 0]), probe_s=60)
    # Seven node minutes, two nodes lost: one after three minutes, one after five.
    assert found.node_life_h == pytest.approx(7 / 2 / 60)
    assert found.node_run_min == pytest.approx((2 + 5) / 2 + 0.0, abs=0.51)
    assert found.partial_per_h == pytest.approx(1 / (5 / 60))
    assert found.partial_share == pytest.approx(0.5)
    assert found.level == pytest.approx(7 / 10)


def test_nodes_that_are_never_lost_have_no_life() -> None:
    found = facts(SpotSupply(60, (A, C), np.full((100, 2), 3, dtype=np.int32)))
    assert math.isnan(found.node_life_h)
    assert math.isnan(found.node_run_min)
    assert math.isnan(found.partial_share)
    assert found.partial_per_h == 0.0
    assert found.level == 1.0


def test_a_supply_without_any_node_can_be_measured() -> None:
    found = facts(SpotSupply(60, (A,), np.zeros((100, 1), dtype=np.int32)))
    assert found.zones == (0.0,)
    assert math.isnan(found.up_if_up)
    assert math.isnan(found.partial_per_h)
    assert math.isnan(found.level)


def test_what_is_too_short_or_empty_is_refused() -> None:
    with pytest.raises(SimulationError, match="half the supply"):
        facts(always([A], 1))
    with pytest.raises(SimulationError, match="a row or more"):
        facts(supply([1] * 100), probe_s=1)
    with pytest.raises(SimulationError, match="rows or sites"):
        facts(never([]))
    with pytest.raises(SimulationError, match="2 columns"):
        facts(SpotSupply(60, (A,), np.ones((9, 2), dtype=np.int32)))
