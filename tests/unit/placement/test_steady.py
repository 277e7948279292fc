from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.placement.filling import AGAIN_S, FEW, PATIENCE_S, Filling, Scarcity
from autoscaling.placement.steady import SteadyPrices
from autoscaling.plan_terms import Site

A = Site("spot", "us-west-2", "us-west-2a")
B = Site("spot", "us-west-2", "us-west-2b")


def test_those_that_stand_in_come_at_once_and_go_after_a_while() -> None:
    filling = Filling(60.0)
    assert filling.update(5, 10, 0.0) == 5
    assert filling.update(2, 10, 1.0) == 5
    assert filling.update(3, 10, 50.0) == 5
    # 3 was wanted meanwhile.
    assert filling.update(2, 10, 61.0) == 3
    assert filling.update(2, 10, 62.0) == 3
    assert filling.update(2, 10, 122.0) == 2
    assert filling.update(4, 10, 123.0) == 4


def test_wanting_more_again_begins_the_wait_anew() -> None:
    filling = Filling(60.0)
    filling.update(5, 10, 0.0)
    filling.update(0, 10, 10.0)
    filling.update(5, 10, 60.0)
    assert filling.update(0, 10, 71.0) == 5
    assert filling.update(0, 10, 131.0) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.floats(0, 40)), max_size=30))
def test_there_are_never_fewer_than_wanted_nor_more_than_allowed(
    steps: list[tuple[int, int, float]],
) -> None:
    filling, now = Filling(30.0), 0.0
    for wanted, most, passed in steps:
        now += passed
        assert min(wanted, most) <= filling.update(wanted, most, now) <= most


def test_a_site_is_taken_for_empty_only_after_long_and_not_for_ever() -> None:
    scarcity = Scarcity()
    scarcity.update({A: 3, B: 1}, {B: 1}, 180.0, 0.0)
    scarcity.update({A: 3, B: 1}, {B: 1}, 180.0, 179.0)
    assert scarcity.sites == frozenset()
    scarcity.update({A: 3, B: 1}, {B: 1}, 180.0, 180.0)
    assert scarcity.sites == {A}
    scarcity.update({B: 1}, {B: 1}, 180.0, 180.0 + AGAIN_S)
    assert scarcity.sites == frozenset()


def _asked_in_vain(scarcity: Scarcity, begin: float) -> float:
    """Seconds for which a site without nodes is asked for some."""
    now = begin
    while not scarcity.sites:
        scarcity.update({B: 1}, {}, 600.0, now)
        now += 1.0
    return now - 1.0 - begin


def test_where_nodes_come_quickly_an_empty_site_is_told_sooner() -> None:
    scarcity = Scarcity()
    for count in range(FEW):
        asked = 1000.0 * count
        for second in range(91):
            scarcity.update({A: count + 1}, {A: count}, 600.0, asked + second)
        scarcity.update({A: count + 1}, {A: count + 1}, 600.0, asked + 91.0)
    assert _asked_in_vain(scarcity, 10_000.0) == 180.0
    assert _asked_in_vain(Scarcity(), 0.0) == 600.0


def test_waits_are_as_long_as_was_seen_and_patience_has_a_least() -> None:
    scarcity = Scarcity()
    for count in range(FEW):
        # They are there at the next look: how soon they came is not known.
        scarcity.update({A: count + 1}, {A: count}, 600.0, 1000.0 * count)
        scarcity.update({A: count + 1}, {A: count + 1}, 600.0, 1000.0 * count + 30.0)
    assert _asked_in_vain(scarcity, 10_000.0) == PATIENCE_S


def test_a_site_where_replicas_come_one_by_one_is_not_empty() -> None:
    scarcity = Scarcity()
    for count in range(5):
        scarcity.update({A: 5}, {A: count}, 60.0, count * 59.0)
    assert scarcity.sites == frozenset()


def test_slow_starts_are_waited_for() -> None:
    scarcity = Scarcity()
    for now in (0.0, 61.0, 999.0):
        scarcity.update({A: 5}, {}, 1000.0, now)
    assert scarcity.sites == frozenset()


def test_a_price_counts_once_it_has_lasted() -> None:
    prices = SteadyPrices(600.0)
    seen = []
    for minute in range(60):
        price = 0.9 if minute < 20 else 0.3
        prices.take([(A, price)], minute * 60.0)
        seen.append(prices.price(A, price, 1.0, running=False))
    assert seen[20] == seen[29] == 0.9
    assert seen[-1] == 0.3


def test_a_site_with_replicas_is_left_for_a_price_that_has_lasted_or_is_above_on_demand() -> None:
    prices = SteadyPrices(600.0)
    prices.take([(A, 0.3)], 0.0)
    prices.take([(A, 0.8)], 60.0)
    assert prices.price(A, 0.8, 1.0, running=True) == 0.3
    assert prices.price(A, 1.2, 1.0, running=True) == 1.2
    for minute in range(2, 30):
        prices.take([(A, 0.8)], minute * 60.0)
    assert prices.price(A, 0.8, 1.0, running=True) == 0.8
