import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import Infeasible
from autoscaling.demand.terms import Work
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.isolation_steps import HIGH, MAXIMUM, ONE_ZONE, STEPS
from autoscaling.optimizer.solving import cheapest
from autoscaling.optimizer.terms import Gpu, Offer
from tests.unit.optimizer.small_fleets import exhaustive, profile, stream

PLENTY = (Gpu("a", Offer(2.0)), Gpu("h", Offer(5.0)))


@settings(max_examples=40, deadline=None)
@given(
    loads=st.lists(
        st.tuples(
            st.sampled_from([500.0, 2500.0, 7000.0]),
            st.sampled_from([100.0, 450.0, 1300.0]),
            st.sampled_from([0.0, 0.5, 1.0]),
            st.sampled_from([0.025, 0.05, 0.1]),
            st.sampled_from(["small", "medium"]),
        ),
        min_size=1,
        max_size=3,
    ),
    most=st.sampled_from([None, 0, 2, 5]),
    most_h=st.sampled_from([None, 0, 4]),
    least=st.integers(1, 3),
    budget=st.sampled_from([None, 5.0, 12.0]),
)
def test_no_fleet_is_cheaper_than_the_one_that_is_found(
    loads: list[tuple[float, float, float, float, str]],
    most: int | None,
    most_h: int | None,
    least: int,
    budget: float | None,
) -> None:
    streams = [
        stream(f"s{i}", prompt, output, most_spot=spot, itl_s=itl, size_class=size)
        for i, (prompt, output, spot, itl, size) in enumerate(loads)
    ]
    fleet = profile(
        *streams,
        gpus=(
            Gpu("a", Offer(2.0, most), Offer(0.9, most), survival=0.8),
            Gpu("h", Offer(5.0, most_h), Offer(2.0, most_h), survival=0.6),
        ),
        least_replicas=least,
        budget=budget,
    )
    best = exhaustive(fleet, "medium")
    if best is None:
        with pytest.raises(Infeasible):
            cheapest(fleet, Aim(ONE_ZONE))
    else:
        plan = cheapest(fleet, Aim(ONE_ZONE))
        assert plan.dollars_h == pytest.approx(best, rel=1e-5)
        assert sorted(each for pool in plan.pools for each in pool.streams) == [
            each.name for each in streams
        ]


def test_one_that_must_stay_off_spot_keeps_no_other_off_it() -> None:
    on_spot = stream("x", 500, 450, most_spot=1.0, itl_s=0.05)
    never = stream("y", 2500, 100, most_spot=0.0, itl_s=0.05)
    plan = cheapest(profile(on_spot, never))
    assert {pool.streams: (pool.on_demand, pool.spot) for pool in plan.pools} == {
        ("x",): ((0,), (2,)),
        ("y",): ((1,), (0,)),
    }


def test_two_streams_share_a_pool_where_one_replica_carries_both() -> None:
    fleet = profile(stream("x", 400, 200), stream("y", 400, 200), gpus=PLENTY)
    (pool,) = cheapest(fleet).pools
    assert (pool.streams, pool.on_demand, pool.engine.name) == (("x", "y"), (1,), "ea")
    # 800 / 4000 + 400 / 1000, with the headroom of `medium`.
    assert pool.load == pytest.approx((0.66,))


def test_tenants_of_the_level_maximum_never_share() -> None:
    streams = (stream("x", 400, 200, zone="secret"), stream("y", 400, 200, zone="secret"))
    plan = cheapest(profile(*streams, gpus=PLENTY))
    assert sorted((pool.tenant, pool.on_demand) for pool in plan.pools) == [
        ("x", (1,)),
        ("y", (1,)),
    ]


def test_a_stream_that_does_not_share_has_a_pool_of_its_own() -> None:
    streams = (stream("x", 400, 200), stream("y", 400, 200, shared=False))
    plan = cheapest(profile(*streams, gpus=PLENTY))
    assert sorted(pool.streams for pool in plan.pools) == [("x",), ("y",)]
    assert cheapest(profile(*streams, gpus=PLENTY), Aim(ONE_ZONE)).dollars_h == 2.0


def test_zones_are_apart_unless_a_stream_may_rise() -> None:
    low = stream("low", 400, 100, tenant="t")
    high = stream("high", 400, 100, tenant="t", zone="secret")
    assert len(cheapest(profile(low, high, gpus=PLENTY)).pools) == 2
    (pool,) = cheapest(profile(replace(low, may_rise=True), high, gpus=PLENTY)).pools
    assert pool.zone.name == "secret"
    # Never the other way round.
    down = cheapest(profile(low, replace(high, may_rise=True), gpus=PLENTY))
    assert {pool.zone.name for pool in down.pools} == {"public", "secret"}


