"""Our own policy carries the planner of production through a scenario."""

from dataclasses import replace

import msgspec
import pytest

from autoscaling.plan_terms import Site
from autoscaling.simulator.demand.windows import past
from autoscaling.simulator.outcome import Outcome
from autoscaling.simulator.policy import Observation, SiteView
from autoscaling.simulator.run import simulate
from autoscaling.simulator.shared_forecasts import SharedForecasts
from autoscaling.simulator.simulated_fleet import POOL, Variant, fleet_of
from autoscaling.simulator.terms import ON_DEMAND, SpotSupply
from autoscaling.simulator.tidegate import BEGIN_S, TidegatePolicy
from tests.unit.simulator.run.scenarios import A, B, Steady, scenario, supply

# The fitted models take seconds to import; what they do is tested where they are.
QUICK = Variant(members=("last_value", "seasonal_naive"))
TIDE = (2.0,) * 6 + (10.0,) * 6 + (2.0,) * 12


def ours(variant: Variant = QUICK) -> TidegatePolicy:
    return TidegatePolicy("ours", variant, tick_s=30.0)


def played(variant: Variant = QUICK, nodes: SpotSupply | None = None, **changes: object) -> Outcome:
    return simulate(scenario(TIDE, nodes, first=2, **changes), ours(variant))


def test_it_follows_demand_on_spot_nodes_and_keeps_the_promise() -> None:
    came = played()
    assert came.attainment > 0.95
    assert came.spot_share > 0.6
    ready = [sum(pair) for pair in zip(came.series["on_demand"], came.series["spot"], strict=True)]
    assert max(ready[7:12]) >= 5
    assert ready[-1] <= 3
    assert came.dollars < 0.6 * 6 * 10.0 * 4


def test_without_spot_nodes_it_goes_on_demand() -> None:
    came = played(nodes=supply((0, 0)))
    assert came.spot_share == 0.0
    assert came.attainment > 0.95


def test_what_goes_is_stood_in_for() -> None:
    nodes = supply(*([(40, 40)] * 90 + [(0, 0)] * 150))
    came = played(nodes=nodes, notice_s=120.0)
    assert came.preemptions > 2
    assert came.lost == 0
    assert came.attainment > 0.95
    assert came.series["on_demand"][-1] >= 2


def test_lost_metrics_hold_what_there_is() -> None:
    one = scenario((8.0,) * 12, first=5, unseen=((3600.0, 7200.0),))
    came = simulate(one, ours())
    ready = [sum(pair) for pair in zip(came.series["on_demand"], came.series["spot"], strict=True)]
    assert min(ready[6:]) >= ready[5] - 1
    assert came.attainment > 0.97


def test_what_is_left_out_changes_what_it_does() -> None:
    whole = played()
    flaky = supply(*([(8, 0), (8, 3), (0, 8), (5, 5)] * 8), step_s=450.0)
    assert played(nodes=flaky).cost != played(replace(QUICK, survival=False), flaky).cost
    assert played(replace(QUICK, headroom=1.5)).dollars > 1.1 * whole.dollars
    assert played(replace(QUICK, forecast=False)).cost != whole.cost
    assert played(replace(QUICK, measured_lead=False), lead_s=30.0).cost != played(lead_s=30.0).cost


def test_what_one_has_learned_another_begins_with() -> None:
    workload = Steady((3.0,) * 12)
    before = past(workload, 0.0, 3600.0, 60.0)
    one = replace(scenario((3.0,) * 12), begin_s=3600.0)
    first, second = ours(), ours()
    direct = simulate(one, first, before)
    taught = TidegatePolicy("ours", QUICK, tick_s=30.0)
    taught.begin(one.terms, before)
    learned = msgspec.msgpack.decode(msgspec.msgpack.encode(taught.learned()))
    again = TidegatePolicy("ours", QUICK, tick_s=30.0, learned=learned)
    came = simulate(one, again)
    assert came.attainment == pytest.approx(direct.attainment, abs=0.01)
    assert came.dollars == pytest.approx(direct.dollars, rel=0.15)
    assert simulate(one, second, before) == direct


