"""A planner under demand that does what it likes, in simulated time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from autoscaling.demand.terms import Work
from autoscaling.forecast.terms import Forecast
from autoscaling.plan_terms import Capacity, Situation
from autoscaling.planner import Planner, PlannerSettings

EACH = 100.0  # output tokens a second of a replica
DELAY_S, HOLD_S = 40.0, 10.0


class Demand(RuleBasedStateMachine):
    """Counts by itself for how long fewer would have done."""

    @initialize(least=st.integers(0, 3), more=st.integers(0, 10), ready=st.integers(0, 5))
    def begin(self, least: int, more: int, ready: int) -> None:
        self.least, self.most, self.ready = least, least + more, ready
        self.planner = Planner(PlannerSettings(down_delay_s=DELAY_S, hold_s=HOLD_S))
        self.now = 0.0
        self.started = True
        self.work = self.ahead = 0.0
        self.lost = self.forecast = False
        self.loads: list[tuple[float, float]] = []
        self.before = 0

    def second(self) -> None:
        self.now += 1.0
        ahead = Forecast(60.0, (self.ahead,) * 4) if self.forecast else None
        need = self.planner.decide(
            Situation(
                lead_s=60.0,
                lead_reason="",
                prefill=None,
                decode=ahead,
                recent=None if self.lost else Work(0.0, self.work),
                backlog=Work(),
                capacity=Capacity(EACH, EACH, measured=True),
                reactive=0,
                ready=self.ready,
                least=self.least,
                most=self.most,
            ),
            self.now,
        )
        load = max(0.0 if self.lost else self.work, self.ahead if self.forecast else 0.0) / EACH
        assert self.least <= need.replicas <= self.most
        assert need.replicas >= min(load - 1e-6, self.most)
        if self.started:
            assert need.replicas >= min(self.ready, self.most)
            self.before, self.started = need.replicas, False
        self.loads.append((self.now, float("inf") if self.lost else load))
        if need.replicas < self.before:
            lately = [each for at, each in self.loads if self.now - at < DELAY_S]
            assert need.replicas >= max(lately) - 1e-6
        elif need.replicas > self.before:
            assert need.replicas <= max(load + 1, self.least)
        self.before = need.replicas

    @rule(seconds=st.integers(1, 120))
    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    @rule(replicas=st.floats(0, 12))
    def arrive(self, replicas: float) -> None:
        self.work = replicas * EACH

    @rule(replicas=st.floats(0, 12))
    def foresee(self, replicas: float) -> None:
        self.ahead, self.forecast = replicas * EACH, True

    @rule()
    def foresee_nothing(self) -> None:
        self.forecast = False

    @rule(lost=st.booleans())
    def lose_metrics(self, lost: bool) -> None:
        self.lost = lost

    @rule()
    def restart(self) -> None:
        state = self.planner.state()
        self.planner = Planner(PlannerSettings(down_delay_s=DELAY_S, hold_s=HOLD_S))
        self.planner.restore(state)
        self.ready = self.before
        self.loads.append((self.now, float("inf")))

    def teardown(self) -> None:
        """Left alone without demand, a group comes to rest at its minimum."""
        if not hasattr(self, "planner"):
            return
        self.work, self.lost, self.forecast = 0.0, False, False
        for _ in range(int(HOLD_S + DELAY_S + 5)):
            self.second()
        assert self.before == self.least


TestDemand = Demand.TestCase
TestDemand.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
