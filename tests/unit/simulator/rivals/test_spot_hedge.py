from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.plan_terms import Site
from autoscaling.simulator.policy import Observation, SiteView
from autoscaling.simulator.rivals.spot_hedge import SpotHedgePlacer
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.rivals.seeing import A, B, C, seen, terms


def placer(overprovision: int = 0, base: int = 0, **changes: Any) -> SpotHedgePlacer:
    made = SpotHedgePlacer(overprovision, base)
    made.begin(terms(**changes))
    return made


def at(on_demand: int = 0, **views: SiteView) -> Observation:
    names = {"a": A, "b": B, "c": C}
    return seen(0, on_demand, sites={names[name]: view for name, view in views.items()})


def test_spot_replicas_are_spread_and_on_demand_ones_stand_in() -> None:
    assert placer().place(6, at()) == {A: 2, B: 2, C: 2, ON_DEMAND: 6}


def test_on_demand_is_what_ready_spot_replicas_leave() -> None:
    views = {"a": SiteView(ready=2), "b": SiteView(ready=1, starting=1), "c": SiteView(starting=2)}
    assert placer().place(6, at(6, **views))[ON_DEMAND] == 3


def test_with_all_spot_replicas_ready_nothing_is_on_demand() -> None:
    full = SiteView(ready=2)
    assert placer().place(6, at(6, a=full, b=full, c=full))[ON_DEMAND] == 0


def test_the_base_is_on_demand_in_any_case() -> None:
    full = SiteView(ready=2)
    asked = placer(base=2).place(6, at(6, a=full, b=full, c=SiteView()))
    assert asked == {A: 2, B: 2, C: 0, ON_DEMAND: 2}


def test_overprovisioned_replicas_count_before_on_demand_ones_go() -> None:
    # min(target, target + extra - ready): with the target ready, one is missing of the extra one.
    views = {"a": SiteView(ready=2), "b": SiteView(ready=2), "c": SiteView(ready=2, starting=1)}
    hedged = placer(overprovision=1)
    assert hedged.place(6, at(1, **views)) == {A: 2, B: 2, C: 3, ON_DEMAND: 1}
    assert hedged.place(6, at())[ON_DEMAND] == 6
    assert sum(hedged.place(6, at()).values()) == 7 + 6


def test_a_zone_without_replicas_comes_first_and_of_those_the_cheapest() -> None:
    prices = {ON_DEMAND: 4.0, A: 1.5, B: 1.2, C: 1.0}
    assert placer(prices=prices).place(1, at()) == {A: 0, B: 0, C: 1, ON_DEMAND: 1}
    assert placer(prices=prices).place(2, at()) == {A: 0, B: 1, C: 1, ON_DEMAND: 2}
    assert placer(prices=prices).place(4, at()) == {A: 1, B: 1, C: 2, ON_DEMAND: 4}


def test_a_zone_that_lost_a_replica_gets_none() -> None:
    hedged = placer()
    two = SiteView(ready=2)
    asked = hedged.place(6, at(0, a=two, b=two, c=SiteView(ready=1, preempted=1)))
    assert asked == {A: 3, B: 2, C: 1, ON_DEMAND: 1}
    assert list(hedged.active) == [A, B]


def test_a_zone_where_none_can_be_started_gets_none() -> None:
    hedged = placer()
    assert hedged.place(3, at())[B] == 1
    one = SiteView(starting=1)
    assert hedged.place(3, at(3, a=one, b=SiteView(pending=1), c=one))[B] == 0
    assert list(hedged.active) == [A, C]


def test_with_fewer_than_two_active_zones_all_are_active_again() -> None:
    hedged = placer()
    hedged.place(3, at())
    lost = SiteView(preempted=1)
    hedged.place(3, at(3, a=lost))
    assert list(hedged.active) == [B, C]
    hedged.place(3, at(3, b=lost))
    assert list(hedged.active) == [A, B, C]


def test_a_zone_where_one_was_started_is_active_again() -> None:
    hedged = placer()
    hedged.place(2, at(0, a=SiteView(ready=1), b=SiteView(ready=1)))
    hedged.place(2, at(0, a=SiteView(preempted=1), b=SiteView(ready=1)))
    assert list(hedged.active) == [B, C]
    hedged.place(2, at(0, a=SiteView(starting=1), b=SiteView(ready=1)))
    assert list(hedged.active) == [A, B, C]


def test_those_that_start_are_stopped_before_ready_ones() -> None:
    views = {"a": SiteView(ready=3), "b": SiteView(ready=1, starting=1), "c": SiteView(ready=1)}
    assert placer().place(5, at(0, **views)) == {A: 3, B: 1, C: 1, ON_DEMAND: 0}
    assert placer().place(4, at(0, **views)) == {A: 2, B: 1, C: 1, ON_DEMAND: 0}


def test_on_demand_replicas_never_exceed_the_most() -> None:
    asked = placer(overprovision=5, most=6).place(6, at())
    assert asked[ON_DEMAND] == 6
    assert sum(asked.values()) == 12


VIEWS = st.builds(
    SiteView,
    ready=st.integers(0, 6),
    starting=st.integers(0, 6),
    pending=st.integers(0, 3),
    preempted=st.integers(0, 3),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), VIEWS, VIEWS, VIEWS), min_size=1, max_size=12),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_what_is_ready_and_what_stands_in_is_always_the_target(
    steps: list[tuple[int, SiteView, SiteView, SiteView]], extra: int, base: int
) -> None:
    hedged = placer(extra, base, most=40)
    for target, a, b, c in steps:
        asked = hedged.place(target, at(0, a=a, b=b, c=c))
        spot: dict[Site, int] = {site: count for site, count in asked.items() if site != ON_DEMAND}
        assert all(count >= 0 for count in asked.values())
        assert sum(spot.values()) == target - min(base, target) + extra
        kept = min(a.ready + b.ready + c.ready, sum(spot.values()))
        assert kept + asked[ON_DEMAND] >= target
        assert asked[ON_DEMAND] <= target
        assert len(hedged.active) >= 2
