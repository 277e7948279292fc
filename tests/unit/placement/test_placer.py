import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.placement.distribution import survivors
from autoscaling.placement.fates import fates
from autoscaling.placement.offers import ON_DEMAND, SPOT, Offer
from autoscaling.placement.placer import MAX_NEED, Placer, PlacerSettings
from autoscaling.placement.survival import SurvivalModel
from autoscaling.plan_terms import Placed, Site

A, B, C = (Site("spot", "us-west-2", f"us-west-2{letter}") for letter in "abc")
FAR = Site("spot", "us-east-1", "us-east-1a")
DAY = 86400.0
PLENTY = PlacerSettings(most_on_demand=100, most_spot=100)
OFFERS = (
    Offer(ON_DEMAND, 2.0, 100),
    Offer(A, 0.80, 100),
    Offer(B, 0.82, 100),
    Offer(FAR, 0.84, 100),
)


class Group:
    """A placer with its surroundings, in which what was planned may come true."""

    def __init__(self, settings: PlacerSettings = PLENTY, lead_s: float = 95.0) -> None:
        self.placer, self.survival, self.lead_s = Placer(settings), SurvivalModel(), lead_s
        self.now = 1000.0
        self.nodes: dict[Site, list[float]] = {}
        """When each replica's node came up."""
        self.placed: Placed | None = None

    def place(self, need: int, offers: tuple[Offer, ...] = OFFERS, after: float = 1.0) -> Placed:
        self.now += after
        running = {site: len(born) for site, born in self.nodes.items()}
        ages = {site: [self.now - at for at in born] for site, born in self.nodes.items()}
        self.placed = self.placer.place(
            need, offers, running, ages, self.survival, self.lead_s, self.now, self.now
        )
        return self.placed

    def come_true(self, old: float = 0.0) -> None:
        assert self.placed is not None
        wanted = self.placed.spot | {ON_DEMAND: self.placed.on_demand}
        for site, count in wanted.items():
            born = self.nodes.setdefault(site, [])
            born.extend([self.now - old] * (count - len(born)))
            del born[count:]


prices = st.floats(0.01, 5.0)
sites = st.sampled_from([A, B, C, FAR])


@settings(max_examples=50, deadline=None)
@given(
    need=st.integers(0, 12),
    epsilon=st.sampled_from([0.001, 0.01, 0.1]),
    over=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    least=st.integers(0, 3),
    most_spot=st.integers(0, 20),
    lead=st.sampled_from([0.0, 5.0, 95.0, 600.0]),
    on_demand=prices,
    spot=st.dictionaries(sites, st.tuples(prices, st.integers(0, 9), st.none() | st.floats(0, 11))),
    running=st.dictionaries(sites, st.lists(st.floats(0, 1e5), max_size=4)),
)
def test_every_placement_keeps_to_its_bounds(
    need: int,
    epsilon: float,
    over: float,
    least: int,
    most_spot: int,
    lead: float,
    on_demand: float,
    spot: dict[Site, tuple[float, int, float | None]],
    running: dict[Site, list[float]],
) -> None:
    rules = PlacerSettings(
        epsilon=epsilon, over_provision=over, least_on_demand=least, most_on_demand=20,
        most_spot=most_spot,
    )  # fmt: skip
    offers = [Offer(ON_DEMAND, on_demand, 20)]
    offers += [Offer(site, *terms) for site, terms in spot.items()]
    counts = {site: len(ages) for site, ages in running.items()}
    survival = SurvivalModel()
    placed = Placer(rules).place(need, offers, counts, running, survival, lead, 5.0, 5.0)
    total = sum(placed.spot.values())
    assert placed.probability >= 1 - epsilon - 1e-9
    assert placed.cost <= max(need, least) * on_demand + 1e-6
    assert placed.on_demand >= least
    assert placed.on_demand <= max(need, least)
    assert total <= most_spot
    assert total == 0 or total + placed.on_demand - placed.filling <= need + math.ceil(over * need)
    assert all(0 < count <= spot[site][1] for site, count in placed.spot.items())
    assert 0 <= placed.filling <= placed.on_demand
    assert f"for a need of {need}" in placed.reason


def test_the_reason_says_it_in_words_and_numbers() -> None:
    offers = (Offer(ON_DEMAND, 2.0, 100), Offer(A, 0.8, 4), Offer(FAR, 0.8, 4))
    placed = Group().place(9, offers)
    assert placed.reason == (
        "2 on-demand and 8 spot (us-east-1a 4, us-west-2a 4) for a need of 9: "
        f"P(at least 9 within 95 s) is {placed.probability:.3f} once spot nodes are 60 min old, "
        "10.40 dollars an hour against 18.00 on demand alone; "
        "7 more on demand stand in, 0 of 8 spot have a node"
    )


