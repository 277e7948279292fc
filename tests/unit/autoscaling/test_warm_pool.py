"""Who is woken, parked, replaced and ended, by example."""

import pytest

from autoscaling.warm_pool import Order, Phase, PoolSettings, RecycleSettings, WarmPool
from tests.unit.autoscaling.world import World, report


def test_a_pool_fills_up_with_active_replicas_and_standby() -> None:
    world = World(PoolSettings(2, 5, 1, 1000))
    assert world.shape() == (2, 1, 3)
    plan = world.serve.pool.plan(world.now)
    assert (plan.replicas, plan.active, plan.standby, plan.settled) == (3, 2, 1, True)
    assert world.counts()["woken"] == 2


def test_a_burst_wakes_standby_and_refills_it() -> None:
    world = World(PoolSettings(1, 5, 2, 1000))
    world.load = 1500.0  # three replicas at half their saturation
    world.run(5 + 2 + 1 + 2)  # the delay, the round, waking: nothing that has to start
    assert len(world.of(Phase.ACTIVE)) == 3
    world.run(40)
    assert world.shape() == (3, 2, 5)
    assert world.counts()["cold_starts"] == 0


def test_standby_leaves_room_for_active_ones() -> None:
    world = World(PoolSettings(1, 3, 2, 1000))
    world.load = 5000.0
    world.run(100)
    assert world.shape() == (3, 0, 3)


def test_requests_wake_a_pool_of_none_at_once() -> None:
    world = World(PoolSettings(0, 2, 1, 1000))
    assert world.shape() == (0, 1, 1)
    world.load = 100.0
    world.run(3)
    assert len(world.of(Phase.ACTIVE)) == 1
    assert world.counts()["cold_starts"] == 0


def test_requests_that_wait_for_a_start_are_counted() -> None:
    world = World(PoolSettings(0, 2, 0, 1000))
    world.load = 100.0
    world.run(20)
    assert world.counts()["cold_starts"] == 1
    assert world.counts()["cold_start_requests"] == 3
    assert world.counts()["starting"] == 1
    world.run(20)
    assert world.shape() == (1, 0, 1)


def test_a_lull_stops_the_newest_after_it_was_parked() -> None:
    world = World(PoolSettings(1, 5, 0, 1000, down_delay_s=30))
    world.load = 1400.0
    world.run(60)
    assert len(world.of(Phase.ACTIVE)) == 3
    oldest = world.serve.replicas[0].name
    world.load = 100.0
    for _ in range(200):
        for replica in world.of(Phase.ACTIVE):
            replica.work_ends = world.now + 5
        world.run(1)
        assert not any(replica.stopped for replica in world.serve.replicas)
    assert world.names(Phase.ACTIVE) == {oldest}
    assert world.shape() == (1, 0, 1)
    assert world.counts()["parked"] == 2


def test_serve_may_stop_any_other() -> None:
    world = World(PoolSettings(2, 4, 1, 1000))
    gone = world.of(Phase.ACTIVE)[0]
    gone.phase, gone.stopped, gone.changes_at = Phase.DRAINING, True, world.now + 5
    gone.work_ends = world.now + 5
    world.run(4)
    assert len(world.of(Phase.ACTIVE)) == 2
    assert gone.name not in {name for _, name, _ in world.orders}
    world.run(40)
    assert world.shape() == (2, 1, 3)


def test_a_silent_replica_is_replaced_by_one_on_standby() -> None:
    world = World(PoolSettings(2, 4, 1, 1000))
    dead = world.of(Phase.ACTIVE)[0]
    world.serve.replicas.remove(dead)
    world.run(9)
    assert len(world.of(Phase.ACTIVE)) == 2
    assert world.counts()["lost"] == 1


def test_a_failed_check_ends_the_replica_and_wakes_another() -> None:
    world = World(PoolSettings(1, 4, 2, 1000))
    other, failing = sorted(world.of(Phase.STANDBY), key=lambda replica: replica.name)
    failing.fails = True
    world.load = 600.0
    world.run(60)
    told = [(name, order) for _, name, order in world.orders]
    assert told == [
        (failing.name, Order.WAKE),
        (failing.name, Order.EXIT),
        (other.name, Order.WAKE),
    ]
    assert world.counts()["failed_checks"] == 1
    assert world.shape() == (2, 2, 4)


def test_one_that_wakes_for_ever_is_not_counted_on() -> None:
    world = World(PoolSettings(1, 4, 2, 1000))
    for replica in world.of(Phase.STANDBY):
        replica.stuck = True
    world.load = 600.0
    world.run(180)
    assert len(world.of(Phase.ACTIVE)) == 2


