import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.placement.distribution import (
    MAX_REPLICAS,
    AvailabilityZone,
    Region,
    at_least,
    binomial,
    held,
    survivors,
)

chances = st.floats(0, 1)
groups = st.lists(st.tuples(st.integers(0, 3), chances), min_size=1, max_size=2).map(tuple)
zones = st.builds(AvailabilityZone, chances, groups)
fleets = st.lists(
    st.builds(Region, chances, st.lists(zones, min_size=1, max_size=2).map(tuple)),
    min_size=1,
    max_size=2,
).map(tuple)


def by_hand(regions: tuple[Region, ...]) -> list[float]:
    """Every outcome of every chance, one by one."""
    totals = {0: 1.0}
    for region in regions:
        inside = {0: 1.0}
        for zone in region.availability_zones:
            stays = [chance for count, chance in zone.groups for _ in range(count)]
            here = {0: zone.shock}
            for left in itertools.product((0, 1), repeat=len(stays)):
                chance = 1.0 - zone.shock
                for one, stay in zip(left, stays, strict=True):
                    chance *= stay if one else 1.0 - stay
                here[sum(left)] = here.get(sum(left), 0.0) + chance
            inside = added(inside, here)
        kept = {n: (1.0 - region.shock) * chance for n, chance in inside.items()}
        kept[0] = kept.get(0, 0.0) + region.shock
        totals = added(totals, kept)
    return [totals.get(n, 0.0) for n in range(max(totals) + 1)]


def added(one: dict[int, float], other: dict[int, float]) -> dict[int, float]:
    both: dict[int, float] = {}
    for (a, p), (b, q) in itertools.product(one.items(), other.items()):
        both[a + b] = both.get(a + b, 0.0) + p * q
    return both


@settings(max_examples=60, deadline=None)
@given(fleets)
def test_small_fleets_come_out_as_when_every_outcome_is_counted(fleet: tuple[Region, ...]) -> None:
    found = survivors(fleet)
    assert found == pytest.approx(by_hand(fleet), abs=1e-12)
    assert found.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_large_fleet_comes_out_as_when_it_is_played() -> None:
    mixed = AvailabilityZone(0.05, ((12, 0.9), (5, 0.6)))
    calm = AvailabilityZone(0.1, ((9, 0.97),))
    fleet = (
        Region(0.03, (mixed, calm)),
        Region(0.02, (AvailabilityZone(0.2, ((7, 0.8),)),)),
    )
    rng = np.random.default_rng(7)
    games = 40_000
    left = np.zeros(games, dtype=int)
    for region in fleet:
        stands = rng.random(games) >= region.shock
        for zone in region.availability_zones:
            quiet = stands & (rng.random(games) >= zone.shock)
            for count, stays in zone.groups:
                left += np.where(quiet, rng.binomial(count, stays, games), 0)
    played = np.bincount(left, minlength=34) / games
    found = survivors(fleet)
    assert len(found) == 34
    # Four standard errors of the largest chance there is.
    assert np.abs(found - played).max() < 4 * 0.5 / games**0.5
    for count in (10, 20, 28):
        assert at_least(found, count) == pytest.approx((left >= count).mean(), abs=0.01)


@settings(max_examples=60, deadline=None)
@given(fleets, st.data())
def test_one_more_replica_never_makes_less_likely_that_enough_are_left(
    fleet: tuple[Region, ...], data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(fleet) - 1))
    region = fleet[at]
    where = data.draw(st.integers(0, len(region.availability_zones) - 1))
    zone = region.availability_zones[where]
    more = AvailabilityZone(zone.shock, (*zone.groups, (1, data.draw(chances))))
    inside = (*region.availability_zones[:where], more, *region.availability_zones[where + 1 :])
    larger = (*fleet[:at], Region(region.shock, inside), *fleet[at + 1 :])
    before, after = survivors(fleet), survivors(larger)
    for need in range(len(after)):
        assert at_least(after, need) >= at_least(before, need) - 1e-12


@settings(max_examples=60, deadline=None)
@given(fleets, st.floats(0.5, 0.999))
def test_what_is_held_is_left_with_that_chance_and_one_more_is_not(
    fleet: tuple[Region, ...], chance: float
) -> None:
    found = survivors(fleet)
    count = held(found, chance)
    assert at_least(found, count) >= chance - 1e-9
    if count + 1 < len(found):
        assert at_least(found, count + 1) < chance


@pytest.mark.parametrize("count", [0, 1, 500, 4000])
def test_large_binomials_neither_overflow_nor_lose_anything(count: int) -> None:
    found = binomial(count, 0.97)
    assert found.sum() == pytest.approx(1.0, abs=1e-9)
    assert np.dot(found, np.arange(count + 1)) == pytest.approx(0.97 * count, rel=1e-9)


def test_nothing_is_left_of_nothing() -> None:
    assert survivors(()).tolist() == [1.0]
    assert at_least(survivors(()), 0) == 1.0
    assert at_least(survivors(()), 1) == 0.0
    assert held(survivors(()), 0.99) == 0


@pytest.mark.parametrize(
    ("zone", "shock"),
    [
        (AvailabilityZone(0.1, ((2, float("nan")),)), 0.0),
        (AvailabilityZone(-0.1, ((2, 0.5),)), 0.0),
        (AvailabilityZone(0.1, ((-1, 0.5),)), 0.0),
        (AvailabilityZone(0.1, ((1, 0.5),)), 1.5),
        (AvailabilityZone(0.1, ((MAX_REPLICAS + 100, 0.5),)), 0.0),
    ],
)
def test_what_is_no_chance_or_no_count_is_refused(zone: AvailabilityZone, shock: float) -> None:
    with pytest.raises(ValueError, match=r"chance|replicas"):
        survivors([Region(shock, (zone,))])