def test_spot_is_counted_by_its_survival_and_bounded_by_the_share() -> None:
    # 0.8 of a prompt and 3.2 of an output replica, times 1.1.
    one = stream("x", 3200, 3200, most_spot=0.5)
    gpus = (Gpu("a", Offer(2.0), Offer(0.2), survival=0.8),)
    fleet = profile(one, gpus=gpus)
    fleet = replace(fleet, engines=fleet.engines[:1])
    (pool,) = cheapest(fleet).pools
    # 4.4: 2.2 must be on demand, so 3; 1.4 remain, and 2 spot replicas count as 1.6.
    assert (pool.on_demand, pool.spot) == ((3,), (2,))
    (none,) = cheapest(fleet, Aim(spot=False)).pools
    assert (none.on_demand, none.spot) == ((5,), (0,))


def test_what_must_not_be_on_spot_is_not_there_even_as_a_spare() -> None:
    fleet = profile(stream("x", 100, 10, most_spot=0.0), least_replicas=2)
    (pool,) = cheapest(fleet).pools
    assert (pool.on_demand, pool.spot) == ((2,), (0,))


def test_a_tighter_latency_takes_the_point_that_keeps_it() -> None:
    fleet = profile(stream("x", 400, 700, ttft_s=1.0, itl_s=0.08), gpus=PLENTY)
    assert cheapest(fleet).pools[0].point.itl_s == 0.08
    assert cheapest(fleet, Aim(latency=0.5)).pools[0].point.itl_s == 0.03


def test_other_hours_have_a_fleet_of_their_own() -> None:
    one = stream("x", 0, 4000, mean=Work(0, 1600), most_spot=0.0)
    fleet = profile(one, gpus=PLENTY, peak_share=0.25)
    fleet = replace(fleet, engines=fleet.engines[:1])
    plan = cheapest(fleet)
    # 1600 = 0.25 * 4000 + 0.75 * 800; 4.4 and 0.88 replicas.
    assert plan.pools[0].on_demand == (5, 1)
    assert plan.dollars_h == pytest.approx(0.25 * 10 + 0.75 * 2)
    # 1.6 replicas compute, and 2 run, on average.
    assert plan.utilisation == pytest.approx(1.6 / 2)


def test_a_point_of_utilisation_is_worth_what_the_same_work_then_costs_less() -> None:
    plan = cheapest(profile(stream("x", 400, 200), gpus=PLENTY))
    cost = plan.dollars_h * 8760
    useful = cost * plan.utilisation
    assert plan.point_worth_year == pytest.approx(cost - useful / (plan.utilisation + 0.01))


def test_a_stream_without_work_has_a_pool() -> None:
    plan = cheapest(profile(stream("x", 0, 0)))
    assert plan.dollars_h == pytest.approx(0.9)
    assert plan.dollars_per_million == 0.0


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(10, 5000),
            st.floats(10, 2000),
            st.sampled_from(["public", "secret"]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=2,
        max_size=4,
    )
)
def test_no_step_of_isolation_is_cheaper_than_a_weaker_one(
    loads: list[tuple[float, float, str, bool, bool]],
) -> None:
    streams = [
        stream(f"s{i}", prompt, output, zone=zone, may_rise=rise, shared=shared, tenant=f"t{i % 2}")
        for i, (prompt, output, zone, rise, shared) in enumerate(loads)
    ]
    costs = [cheapest(profile(*streams), Aim(step)).dollars_h for step in STEPS]
    assert all(a <= b * (1 + 1e-5) for a, b in itertools.pairwise(costs))


def test_a_level_asks_for_its_headroom() -> None:
    one = stream("x", 0, 700, most_spot=0.0)
    fleet = profile(one, gpus=PLENTY)
    for step, headroom in ((ONE_ZONE, 1.1), (HIGH, 1.25), (MAXIMUM, 1.5)):
        (pool,) = cheapest(fleet, Aim(step)).pools
        point = pool.point
        assert pool.load == pytest.approx((700 / point.decode_tps * headroom,))


def test_the_same_profile_gives_the_same_fleet() -> None:
    fleet = profile(*(stream(f"s{i}", 700 + i, 333 + i) for i in range(5)))
    assert cheapest(fleet) == cheapest(fleet)
