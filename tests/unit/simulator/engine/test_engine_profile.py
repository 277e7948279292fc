"""What one simulated replica carries."""

import numpy as np
import pytest

from app.errors import Infeasible, SimulationError
from autoscaling.demand.terms import Work
from autoscaling.needs import replicas_for
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.engine_profile import calibrated
from autoscaling.simulator.service_times import ServiceModel, profile
from autoscaling.simulator.terms import Requests, Slo
from tests.unit.simulator.engine.models import model

SLO = Slo(2.0, 0.1)
REPLICA = ServiceModel(
    tuple(0.02 + 0.001 * count for count in range(65)), (1, 8192), (0.01, 1.0), 200_000, 512
)
PROMPT = np.array([200, 1000, 3000], np.int32)
OUTPUT = np.array([300, 100, 50], np.int32)


def test_at_the_profiled_rate_the_promise_is_just_kept() -> None:
    from autoscaling.simulator.engine import Engines

    capacity = profile(REPLICA, PROMPT, OUTPUT, SLO, 0.99, seed=1)
    rate = 1 / replicas_for(Work(float(PROMPT.mean()), float(OUTPUT.mean())), capacity)
    assert capacity == profile(REPLICA, PROMPT, OUTPUT, SLO, 0.99, seed=1)

    def attained(rate: float) -> float:
        rng = np.random.default_rng(77)
        drawn = rng.integers(0, 3, 60_000)
        arrivals = np.cumsum(rng.exponential(1 / rate, 60_000))
        fleet = Engines(REPLICA, 1, SLO, 30.0, 1)
        fleet.add(0.0)
        fleet.run(Requests(arrivals, PROMPT[drawn], OUTPUT[drawn]), float(arrivals[-1]) + 60)
        return fleet.tally().met / 60_000

    assert attained(rate) == pytest.approx(0.99, abs=0.006)
    assert attained(1.15 * rate) < 0.97


def test_prefills_alone_are_carried_as_a_queue_with_constant_times_allows() -> None:
    # 0.5 s each, 5 s to the first token: by the formula for M/D/1 a little over 0.8 of the time.
    fifty, one = np.array([50], np.int32), np.array([1], np.int32)
    capacity = profile(model(most_waiting=64), fifty, one, Slo(5.0, 1.0), 0.99, seed=2)
    rate = 1 / replicas_for(Work(50, 1), capacity)
    assert 0.7 < rate * 0.5 < 0.9


def test_a_promise_that_one_request_alone_breaks_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="one request at a time"):
        profile(REPLICA, PROMPT, OUTPUT, Slo(0.2, 0.1), 0.99, seed=1)


def test_a_profile_needs_requests_and_an_attainment() -> None:
    with pytest.raises(SimulationError, match="attainment"):
        profile(REPLICA, PROMPT, OUTPUT, SLO, 1.0, seed=1)
    with pytest.raises(SimulationError, match="as many prompts"):
        profile(REPLICA, PROMPT, OUTPUT[:2], SLO, 0.99, seed=1)


def test_a_calibrated_replica_carries_what_its_profile_says() -> None:
    said = Capacity(6000.0, 900.0, measured=True)
    guessed = ServiceModel.of_rates(6000.0, 900.0, SLO, 64, 200_000)
    made = calibrated(guessed, said, PROMPT, OUTPUT, SLO, 0.99, seed=3)
    found = profile(made, PROMPT, OUTPUT, SLO, 0.99, seed=3)
    work = Work(float(PROMPT.mean()), float(OUTPUT.mean()))
    assert replicas_for(work, found) == pytest.approx(replicas_for(work, said), rel=0.02)


def test_what_no_speed_can_carry_is_infeasible() -> None:
    guessed = ServiceModel.of_rates(6000.0, 900.0, SLO, 64, 3000)  # the longest does not fit
    with pytest.raises(Infeasible, match="64 times as fast"):
        calibrated(guessed, Capacity(6000.0, 900.0, True), PROMPT, OUTPUT, SLO, 0.99, seed=3)