def test_on_demand_stands_in_until_spot_has_come_and_has_settled() -> None:
    group = Group()
    first = group.place(9)
    assert first.on_demand == first.filling == 9
    assert "9 more on demand stand in, 0 of 10 spot have a node" in first.reason
    group.come_true()
    assert group.place(9).filling > 0
    # An hour later the nodes are as old as the plan wants them.
    assert group.place(9, after=3700.0).filling > 0
    group.place(9)
    assert group.place(9, after=61.0).filling == 0


def test_on_demand_fills_in_at_once_when_spot_is_lost_and_goes_back_later() -> None:
    group = Group()
    group.place(9)
    group.come_true(old=DAY)
    group.place(9, after=61.0)
    assert group.place(9, after=61.0).filling == 0
    lost = group.nodes.pop(A)
    rest = sum(len(born) for site, born in group.nodes.items() if site != ON_DEMAND)
    assert 0 < rest < 9 < len(lost) + rest
    there = group.place(9)
    assert there.filling == 9 - rest
    group.nodes[A] = lost
    assert group.place(9).filling == there.filling
    assert group.place(9, after=30.0).filling == there.filling
    assert group.place(9, after=31.0).filling == 0


def test_a_short_lead_time_needs_nobody_to_stand_in_for_new_nodes() -> None:
    group = Group(lead_s=5.0)
    group.place(3)
    group.come_true()
    group.place(3)
    assert group.place(3, after=61.0).filling == 0


def test_with_no_spot_nodes_offered_all_run_on_demand() -> None:
    placed = Group().place(7, (Offer(ON_DEMAND, 2.0, 100),))
    assert (placed.on_demand, placed.spot, placed.filling) == (7, {}, 0)
    assert placed.probability == 1.0
    assert "no spot nodes are offered" in placed.reason


def test_spot_nodes_that_are_hardly_cheaper_are_not_worth_their_losses() -> None:
    placed = Group().place(7, (Offer(ON_DEMAND, 2.0, 100), Offer(A, 1.9, 100)))
    assert (placed.on_demand, placed.spot) == (7, {})
    assert "spot nodes would not be cheaper" in placed.reason


def test_a_site_that_is_hard_to_get_must_be_cheaper() -> None:
    def chosen(score: float | None) -> set[Site]:
        offers = (Offer(ON_DEMAND, 2.0, 9), Offer(A, 0.8, 9, score), Offer(B, 0.85, 9, 10.0))
        return set(Group().place(1, offers).spot)

    assert chosen(None) == {A}
    assert chosen(1.0) == {B}


def test_the_floor_on_demand_stands_whatever_spot_costs() -> None:
    rules = PlacerSettings(least_on_demand=3, most_on_demand=9, most_spot=9)
    assert Group(rules).place(0).on_demand == 3
    group = Group(rules)
    group.place(6)
    group.come_true(old=DAY)
    group.place(6)
    placed = group.place(6, after=61.0)
    assert placed.on_demand - placed.filling >= 3
    assert placed.spot


def test_where_there_is_not_enough_there_is_all_and_the_reason_says_what_limits() -> None:
    rules = PlacerSettings(most_on_demand=2, most_spot=3)
    placed = Group(rules).place(9)
    assert placed.on_demand == 2
    assert sum(placed.spot.values()) == 3
    assert placed.probability < 0.99
    assert "less than 0.99" in placed.reason
    assert "at most 2 on demand and 3 spot" in placed.reason


def test_a_group_without_on_demand_takes_more_spot_instead() -> None:
    placed = Group(PlacerSettings(most_spot=20)).place(9, OFFERS[1:])
    assert placed.on_demand == placed.filling == 0
    assert sum(placed.spot.values()) > 9
    assert placed.probability >= 0.99
    assert "on demand alone" not in placed.reason


def test_placements_do_not_flap_with_prices() -> None:
    group = Group()
    group.place(8)
    group.come_true(old=DAY)
    settled = group.place(8, after=61.0).spot
    for minute in range(240):
        # Now the one is a few percent cheaper, now the other.
        swing = 0.05 * math.sin(minute)
        offers = (
            OFFERS[0],
            Offer(A, 0.80 + swing, 100),
            Offer(B, 0.82 - swing, 100),
            Offer(FAR, 0.84, 100),
        )
        assert group.place(8, offers, after=60.0).spot == settled
        group.come_true(old=DAY)


