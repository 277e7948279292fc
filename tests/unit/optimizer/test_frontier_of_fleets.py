import itertools
from dataclasses import replace

import pytest

from autoscaling.optimizer.advice import advise
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.frontier import Frontier, frontier
from autoscaling.optimizer.isolation_steps import STEPS
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import FleetProfile, Gpu, Offer, Point
from tests.unit.optimizer.small_fleets import profile, stream

FLEET = profile(
    stream("x", 900, 700, ttft_s=1.25, itl_s=0.1),
    stream("y", 2100, 300, itl_s=0.05, tenant="z"),
    stream("z", 300, 500, zone="secret", most_spot=0.0),
    least_replicas=2,
)


@pytest.fixture(scope="module")
def found() -> Frontier:
    return frontier(FLEET)


def test_each_point_is_what_solving_it_alone_gives(found: Frontier) -> None:
    assert found.left_out == 0
    assert len(found.points) == len(STEPS) * len(found.latencies)
    for point in found.points:
        alone = cheapest(FLEET, Aim(point.step, point.latency))
        assert point.dollars_h == pytest.approx(alone.dollars_h, rel=2e-5)


def test_the_frontier_is_what_nothing_beats_in_all_three(found: Frontier) -> None:
    order = {step.name: index for index, step in enumerate(STEPS)}
    axes = [(p.dollars_h or 0.0, p.latency, -order[p.step.name]) for p in found.points]
    for point, own in zip(found.points, axes, strict=True):
        beaten = any(
            all(a <= b + 1e-6 for a, b in zip(other, own, strict=True))
            and any(a < b - 1e-6 for a, b in zip(other, own, strict=True))
            for other in axes
        )
        assert point.best == (not beaten)
    assert any(point.best for point in found.points)
    assert not all(point.best for point in found.points)


def test_the_promised_latency_is_among_them(found: Frontier) -> None:
    assert 1.0 in found.latencies
    assert set(found.as_promised) == {step.name for step in STEPS}


def test_a_thinned_frontier_keeps_its_ends_and_the_promised_latency(found: Frontier) -> None:
    thin = frontier(FLEET, 3)
    assert thin.left_out == len(found.latencies) - 3
    assert len(thin.latencies) == 3
    assert {found.latencies[0], 1.0, found.latencies[-1]} >= set(thin.latencies)
    assert 1.0 in thin.latencies


@pytest.mark.parametrize("most", [3, 4, 5, 9])
def test_however_few_latencies_one_of_them_is_the_promised(most: int) -> None:
    points = tuple(Point(0.1, 0.01 * i, 1000.0 * i, 100.0 * i) for i in range(2, 15))
    engines = (replace(FLEET.engines[0], points=points),)
    thin = frontier(replace(profile(stream("x", 900, 700)), engines=engines), most)
    assert 1.0 in thin.latencies
    assert len(thin.latencies) <= most


def test_a_step_that_cannot_be_had_says_why_and_the_others_are_there() -> None:
    # The public pool takes one replica; each tenant apart takes two.
    streams = (stream("x", 0, 300, most_spot=0.0), stream("y", 0, 300, most_spot=0.0))
    gpus = (Gpu("a", Offer(2.0, 1)), Gpu("h", Offer(5.0, 0)))
    found = advise(profile(*streams, gpus=gpus))
    costs = {cost.step.name: cost for cost in found.steps}
    assert costs["as asked"].plan is not None
    assert costs["apart"].plan is None
    assert "gpus.a.on_demand.most is 1 and 2 GPUs are needed" in costs["apart"].problem
    assert costs["apart"].more is costs["maximum"].more is None


def test_steps_cost_what_their_fleets_differ_by() -> None:
    found = advise(FLEET)
    dollars = [cost.plan.dollars_month for cost in found.steps if cost.plan]
    assert len(dollars) == len(STEPS)
    assert [cost.more for cost in found.steps[1:]] == pytest.approx(
        [b - a for a, b in itertools.pairwise(dollars)]
    )
    assert found.plan.dollars_month == pytest.approx(dollars[1], rel=1e-5)


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, float]] = []
    small: FleetProfile = profile(stream("x", 900, 700))
    advise(small, progress=lambda what, share: told.append((what, share)))
    assert told[-1] == ("hosted APIs", 1.0)
    assert {what for what, _ in told} >= {"the cheapest fleet", "cost, latency and isolation"}
