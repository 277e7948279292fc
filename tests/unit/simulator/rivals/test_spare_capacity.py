import pytest

from autoscaling.simulator.rivals.hpa import HpaDemand, hpa, proposed
from autoscaling.simulator.rivals.spare_capacity import SpareCapacityDemand, spare_capacity
from autoscaling.simulator.rivals.stabilisation import WindowMax
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.rivals.seeing import past, seen, terms


def spare(replicas: float = 4.0, headroom: float = 1.0) -> SpareCapacityDemand:
    demand = SpareCapacityDemand(headroom)
    demand.begin(terms(), past([replicas]))
    return demand


@pytest.mark.parametrize(
    ("kv_use", "waiting", "expected"),
    [
        (0.69, 0, 4),  # 11% are spare up to 80%
        (0.71, 0, 5),  # 9%
        (0.90, 0, 5),  # saturated
        (0.60, 8, 4),  # three places in the queue are spare
        (0.60, 9, 5),
    ],
)
def test_one_more_while_too_little_is_spare(kv_use: float, waiting: int, expected: int) -> None:
    assert spare().replicas(seen(0, 4, kv_use=kv_use, waiting=waiting)) == expected


def test_it_waits_for_what_is_pending() -> None:
    demand = spare()
    counts = [demand.replicas(seen(step, 4, kv_use=0.9)) for step in range(30)]
    assert counts == [5] * 30
    assert demand.replicas(seen(30, 5, kv_use=0.9)) == 6


def test_it_looks_once_a_minute_at_the_peak_of_the_minute() -> None:
    demand = spare()
    counts = [
        demand.replicas(seen(step, 4, kv_use=0.9 if step == 2 else 0.6)) for step in range(13)
    ]
    assert counts == [4] * 6 + [5] * 7


def test_one_fewer_once_that_has_been_safe_for_300_seconds() -> None:
    # 0.5 of four caches are 0.67 of three: 13% are spare.
    demand = spare()
    demand.replicas(seen(0, 4, kv_use=0.6))
    counts = [demand.replicas(seen(step, 4, kv_use=0.5)) for step in range(1, 60)]
    assert counts[:30] == [4] * 29 + [3]


def test_it_stays_where_one_fewer_is_not_safe() -> None:
    demand = spare()
    counts = {demand.replicas(seen(step, 4, kv_use=0.55)) for step in range(120)}
    assert counts == {4}


def test_headroom_lowers_the_thresholds() -> None:
    assert spare(headroom=2.0).replicas(seen(0, 4, kv_use=0.36)) == 5
    assert spare(headroom=1.0).replicas(seen(0, 4, kv_use=0.36)) == 4


def test_the_window_keeps_the_greatest() -> None:
    window = WindowMax(30.0)
    values = [(0.0, 5), (10.0, 3), (20.0, 4), (30.0, 1), (40.0, 1), (50.0, 1)]
    assert [window.add(at, value) for at, value in values] == [5, 5, 5, 4, 4, 1]


@pytest.mark.parametrize(
    ("ratio", "ready", "unready", "expected"),
    [
        (1.5, 4, 0, 6),
        (1.1, 4, 0, 4),  # within the tolerance
        (0.9, 4, 0, 4),
        (0.5, 4, 0, 2),
        (1.5, 4, 1, 6),  # six are wanted; the unready one counts as idle: 1.5 * 4 / 5 = 1.2
        (1.5, 4, 2, 6),  # 1.5 * 4 / 6 = 1.0: nothing is done
        (1.5, 4, 4, 8),  # it would turn round: nothing is done
        (0.5, 4, 4, 2),
    ],
)
def test_it_calculates_as_kubernetes_does(
    ratio: float, ready: int, unready: int, expected: int
) -> None:
    assert proposed(ratio, ready, unready) == expected


def pods(replicas: float = 4.0, headroom: float = 1.0) -> HpaDemand:
    demand = HpaDemand(headroom)
    demand.begin(terms(), past([replicas]))
    return demand


def test_the_greatest_answer_of_its_metrics_counts() -> None:
    assert pods().replicas(seen(0, 4, kv_use=0.75, waiting=0)) == 6
    assert pods().replicas(seen(0, 4, kv_use=0.5, waiting=20, queued=20)) == 8
    assert pods(headroom=2.0).replicas(seen(0, 4, kv_use=0.5)) == 8


def test_the_batch_size_counts_where_the_cache_is_large() -> None:
    # 5.95 requests a replica are what the profile says; 36 on four of them are 1.5 times that.
    assert pods().replicas(seen(0, 4, kv_use=0.05, running=36)) == 7


def test_up_is_limited_to_twice_as_many_or_four_more() -> None:
    assert pods(1.0).replicas(seen(0, 1, kv_use=0.5, queued=1000)) == 5
    assert pods(10.0).replicas(seen(0, 10, kv_use=0.5, queued=1000)) == 20


def test_down_is_the_greatest_answer_of_300_seconds() -> None:
    demand = pods(8.0)
    assert demand.replicas(seen(0, 8, kv_use=0.5)) == 8
    counts = [demand.replicas(seen(step, 8, kv_use=0.2)) for step in range(1, 32)]
    assert counts[:29] == [8] * 29
    assert counts[-1] == 4


def test_both_run_on_demand() -> None:
    for policy in (hpa(), spare_capacity()):
        policy.begin(terms(), past([4.0]))
        assert set(policy.decide(seen(0, 4, kv_use=0.5))) == {ON_DEMAND}