def test_a_price_that_falls_by_half_for_good_is_followed_and_a_short_one_is_not() -> None:
    group = Group()
    group.place(8)
    group.come_true(old=DAY)
    before = group.place(8, after=61.0).spot
    assert C not in before
    cheap = (*OFFERS, Offer(C, 0.3, 100))
    dear = (*OFFERS, Offer(C, 0.9, 100))
    for _ in range(70):
        assert group.place(8, dear, after=60.0).spot == before
    for _ in range(10):
        assert group.place(8, cheap, after=60.0).spot == before
    for _ in range(70):
        after = group.place(8, cheap, after=60.0).spot
        group.come_true(old=DAY)
    assert after[C] >= 4


def test_a_site_with_nothing_to_give_is_asked_less_until_later() -> None:
    group = Group()
    group.place(8)
    for _ in range(15):
        assert group.placed is not None
        wanted = group.placed.spot
        group.nodes = {site: [0.0] * n for site, n in wanted.items() if site is not A}
        group.place(8, after=60.0)
    assert group.placed is not None
    assert A not in group.placed.spot
    assert sum(group.placed.spot.values()) >= 8
    assert "us-west-2a has no more nodes for now" in group.placed.reason


def test_a_warned_availability_zone_is_stood_in_for() -> None:
    group = Group()
    group.place(9)
    group.come_true(old=DAY)
    group.place(9)
    assert group.place(9, after=61.0).filling == 0
    group.survival.warned(A, group.now)
    group.survival.warned(FAR, group.now)
    # Looked at again within five seconds.
    assert group.place(9, after=6.0).filling > 0


def test_replicas_in_named_places_fill_a_site_without_a_name() -> None:
    offers = (Offer(ON_DEMAND, 1.0, 9), Offer(SPOT, 0.4, 9))
    group = Group(lead_s=5.0)
    assert group.place(2, offers).spot == {SPOT: 2}
    group.nodes = {Site("spot", "eu-west-1", "eu-west-1b"): [0.0, 0.0]}
    group.place(2, offers)
    assert group.place(2, offers, after=61.0).filling == 0


def test_more_spot_replicas_than_planned_are_not_relied_on() -> None:
    group = Group()
    group.nodes = {A: [-DAY] * 50}
    small = group.place(2)
    assert sum(small.spot.values()) <= 3
    assert "50" not in small.reason


def test_what_stands_in_outlives_a_restart() -> None:
    group = Group()
    assert group.place(9).filling == 9
    state = json.loads(json.dumps(group.placer.state()))
    again = Group()
    again.placer.restore(state)
    again.nodes = {A: [-DAY] * 5, FAR: [-DAY] * 5}
    assert again.place(9).filling == 9
    assert again.place(9, after=61.0).filling == 0
    for bad in (None, {}, {"version": 1, "filling": -1}, {"version": 2, "filling": 1}):
        with pytest.raises(ValueError):
            again.placer.restore(bad)


@pytest.mark.parametrize(("need", "lead"), [(-1, 1.0), (MAX_NEED + 1, 1.0), (1, float("nan"))])
def test_a_need_or_lead_time_that_makes_no_sense_is_refused(need: int, lead: float) -> None:
    group = Group(lead_s=lead)
    with pytest.raises(ValueError, match=r"need|lead_s"):
        group.place(need)


def test_two_thousand_replicas_are_placed_in_bounded_time() -> None:
    offers = (
        Offer(ON_DEMAND, 2.0, 5000),
        *(Offer(Site("spot", f"r{n % 3}", f"z{n}"), 0.8 + n / 100, 5000) for n in range(12)),
    )
    group = Group(PlacerSettings(most_on_demand=5000, most_spot=5000))
    began = time.perf_counter()
    placed = group.place(2000, offers)
    assert time.perf_counter() - began < 5.0
    assert placed.probability >= 0.99 - 1e-9
    assert placed.cost < 0.6 * 4000


def test_each_node_keeps_its_own_chance_when_risks_are_divided() -> None:
    survival = SurvivalModel()
    ages = {A: [0.0, 7200.0], B: [60.0], FAR: [DAY]}
    for region in fates(ages, survival, 95.0, 0.0):
        for zone in region.availability_zones:
            for _, stays in zone.groups:
                whole = (1 - region.shock) * (1 - zone.shock) * stays
                expected = [
                    survival.survival(A, age, 95.0, 0.0) for age in (0.0, 60.0, 7200.0, DAY)
                ]
                assert any(whole == pytest.approx(chance) for chance in expected)
    mean = sum(n * p for n, p in enumerate(survivors(fates(ages, survival, 95.0, 0.0))))
    alone = [survival.survival(A, age, 95.0, 0.0) for age in (0.0, 7200.0, 60.0, DAY)]
    assert mean == pytest.approx(sum(alone))
