"""Replicas whose nodes go, by example: others come first, and no later than the node allows."""

import pytest

from autoscaling.warm_pool import LEAVE_S, Order, Phase, PoolSettings, RecycleSettings, WarmPool
from tests.unit.autoscaling.world import TIMES, World, report


def test_a_doomed_replica_is_replaced_from_standby_before_it_drains() -> None:
    world = World(PoolSettings(2, 5, 1, 1000))
    doomed = world.of(Phase.ACTIVE)[0]
    world.serve.preempt(doomed.name, world.now + 120, world.now)
    world.run(4)
    (ready,) = {name for _, name, order in world.orders if order is Order.WAKE}
    assert ready in world.names(Phase.ACTIVE)
    assert [(name, order) for _, name, order in world.orders] == [
        (ready, Order.WAKE),
        (doomed.name, Order.DRAIN),
    ]
    assert world.least_active >= 2
    world.run(60)
    assert world.shape() == (2, 1, 3)
    assert world.counts()["doomed"] == 0
    assert (world.counts()["lost"], world.counts()["seen_off"]) == (0, 1)


def test_without_standby_it_serves_until_another_has_started() -> None:
    world = World(PoolSettings(1, 5, 0, 1000))
    doomed = world.of(Phase.ACTIVE)[0]
    world.serve.preempt(doomed.name, world.now + 120, world.now)
    world.run(int(TIMES.start_s))
    assert doomed.phase is Phase.ACTIVE
    assert world.counts()["active"] == 0
    assert world.counts()["doomed"] == 1
    # Serve stops it as soon as the other one runs, which has to be woken then.
    world.run(int(TIMES.wake_s) + 3)
    assert doomed.phase is not Phase.ACTIVE
    assert len(world.of(Phase.ACTIVE)) == 1


def test_it_leaves_in_time_even_if_nobody_has_come() -> None:
    world = World(PoolSettings(1, 5, 0, 1000))
    doomed = world.of(Phase.ACTIVE)[0]
    leaves_at = world.now + LEAVE_S + 5
    world.serve.preempt(doomed.name, leaves_at, world.now)
    world.run(4)
    assert world.names(Phase.ACTIVE) == {doomed.name}
    world.run(1)
    assert world.names(Phase.DRAINING) == {doomed.name}
    assert world.serve.pool.leaves_in(doomed.name, world.now) == LEAVE_S


def test_one_that_is_almost_gone_leaves_at_once_even_after_a_restart() -> None:
    pool = WarmPool(PoolSettings(1, 2, 0, 1000))
    pool.doom("r1", 10.0, 0.0)
    assert pool.report(report("r1", Phase.ACTIVE), 0.0) is Order.DRAIN


def test_a_doomed_replica_on_standby_is_not_woken() -> None:
    pool = WarmPool(PoolSettings(1, 3, 0, 1000))
    pool.doom("going", 500.0, 0.0)
    told = [pool.report(report("going", Phase.STANDBY), float(now)) for now in range(5)]
    assert told == [Order.KEEP] * 5
    assert pool.plan(5.0).replicas == 1
    assert "1 on nodes that go" in pool.plan(5.0).reason


def test_the_work_of_a_doomed_replica_still_counts() -> None:
    world = World(PoolSettings(1, 5, 0, 1000))
    world.load = 1900.0
    world.run(60)
    assert len(world.of(Phase.ACTIVE)) == 4
    for replica in world.of(Phase.ACTIVE):
        world.serve.preempt(replica.name, world.now + 300, world.now)
    world.run(2)
    assert world.serve.pool.wanted == 4
    running = world.serve.pool.running(world.now)
    assert (running.active, running.doomed, running.reactive, running.starting) == (0, 4, 4, 4)


def test_others_elsewhere_are_enough() -> None:
    pool = WarmPool(PoolSettings(1, 3, 0, 1000))
    for now in range(12):
        pool.report(report("r1", Phase.ACTIVE), float(now))
    pool.doom("r1", 500.0, 12.0)
    assert pool.report(report("r1", Phase.ACTIVE), 12.0) is Order.KEEP
    pool.cover(1)
    assert pool.report(report("r1", Phase.ACTIVE), 13.0) is Order.DRAIN


def test_one_that_may_go_is_replaced_first_and_without_haste() -> None:
    world = World(PoolSettings(2, 5, 0, 1000, recycle=RecycleSettings(age_s=10_000)))
    risky = world.of(Phase.ACTIVE)[0]
    world.serve.pool.replace(risky.name)
    world.run(60)
    assert world.least_active >= 2
    assert risky.name not in {replica.name for replica in world.serve.replicas}
    assert world.shape() == (2, 0, 2)


def test_one_that_may_go_is_replaced_where_nothing_else_is() -> None:
    world = World(PoolSettings(2, 5, 1, 1000))
    risky = world.of(Phase.ACTIVE)[0]
    world.serve.pool.replace(risky.name)
    world.run(80)
    assert world.least_active >= 2
    assert risky.name not in {replica.name for replica in world.serve.replicas}
    assert world.shape() == (2, 1, 3)


@pytest.mark.parametrize("seconds", [0, 40])
def test_an_ask_comes_before_the_work(seconds: int) -> None:
    world = World(PoolSettings(1, 6, 0, 1000, up_delay_s=5))
    for _ in range(seconds + 1):
        world.serve.pool.ask(4, world.now)
        world.run(1)
    assert world.serve.target == 4
    assert world.counts()["asked"] == 4
    world.run(40)
    assert len(world.of(Phase.ACTIVE)) == 4
