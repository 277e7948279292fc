"""A warm pool under everything that may happen to it, in simulated time."""

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from autoscaling.scaling import ASK_S
from autoscaling.simulated_serve import SimulatedReplica, SimulatedServe, Times
from autoscaling.warm_pool import LEAVE_S, Order, Phase, PoolSettings, RecycleSettings, WarmPool

ALLOWED = {
    Phase.STANDBY: {Order.KEEP, Order.WAKE, Order.EXIT},
    Phase.WAKING: {Order.KEEP},
    Phase.ACTIVE: {Order.KEEP, Order.PARK, Order.DRAIN},
    Phase.PARKING: {Order.KEEP},
    Phase.DRAINING: {Order.KEEP, Order.EXIT},
    Phase.FAILED: {Order.EXIT},
}
CALM_S = 15.0  # after a disturbance: silence is noticed, the place refilled, an answer repeated
PER_REPLICA = 1000


class Pool(RuleBasedStateMachine):
    """Drives a pool, and checks every order at the moment it is given."""

    @initialize(
        least=st.integers(0, 3),
        more=st.integers(1, 4),
        standby=st.integers(0, 2),
        share=st.sampled_from([0.2, 0.5, 1.0]),
        age_s=st.sampled_from([None, 60.0, 120.0]),
        seed=st.integers(0, 2**16),
    )
    def begin(
        self, least: int, more: int, standby: int, share: float, age_s: float | None, seed: int
    ) -> None:
        recycle = None
        if age_s is not None:
            recycle = RecycleSettings(age_s=age_s, jitter=0.3, share=share, patience_s=90.0)
        self.settings = PoolSettings(
            least, least + more, standby, PER_REPLICA, down_delay_s=30.0, recycle=recycle
        )
        self.stopped_before: set[str] = set()
        self.random = random.Random(seed)
        self.now = 1000.0
        self.load = 0.0
        self.disturbed = self.now
        self.restarted = self.now
        self.asking: int | None = None
        self.lowest: int | None = None
        self.asked_at = self.now
        pool = WarmPool(self.settings)
        self.serve = SimulatedServe(pool, self.times, max(1, least), self.watch)

    def times(self) -> Times:
        pick = self.random.uniform
        return Times(start_s=pick(5, 40), wake_s=pick(0, 8), drain_s=pick(1, 25))

    @property
    def calm(self) -> bool:
        return self.now - self.disturbed > CALM_S

    def active(self) -> list[SimulatedReplica]:
        return self.serve.of(Phase.ACTIVE, self.now)

    def watch(self, replica: SimulatedReplica, order: Order) -> None:
        assert order in ALLOWED[replica.phase]
        if replica.leaving:
            # It leaves early only for others, and takes no more while its node is there to be left.
            assert order in {Order.KEEP, Order.DRAIN, Order.EXIT}
            if order is Order.DRAIN and replica.leaves_at - self.now > LEAVE_S:
                assert len(self.active()) > self.serve.pool.wanted or not self.calm
            if replica.phase is Phase.ACTIVE and replica.leaves_at - self.now <= LEAVE_S:
                assert order is Order.DRAIN
            return
        if order in {Order.PARK, Order.DRAIN}:
            assert self.now - self.restarted >= self.settings.settle_s
            if self.calm:
                assert len(self.active()) - 1 >= self.settings.least
        counts = self.serve.pool.snapshot(self.now)
        if order is Order.DRAIN:
            recycle = self.settings.recycle or RecycleSettings()
            draining = [one for one in self.serve.of(Phase.DRAINING, self.now) if not one.stopped]
            if self.calm:
                assert len(draining) + 1 <= recycle.at_once(len(self.active()))
        elif order is Order.WAKE and self.calm:
            awake = 1 + len(
                [
                    one
                    for one in self.active() + self.serve.of(Phase.WAKING, self.now)
                    if not one.leaving
                ]
            )
            assert awake <= counts["wanted"] + counts["recycling"] + 1
        elif order is Order.EXIT and replica.phase is Phase.DRAINING:
            assert not self.active() or self.now >= replica.work_ends
        elif order is Order.EXIT and replica.phase is Phase.STANDBY:
            assert self.now - self.restarted >= self.settings.settle_s
            if self.calm:
                assert len(self.active()) >= self.settings.least or counts["waking"]

    def second(self) -> None:
        self.now += 1.0
        active = self.active()
        for replica in active:
            replica.outstanding = self.load / len(active)
            if self.load:
                replica.work_ends = self.now + self.random.uniform(0, 20)
        waits = 0 if active or not self.load else 3
        self.serve.pool.waiting(self.load if waits else 0.0, waits, self.now)
        if self.asking is not None:
            self.serve.pool.ask(self.asking, self.now)
            self.asked_at = self.now
        for replica in self.serve.replicas:
            # As the keeper does, which may have been started anew.
            if replica.leaving and not replica.stopped:
                self.serve.pool.doom(replica.name, replica.leaves_at, self.now)
        before = {replica.name for replica in active}
        self.serve.step(self.now)
        stopped = [
            one
            for one in self.serve.replicas
            if one.stopped and one.name in before and not one.leaving
        ]
        if self.calm and self.settled:
            assert not [one for one in stopped if one.name not in self.stopped_before]
        self.stopped_before = {one.name for one in stopped}
        plan = self.serve.pool.plan(self.now)
        assert 0 <= plan.replicas <= self.settings.most + self.settings.surge
        assert self.settings.least <= plan.active <= self.settings.most
        assert plan.active + plan.standby <= self.settings.most
        if self.asking is not None:
            assert plan.active >= min(max(self.asking, self.settings.least), self.settings.most)
        if self.now - self.asked_at < ASK_S:
            self.lowest = None
        elif self.lowest is not None and self.settled:
            # Once nobody asks any more, one at a time, and never sooner than the work would.
            assert plan.active >= self.lowest - 1
        self.lowest = plan.active

    @property
    def settled(self) -> bool:
        return self.now - self.restarted > self.settings.settle_s

    @rule(seconds=st.integers(1, 150))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(replicas=st.floats(0, 4))
    def work(self, replicas: float) -> None:
        self.load = replicas * PER_REPLICA

    @rule(replicas=st.none() | st.integers(-1, 9))
    def ask_ahead(self, replicas: int | None) -> None:
        self.asking = replicas

    @precondition(lambda self: self.some())
    @rule(data=st.data(), left_s=st.integers(0, 90))
    def preempt(self, data: st.DataObject, left_s: int) -> None:
        self.serve.preempt(self.one(data).name, self.now + left_s, self.now)
        self.disturbed = max(self.disturbed, self.now)

    @precondition(lambda self: self.some())
    @rule(data=st.data())
    def recommend_to_replace(self, data: st.DataObject) -> None:
        self.serve.pool.replace(self.one(data).name)

    def one(self, data: st.DataObject) -> SimulatedReplica:
        running = self.serve.running(self.now)
        return running[data.draw(st.integers(0, len(running) - 1))]

    def some(self) -> bool:
        return bool(self.serve.running(self.now))

    @precondition(some)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        self.serve.replicas.remove(self.one(data))
        self.disturbed = max(self.disturbed, self.now)

    @precondition(some)
    @rule(data=st.data(), seconds=st.integers(1, 20))
    def fall_silent(self, data: st.DataObject, seconds: int) -> None:
        self.one(data).mute_until = self.now + seconds
        self.disturbed = max(self.disturbed, self.now + seconds)

    @precondition(some)
    @rule(data=st.data())
    def lose_an_answer(self, data: st.DataObject) -> None:
        self.one(data).deaf = True

    @precondition(some)
    @rule(data=st.data())
    def fail_the_next_check(self, data: st.DataObject) -> None:
        self.one(data).fails = True

    @precondition(some)
    @rule(data=st.data(), share=st.sampled_from([0.0, 0.9]))
    def fragment(self, data: st.DataObject, share: float) -> None:
        self.one(data).fragmentation = share

    @rule()
    def restart(self) -> None:
        self.serve.pool = WarmPool(self.settings)
        self.restarted = self.now
        self.disturbed = max(self.disturbed, self.now)

    def teardown(self) -> None:
        """Left alone without work, a pool comes to rest at what it is set to."""
        if not hasattr(self, "serve"):
            return
        self.load, self.asking = 0.0, None
        for replica in self.serve.replicas:
            replica.fragmentation, replica.fails = 0.0, False
        standby = min(self.settings.standby, self.settings.most - self.settings.least)
        seen: Any = None
        for _ in range(600):
            self.second()
            active, ready = self.active(), self.serve.of(Phase.STANDBY, self.now)
            seen = len(active), len(ready), len(self.serve.replicas)
            if seen == (self.settings.least, standby, self.settings.least + standby):
                return
        raise AssertionError(f"did not come to rest: {seen}, {self.serve.pool.plan(self.now)}")


TestPool = Pool.TestCase
TestPool.settings = settings(max_examples=45, stateful_step_count=25, deadline=None)
