"""Replicas are replaced by fresh ones, a few at a time, and the fresh one is active first."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.pool_terms import Order, Phase, PoolSettings, RecycleSettings
from autoscaling.recycling import Recycling
from autoscaling.simulated_serve import Times
from autoscaling.warm_pool import WarmPool
from tests.unit.autoscaling.world import World, report


def settings(least: int, most: int, standby: int, **recycle: float) -> PoolSettings:
    return PoolSettings(least, most, standby, 1000, recycle=RecycleSettings(**recycle))  # type: ignore[arg-type]  # a mixture of bool and float


@given(st.text(min_size=1), st.floats(1, 1e6), st.floats(0, 0.99))
def test_each_has_an_age_limit_of_its_own(name: str, age_s: float, jitter: float) -> None:
    recycling = Recycling(RecycleSettings(age_s=age_s, jitter=jitter))
    limit = recycling.limit(name)
    assert age_s * (1 - jitter) * 0.999 <= limit <= age_s * (1 + jitter) * 1.001
    assert recycling.limit(name) == limit


def test_limits_are_spread() -> None:
    recycling = Recycling(RecycleSettings(age_s=1000, jitter=0.2))
    limits = [recycling.limit(f"replica{number}") for number in range(200)]
    assert min(limits) < 850
    assert max(limits) > 1150
    assert 960 < sum(limits) / 200 < 1040


@pytest.mark.parametrize(("standby", "most"), [(0, 4), (2, 6)])
def test_every_replica_is_replaced_in_turn(standby: int, most: int) -> None:
    world = World(settings(4, most, standby, age_s=600, share=0.25, patience_s=100))
    recycling = Recycling(world.settings.recycle)
    first = {replica.name for replica in world.serve.replicas}
    for _ in range(1800):
        for replica in world.of(Phase.ACTIVE):
            replica.work_ends = world.now + 8
        world.run(1)
        # What waits its turn behind the others is at most all of them, a minute each.
        for replica in world.serve.running(world.now):
            assert world.now - replica.ready_at < recycling.limit(replica.name) + 4 * 60
        assert len(world.of(Phase.DRAINING)) <= 1
        assert not any(replica.stopped for replica in world.serve.replicas)
    assert not first & {replica.name for replica in world.serve.replicas}
    assert world.least_active == 4
    assert world.counts()["recycled"] >= 8
    assert world.counts()["put_off"] == 0


def test_without_standby_one_more_is_started_and_it_is_one_only() -> None:
    world = World(settings(2, 2, 0, age_s=200, jitter=0.2, patience_s=100))
    most = 0
    for _ in range(400):
        world.run(1)
        most = max(most, len(world.serve.running(world.now)))
        assert world.serve.pool.plan(world.now).replicas <= 3
    assert most == 3
    assert world.least_active == 2


def test_a_replacement_that_does_not_come_is_put_off_for_longer_each_time() -> None:
    world = World(settings(1, 1, 0, age_s=150, jitter=0, patience_s=40))
    world.times = Times(start_s=1e9, wake_s=2)
    raised = []
    for _ in range(400):
        world.run(1)
        raised.append(world.serve.target == 2)
    edges = [place for place in range(1, 400) if raised[place] and not raised[place - 1]]
    # Forty seconds of patience, then a pause of one, two and four times as many.
    assert [later - sooner for sooner, later in pairwise(edges)] == [80, 120]
    assert world.least_active == 1
    assert world.counts()["put_off"] >= 2


def test_memory_is_fragmented_only_when_it_stays_so() -> None:
    world = World(settings(2, 4, 1, age_s=1e6))
    one = world.of(Phase.ACTIVE)[0]
    for share in (0.9, 0.9, 0.1, 0.9, 0.9, 0.1):
        one.fragmentation = share
        world.run(1)
    assert world.counts()["recycling"] == 0
    one.fragmentation = 0.9
    world.run(60)
    assert one not in world.serve.replicas
    assert world.counts()["recycled"] == 1
    assert world.least_active == 2


def test_standby_is_replaced_one_at_a_time() -> None:
    world = World(settings(1, 4, 3, age_s=300, jitter=0.0, patience_s=100))
    least = 3
    for _ in range(500):
        world.run(1)
        least = min(least, len(world.of(Phase.STANDBY)) + len(world.of(Phase.WAKING)))
    # One of them replaces the active one, one is being replaced itself.
    assert least >= 1
    assert len([order for _, _, order in world.orders if order is Order.EXIT]) >= 4


def test_one_that_drains_goes_on_after_a_restart() -> None:
    world = World(settings(2, 4, 1, age_s=1e6))
    old = world.of(Phase.ACTIVE)[0]
    old.fragmentation, old.work_ends = 0.9, world.now + 30
    world.times = Times(start_s=20, wake_s=2, drain_s=30)
    while old.phase is not Phase.DRAINING:
        world.run(1)
    world.serve.pool = WarmPool(world.settings)
    world.run(40)
    assert old not in world.serve.replicas
    assert world.counts()["recycled"] == 1
    world.run(60)
    assert world.shape() == (2, 1, 3)


def test_load_comes_before_replacement() -> None:
    pool = WarmPool(settings(2, 4, 1, age_s=50, jitter=0))
    for now in range(30):
        orders = [
            pool.report(report("a", Phase.ACTIVE), float(now)),
            pool.report(report("fresh", Phase.WAKING, age_s=1), float(now)),
        ]
    assert orders == [Order.KEEP, Order.KEEP]
    assert pool.plan(29.0).replicas == 3
    assert pool.snapshot(29.0)["recycling"] == 0


def test_one_replacement_wakes_one() -> None:
    pool = WarmPool(settings(1, 6, 4, age_s=50, jitter=0))
    for now in range(20):
        pool.report(report("old", Phase.ACTIVE), float(now))
        orders = [
            pool.report(report(f"fresh{number}", Phase.STANDBY, age_s=1.0), float(now))
            for number in range(4)
        ]
    assert orders.count(Order.WAKE) == 1


def test_the_old_one_drains_only_when_the_other_is_active() -> None:
    pool = WarmPool(settings(1, 4, 1, age_s=50, jitter=0))
    orders = []
    for now in range(40):
        phase = Phase.STANDBY if now < 20 else Phase.WAKING if now < 30 else Phase.ACTIVE
        woken = pool.report(report("fresh", phase, age_s=1), float(now))
        orders.append((pool.report(report("old", Phase.ACTIVE), float(now)), woken))
    assert (Order.KEEP, Order.WAKE) in orders
    assert {order for order, _ in orders[:30]} == {Order.KEEP}
    assert orders[30][0] is Order.DRAIN


def test_no_more_than_the_share_drains() -> None:
    pool = WarmPool(settings(6, 10, 0, age_s=50, jitter=0, share=0.35))
    due, fresh = [f"due{number}" for number in range(6)], ["fresh0", "fresh1", "fresh2"]
    orders: list[Order] = []
    for now in range(25):
        for name in fresh if now > 15 else ():
            pool.report(report(name, Phase.ACTIVE, age_s=1.0), float(now))
        orders = [pool.report(report(name, Phase.ACTIVE), float(now)) for name in due]
        assert now > 15 or set(orders) == {Order.KEEP}
    # 0.35 of the nine that are active, and then of the eight and seven that are left.
    assert orders.count(Order.DRAIN) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"age_s": 0.0}, "age_s must be a positive time"),
        ({"jitter": 1.0}, "jitter must be at least 0 and below 1"),
        ({"share": 0.0}, "share must be above 0 and up to 1"),
        ({"fragmentation": 1.5}, "fragmentation must be above 0"),
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RecycleSettings(**wrong)  # type: ignore[arg-type]  # a mixture of bool and float