def test_forecasts_are_made_once_for_the_same_demand() -> None:
    one = scenario((2.0, 8.0, 8.0, 2.0), first=2)
    shared = SharedForecasts(BEGIN_S + one.end_s - 30.0)

    def sharing(headroom: float) -> TidegatePolicy:
        variant = replace(QUICK, headroom=headroom)
        return TidegatePolicy("ours", variant, tick_s=30.0, forecasts=shared)

    stopped = replace(one, end_s=one.end_s / 2)
    simulate(stopped, sharing(1.0))
    assert not shared.known()
    for headroom in (1.0, 1.5):
        alone = ours(replace(QUICK, headroom=headroom))
        assert simulate(one, sharing(headroom)) == simulate(one, alone)
        assert shared.known()


def test_those_that_stand_by_are_there_when_demand_rises() -> None:
    rising = (2.0,) * 6 + (12.0,) * 6
    quick = replace(QUICK, members=("last_value",))

    def once(standby: int, nodes: SpotSupply | None = None) -> Outcome:
        one = scenario(rising, nodes, first=2, lead_s=300.0)
        return simulate(one, ours(replace(quick, standby=standby)))

    without, held = once(0), once(2)
    assert held.attainment > without.attainment
    assert held.shortfall_s < without.shortfall_s
    assert held.cold_waits < without.cold_waits
    assert once(1, supply((0, 0))).spot_share == 0.0
    flaky = supply(*([(8, 0), (8, 3), (0, 8), (5, 5)] * 8), step_s=450.0)
    assert once(1, flaky).requests == held.requests


def test_one_that_stands_by_takes_the_place_of_one_missing_elsewhere() -> None:
    policy = ours(replace(QUICK, standby=1))
    simulate(scenario((1.0,), first=1), policy)
    policy._standby = {A: 1}
    seen = Observation(0.0, 10.0, True, {ON_DEMAND: SiteView(1), A: SiteView(2), B: SiteView(0)})
    answer = policy._woken({ON_DEMAND: 1, A: 2, B: 1}, seen)
    assert (answer, answer.standby) == ({ON_DEMAND: 1, A: 3, B: 1}, {A: 0})
    # At its own site it is the fleet that wakes it, and on demand is another deployment.
    answer = policy._woken({ON_DEMAND: 2, A: 3, B: 0}, seen)
    assert (answer, answer.standby) == ({ON_DEMAND: 2, A: 3, B: 0}, {A: 1})


def test_the_planner_hears_of_those_that_stand_by() -> None:
    policy = ours(replace(QUICK, standby=1))
    simulate(scenario((2.0,) * 3, first=2), policy)
    group = policy._planner.groups[POOL]
    assert group.last is not None
    assert group.last.situation.standby == 1
    assert sum(each.standby for each in group.running.values()) == 1
    assert sum(sum(each.sites.values()) for each in group.running.values()) == sum(
        each.active + each.standby for each in group.running.values()
    )


def test_it_asks_for_no_more_than_there_may_be() -> None:
    came = simulate(scenario((30.0,) * 6, most=4, patience_s=5.0), ours())
    total = [sum(pair) for pair in zip(came.series["on_demand"], came.series["spot"], strict=True)]
    assert max(total) <= 8
    assert came.lost > 0


def test_its_pool_is_what_the_terms_say() -> None:
    terms = scenario((1.0,)).terms
    fleet = fleet_of(terms, replace(QUICK, headroom=2.0), 60.0)
    (pool,) = fleet.pools
    assert pool.name == POOL
    assert pool.capacity is not None
    assert pool.capacity.decode_tokens_per_s == terms.capacity.decode_tps / 2
    sites = [Site("spot", each.region, each.availability_zone) for each in fleet.scaling.spot.sites]
    assert sites[0] == A
    assert fleet.scaling.spot.sites[0].spot_price == terms.prices[A]
    assert fleet.scaling.spot.sites[0].on_demand_price == terms.prices[ON_DEMAND]
