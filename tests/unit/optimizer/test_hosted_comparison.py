from dataclasses import replace

import pytest

from autoscaling.demand.terms import Work
from autoscaling.optimizer.hosted import compare_hosted
from autoscaling.optimizer.terms import FleetProfile, Gpu, Offer, TokenPrice
from tests.unit.optimizer.small_fleets import profile, stream


def fleet(price: float, **changes: object) -> FleetProfile:
    """One replica at $2 an hour carries 1000 output tokens/s, less the headroom of 1.1."""
    one = stream("x", 0, 400, mean=Work(0, 400), most_spot=0.0)
    given = profile(one, gpus=(Gpu("a", Offer(2.0)), Gpu("h", Offer(99.0))), **changes)
    return replace(given, hosted={"m": TokenPrice(0.0, price)})


def test_one_replica_breaks_even_where_the_api_costs_as_much() -> None:
    # $2 an hour buy a million tokens at $2: 277.8 tokens/s. The second replica, from 909 tokens/s
    # on, breaks even at once, since the API costs more than two by then.
    (found,) = compare_hosted(fleet(2.0))
    assert found.break_even == pytest.approx(1e6 * 730, rel=0.02)
    assert found.now.own == pytest.approx(2.0 * 730)
    assert found.now.hosted == pytest.approx(400 * 3600 / 1e6 * 2.0 * 730)
    assert found.now.tokens == pytest.approx(400 * 3600 * 730)


def test_stairs_that_the_api_crosses_again_break_even_at_the_last() -> None:
    # At $0.7 a million, n replicas at $2 n are dearer than the API up to 793.7 n tokens/s, and
    # it takes them from 909.1 (n - 1) on: the last n of which the stair begins below that is 7.
    (found,) = compare_hosted(fleet(0.7))
    assert found.break_even is not None
    assert found.break_even / 3600 / 730 == pytest.approx(793.65 * 7, rel=0.02)
    above = [volume for volume in found.curve if volume.tokens > found.break_even]
    assert above
    assert all(volume.own <= volume.hosted for volume in above)


def test_an_api_that_is_cheaper_throughout_has_no_break_even() -> None:
    (found,) = compare_hosted(fleet(0.01))
    assert found.break_even is None
    assert all(volume.own > volume.hosted for volume in found.curve)


def test_an_api_that_is_dearer_throughout_breaks_even_at_nothing() -> None:
    (found,) = compare_hosted(fleet(1e5))
    assert found.break_even == 0.0


def test_limits_of_today_do_not_count() -> None:
    few = replace(fleet(2.0), gpus=(Gpu("a", Offer(2.0, 1)), Gpu("h", Offer(99.0))), budget=5.0)
    assert compare_hosted(few) == compare_hosted(fleet(2.0))


def test_what_is_not_to_be_had_is_still_not_to_be_had() -> None:
    none = replace(fleet(2.0), gpus=(Gpu("a", Offer(2.0, 0)), Gpu("h", Offer(99.0))))
    (found,) = compare_hosted(none)
    assert found.now.own == pytest.approx(2 * 99 * 730)


def test_streams_that_must_stay_are_left_out_and_named() -> None:
    streams = (stream("x", 0, 400), stream("z", 0, 400, zone="secret"))
    (found,) = compare_hosted(profile(*streams))
    assert (found.streams, found.kept) == (("x",), ("z",))
    assert found.now.tokens == pytest.approx(200 * 3600 * 730)
    assert compare_hosted(profile(streams[1])) == ()
