from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.simulator.rivals.parts import SpotShare
from autoscaling.simulator.rivals.serve_default import (
    ServeDemand,
    ongoing_at_capacity,
    serve_spot_share,
    serve_tuned,
)
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.rivals.seeing import A, B, C, past, seen, terms


def begun(replicas: float = 4.0, **given_: Any) -> ServeDemand:
    demand = ServeDemand(**given_)
    demand.begin(terms(), past([replicas]))
    return demand


def test_two_ongoing_requests_a_replica_are_as_it_should_be() -> None:
    demand = begun(4.0)
    assert {demand.replicas(seen(step, 4, running=8)) for step in range(100)} == {4}


def test_it_goes_up_after_30_seconds_that_ask_for_more() -> None:
    demand = begun(4.0)
    counts = [demand.replicas(seen(step, 4, running=16, queued=4)) for step in range(5)]
    assert counts == [4, 4, 4, 10, 10]


def test_it_goes_down_after_600_seconds_that_ask_for_less() -> None:
    demand = begun(4.0)
    counts = [demand.replicas(seen(step, 4, running=2)) for step in range(62)]
    assert counts == [4] * 60 + [1] * 2


def test_ongoing_requests_are_averaged_over_30_seconds() -> None:
    demand = begun(4.0)
    running = [8, 8, 8, 38, 8, 8, 8, 8]
    counts = [demand.replicas(seen(step, 4, running=count)) for step, count in enumerate(running)]
    # The peak is in three means, which are 20 s long together: too short for a delay of 30 s.
    assert counts == [4] * 8
    quick = begun(4.0, upscale_delay_s=0.0)
    assert quick.replicas(seen(0, 4, running=8)) == 4
    assert quick.replicas(seen(1, 4, running=20)) == 7


def test_headroom_divides_the_target() -> None:
    demand = begun(4.0, headroom=2.0, upscale_delay_s=0.0)
    assert demand.replicas(seen(0, 8, running=16)) == 16


def test_from_nothing_one_is_started_at_once() -> None:
    demand = ServeDemand()
    demand.begin(terms(least=0), None)
    assert demand.replicas(seen(0)) == 0
    assert demand.replicas(seen(1, queued=1)) == 1


def test_the_tuned_target_is_what_a_replica_carries_within_the_slo() -> None:
    # One request a second for half of 2 s + 99 * 0.1 s.
    assert ongoing_at_capacity(terms()) == pytest.approx(5.95)
    assert ongoing_at_capacity(terms(max_seqs=4)) == 4.0
    policy = serve_tuned(upscale_delay_s=0.0)
    policy.begin(terms(), past([4.0]))
    assert policy.decide(seen(0, 4, running=30)) == {ON_DEMAND: 6}


def test_a_fixed_share_is_spread_evenly_and_nothing_stands_in() -> None:
    policy = serve_spot_share(0.5)
    policy.begin(terms(), past([8.0]))
    asked = policy.decide(seen(0, 8, running=47))
    assert asked == {A: 2, B: 1, C: 1, ON_DEMAND: 4}
    assert sum(SpotShare(0.7).place(7, seen(0)).values()) == 7


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        SpotShare(1.5)


@pytest.fixture(scope="module")
def ray_serve() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, on import.
        from ray.serve import autoscaling_policy
        from ray.serve.config import AutoscalingConfig

    return autoscaling_policy, AutoscalingConfig


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 120), st.integers(1, 40)), min_size=5, max_size=120),
    st.sampled_from([(1.0, 1.0), (0.5, 0.5), (2.0, 0.3)]),
    st.sampled_from([(30.0, 600.0), (0.0, 50.0), (25.0, 25.0)]),
)
def test_it_decides_as_ray_serve_does(
    ray_serve: Any,
    steps: list[tuple[int, int]],
    factors: tuple[float, float],
    delays: tuple[float, float],
) -> None:
    module, config_type = ray_serve
    config = config_type(
        min_replicas=1, max_replicas=50, target_ongoing_requests=3.0,
        upscaling_factor=factors[0], downscaling_factor=factors[1],
        upscale_delay_s=delays[0], downscale_delay_s=delays[1],
    )  # fmt: skip
    demand = begun(
        4.0, target_ongoing=3.0, look_back_s=10.0, upscale_delay_s=delays[0],
        downscale_delay_s=delays[1], upscaling_factor=factors[0], downscaling_factor=factors[1],
    )  # fmt: skip
    target = 4
    state: dict[str, Any] = {}
    for step, (ongoing, current) in enumerate(steps):
        # What its policy and its wrapper do with one replica or more, at a time of our own.
        desired = module._apply_scaling_factors(ongoing / 3.0, current, config)
        target, state = module._apply_delay_logic(
            max(0, desired), target, config, state, _now=step * 10.0
        )
        target = min(max(target, 1), 50)
        assert demand.replicas(seen(step, current, running=ongoing)) == target