def test_a_lost_answer_is_given_again() -> None:
    world = World(PoolSettings(1, 4, 1, 1000))
    world.of(Phase.STANDBY)[0].deaf = True
    world.load = 600.0
    world.run(12)
    assert [order for _, _, order in world.orders] == [Order.WAKE, Order.WAKE]
    assert len(world.of(Phase.ACTIVE)) == 2


def test_a_fresh_core_keeps_what_it_finds() -> None:
    world = World(PoolSettings(1, 6, 1, 1000, down_delay_s=30))
    world.load = 1900.0
    world.run(60)
    active, target = world.names(Phase.ACTIVE), world.serve.target
    assert len(active) == 4
    world.serve.pool = WarmPool(world.settings)
    world.load, world.orders = 0.0, []
    assert not world.serve.pool.plan(world.now).settled
    world.run(29)
    assert world.names(Phase.ACTIVE) == active
    assert world.serve.target == target
    assert world.orders == []
    world.run(5)
    assert [order for _, _, order in world.orders] == [Order.PARK]


def test_an_answer_says_why() -> None:
    world = World(PoolSettings(2, 5, 1, 1000))
    assert world.serve.pool.plan(world.now).reason == "2 active and 1 on standby"


def test_the_youngest_that_is_not_due_is_woken() -> None:
    settings = PoolSettings(1, 4, 2, 1000, recycle=RecycleSettings(age_s=150, jitter=0))
    pool = WarmPool(settings)
    pool.plan(0)
    orders = {}
    for now in (1.0, 2.5):
        for name, age in (("due", 200.0), ("old", 140.0), ("young", 10.0)):
            orders[name] = pool.report(report(name, Phase.STANDBY, age_s=age), now)
    assert orders == {"due": Order.KEEP, "old": Order.KEEP, "young": Order.WAKE}


def test_nothing_is_woken_before_all_could_say_that_they_are_active() -> None:
    pool = WarmPool(PoolSettings(1, 4, 1, 1000))
    assert pool.report(report("ready", Phase.STANDBY), 0.0) is Order.KEEP
    assert pool.report(report("busy", Phase.ACTIVE), 0.5) is Order.KEEP
    assert pool.report(report("ready", Phase.STANDBY), 3.0) is Order.KEEP


def test_an_active_newest_changes_places_with_standby_before_serve_stops_it() -> None:
    pool = WarmPool(PoolSettings(1, 4, 1, 1000))
    newest, older, oldest = Phase.ACTIVE, Phase.STANDBY, Phase.STANDBY
    for now in range(60):
        oldest_told = pool.report(report("oldest", oldest, 300.0 + now), float(now))
        older_told = pool.report(report("older", older, 200.0 + now), float(now))
        newest_told = pool.report(report("newest", newest, 100.0 + now), float(now))
        assert oldest_told is Order.KEEP
        if older_told is Order.WAKE:
            assert pool.plan(float(now)).replicas == 3
            older = Phase.ACTIVE
        if newest_told is Order.PARK:
            assert older is Phase.ACTIVE
            newest = Phase.STANDBY
    assert (newest, older) == (Phase.STANDBY, Phase.ACTIVE)
    assert pool.plan(59.0).replicas == 2


def test_one_of_two_of_almost_one_age_is_parked_whoever_reports() -> None:
    pool = WarmPool(PoolSettings(1, 4, 2, 1000, down_delay_s=20))
    told = []
    for now in range(40):
        first = pool.report(report("first", Phase.ACTIVE, 100.0 + now), float(now))
        second = pool.report(report("second", Phase.ACTIVE, 99.9 + now + 0.5), now + 0.5)
        told.append((first, second))
    assert told[-1] == (Order.KEEP, Order.PARK)


def test_lowered_bounds_hold_for_what_is_there() -> None:
    pool = WarmPool(PoolSettings(1, 2, 0, 1000))
    for now in range(20):
        for number in range(5):
            pool.report(report(f"r{number}", Phase.ACTIVE), float(now))
    assert pool.plan(19.0).replicas == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"least": 3}, "least must be from 0 to most"),
        ({"least": 0, "most": 0}, "most must be at least 1"),
        ({"standby": -1}, "standby must be at least 0"),
        ({"tokens_per_replica": 0}, "tokens_per_replica must be at least 1"),
        ({"target_load": 0.0}, "target_load must be above 0"),
        ({"down_delay_s": -1.0}, "down_delay_s must be a time"),
        ({"silence_s": 0.0}, "silence_s must be a positive time"),
    ],
)
def test_settings_that_no_pool_could_follow(wrong: dict[str, float], message: str) -> None:
    right = {"least": 1, "most": 2, "standby": 0, "tokens_per_replica": 1000}
    with pytest.raises(ValueError, match=message):
        PoolSettings(**(right | wrong))  # type: ignore[arg-type]  # a mixture of int and float
