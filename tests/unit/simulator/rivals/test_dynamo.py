import numpy as np
import pytest

from autoscaling.plan_terms import Capacity
from autoscaling.simulator.rivals.dynamo import DynamoDemand, dynamo
from autoscaling.simulator.rivals.dynamo_load import LoadLoop
from autoscaling.simulator.rivals.dynamo_sky import dynamo_sky
from autoscaling.simulator.rivals.predictors import ConstantPredictor, KalmanPredictor
from autoscaling.simulator.terms import ON_DEMAND, Past
from tests.unit.simulator.rivals.seeing import Fleet, past, seen, terms


def floor(rates: list[float], headroom: float = 1.0) -> DynamoDemand:
    demand = DynamoDemand(headroom=headroom, reactive=False)
    demand.begin(terms(), past(rates))
    return demand


def test_it_begins_with_what_the_past_predicts() -> None:
    assert floor([2.0, 4.0, 6.5]).replicas(seen(0)) == 7
    assert floor([2.0, 4.0, 6.5], headroom=2.0).replicas(seen(0)) == 13


def test_it_predicts_each_180_seconds() -> None:
    demand = floor([4.0])
    counts = [demand.replicas(seen(step, rate=9.0)) for step in range(36)]
    assert counts == [4] * 17 + [9] * 19


def test_lengths_are_predicted_too() -> None:
    demand = floor([4.0])
    for step in range(18):
        last = demand.replicas(seen(step, rate=4.0, prompt_tokens=40 * 300))
    # 4 requests a second of 300 + 100 tokens at 200 tokens a second.
    assert last == 8


def test_without_traffic_it_goes_down() -> None:
    demand = floor([8.0])
    for step in range(18):
        last = demand.replicas(seen(step, rate=0.0))
    assert last == 1


def test_kalman_runs_ahead_of_a_ramp() -> None:
    ramp = [2.3 + step for step in range(40)]
    ahead = DynamoDemand(KalmanPredictor, reactive=False)
    ahead.begin(terms(), past(ramp))
    assert ahead.replicas(seen(0)) == 43
    assert floor(ramp).replicas(seen(0)) == 42


def test_a_past_in_other_bins_keeps_its_work_and_its_gaps() -> None:
    demand = DynamoDemand(reactive=False)
    demand.begin(terms(), past([3.0, 5.0, 9.0], step_s=600.0))
    assert demand.replicas(seen(0)) == 9
    fine = DynamoDemand(reactive=False)
    fine.begin(terms(), past([5.0] * 30 + [np.nan] * 18, step_s=10.0))
    assert fine.replicas(seen(0)) == 5


def test_a_past_of_gaps_only_leaves_the_least() -> None:
    demand = DynamoDemand(reactive=False)
    nothing = np.full(4, np.nan)
    demand.begin(terms(least=2), Past(0.0, 600.0, nothing, nothing, nothing))
    assert demand.replicas(seen(0)) == 2


def busy_loop(itl_per_request: float = 0.002) -> LoadLoop:
    loop = LoadLoop(terms())
    for step in range(10):
        load = 10 + step
        loop.change(
            seen(step, 4, running=4 * load, finished=10, itl_s=0.02 + itl_per_request * load,
                 ttft_s=0.5)
        )  # fmt: skip
    return loop


def test_itl_above_the_slo_asks_for_one_more() -> None:
    # 20 ms + 2 ms a request: 100 ms are passed at 40 requests a replica.
    assert busy_loop().change(seen(11, 4, running=4 * 41)) == 1
    assert busy_loop().change(seen(11, 4, running=4 * 39)) == 0


def test_ttft_above_the_slo_asks_for_one_more() -> None:
    # Alone it is 0.5 s; 100 prompt tokens take half a second, so that three waiting are 2 s.
    assert busy_loop().change(seen(11, 4, running=4 * 20, waiting=4 * 4)) == 1
    assert busy_loop().change(seen(11, 4, running=4 * 20, queued=4 * 4)) == 1
    assert busy_loop().change(seen(11, 4, running=4 * 30, waiting=4 * 2)) == 0


