import numpy as np
import pytest

from app.errors import PolicyFailed
from autoscaling.simulator.rivals.static_peak import static_peak
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.rivals.seeing import past, seen, terms


def test_the_fleet_is_the_peak_of_the_past_rounded_up() -> None:
    policy = static_peak()
    policy.begin(terms(), past([3.0, 7.2, 5.0], step_s=600.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 8}
    assert policy.decide(seen(1, rate=40.0, queued=1000)) == {ON_DEMAND: 8}


def test_headroom_scales_the_peak() -> None:
    policy = static_peak(headroom=1.5)
    policy.begin(terms(), past([3.0, 7.2, 5.0], step_s=600.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 11}


def test_a_spike_of_a_minute_is_averaged_over_ten() -> None:
    policy = static_peak()
    policy.begin(terms(), past([2.0] * 10 + [22.0] + [2.0] * 10, step_s=60.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 4}


def test_bins_that_nobody_heard_are_left_out() -> None:
    policy = static_peak()
    policy.begin(terms(), past([3.0, np.nan, 6.0, np.nan], step_s=600.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 6}


def test_one_known_bin_beside_a_gap_is_no_mean_of_ten_minutes() -> None:
    policy = static_peak()
    policy.begin(terms(), past([4.0] * 10 + [np.nan] * 10 + [30.0] + [np.nan] * 9, step_s=60.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 4}


def test_without_a_past_it_must_be_told() -> None:
    with pytest.raises(PolicyFailed, match="there is no past"):
        static_peak().begin(terms(), None)
    told = static_peak(replicas=9)
    told.begin(terms(), None)
    assert told.decide(seen(0)) == {ON_DEMAND: 9}


def test_it_keeps_to_the_most() -> None:
    policy = static_peak()
    policy.begin(terms(most=5), past([9.0], step_s=600.0))
    assert policy.decide(seen(0)) == {ON_DEMAND: 5}