@pytest.mark.parametrize(
    ("each", "waiting", "kv_use", "expected"),
    [
        (20, 0, 0.3, -1),  # 20 ms + 2 ms * 20 * 4 / 3 is under 80 ms
        (24, 0, 0.3, 0),  # 20 ms + 2 ms * 24 * 4 / 3 is above
        (20, 0, 0.8, 0),  # 80% of four caches do not fit into three
        (10, 2, 0.3, 0),  # what waits takes 1 s; with one fewer 1.3 s, above 80% of 1.5 s
    ],
)
def test_one_fewer_if_the_others_can_take_it(
    each: int, waiting: int, kv_use: float, expected: int
) -> None:
    observed = seen(11, 4, running=4 * each, waiting=4 * waiting, kv_use=kv_use)
    assert busy_loop().change(observed) == expected


def test_it_decides_nothing_before_five_observations() -> None:
    loop = LoadLoop(terms())
    heavy = [seen(step, 2, running=60, finished=1, itl_s=1.0, ttft_s=9.0) for step in range(6)]
    assert [loop.change(each) for each in heavy] == [0, 0, 0, 0, 1, 1]


def test_old_observations_are_forgotten() -> None:
    loop = busy_loop()
    for step in range(64):
        loop.change(seen(step, 4, running=4 * (10 + step % 9), finished=9, itl_s=0.5, ttft_s=0.5))
    assert loop.change(seen(99, 4, running=4)) == 1


def test_the_last_replica_stays() -> None:
    assert busy_loop().change(seen(11, 1, running=1)) == 0


def test_it_goes_up_by_one_and_waits_until_that_one_is_ready() -> None:
    demand = DynamoDemand()
    demand.begin(terms(), past([4.0]))
    slow = {"running": 400, "finished": 10, "itl_s": 0.5, "ttft_s": 0.5}
    counts = [demand.replicas(seen(step, 4, rate=4.0, **slow)) for step in range(10)]
    assert counts == [4] * 4 + [5] * 6
    assert demand.replicas(seen(10, 5, rate=4.0, **slow)) == 6


def test_the_floor_holds_when_the_loop_would_go_below() -> None:
    demand = DynamoDemand()
    demand.begin(terms(), past([4.0]))
    idle = {"running": 1, "finished": 10, "itl_s": 0.02, "ttft_s": 0.1}
    assert {demand.replicas(seen(step, 4, rate=4.0, **idle)) for step in range(60)} == {4}


def test_the_floor_rises_while_replicas_are_pending() -> None:
    fleet = Fleet(dynamo("constant"), terms()).begin(4, past([4.0]))
    for _ in range(18):
        fleet.go(rate=7.0)
    assert fleet.go(rate=7.0)[ON_DEMAND] == 7
    for _ in range(5):
        fleet.go(rate=10.0)
    for _ in range(14):
        fleet.go(rate=10.0)
    assert fleet.go(rate=10.0)[ON_DEMAND] > 7


def test_it_is_bounded() -> None:
    demand = DynamoDemand(reactive=False)
    demand.begin(terms(most=6, capacity=Capacity(20.0, 20.0, measured=True)), past([9.0]))
    assert demand.replicas(seen(0)) == 6


def test_the_strong_baseline_puts_the_same_number_on_spot_nodes() -> None:
    policy = dynamo_sky("constant", ConstantPredictor, overprovision=0)
    policy.begin(terms(), past([6.0]))
    asked = policy.decide(seen(0, 6, rate=6.0))
    assert asked[ON_DEMAND] == 6
    assert sum(count for site, count in asked.items() if site.market == "spot") == 6
    assert policy.name == "dynamo-constant-sky-like"
