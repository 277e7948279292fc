import pytest

from app.config.scaling import SiteConfig, SpotConfig
from autoscaling.placement.market import PlacerSettings, market_of
from autoscaling.placement.offers import ON_DEMAND, SPOT, Offer, Quotes, offers_of
from autoscaling.plan_terms import Site

A = Site("spot", "us-west-2", "us-west-2a")
B = Site("spot", "us-west-2", "us-west-2b")
CONFIG = SpotConfig(
    sites=(
        SiteConfig(
            region="us-west-2",
            availability_zone="us-west-2a",
            instance_type="g6e.12xlarge",
            on_demand_price=10.0,
            spot_price=4.0,
            replicas_per_node=4,
        ),
        SiteConfig(
            region="us-west-2",
            availability_zone="us-west-2b",
            on_demand_price=12.0,
            spot_price=3.0,
            most_spot_replicas=2,
        ),
    )
)


def test_without_sites_there_is_one_without_a_name() -> None:
    assert offers_of(SpotConfig(), 8, 5) == (Offer(ON_DEMAND, 1.0, 8), Offer(SPOT, 0.4, 5))


def test_replicas_cost_their_share_of_a_node() -> None:
    assert offers_of(CONFIG, 8, 5) == (
        Offer(ON_DEMAND, 2.5, 8),
        Offer(A, 1.0, 5),
        Offer(B, 3.0, 2),
    )


def test_a_market_that_the_group_has_not_is_not_offered() -> None:
    assert [offer.site for offer in offers_of(CONFIG, None, 5)] == [A, B]
    assert [offer.site for offer in offers_of(CONFIG, 5, None)] == [ON_DEMAND]


def test_a_feed_comes_before_the_configuration() -> None:
    kind = ("g6e.12xlarge", "us-west-2a")
    offers = offers_of(CONFIG, None, 5, Quotes({kind: 6.0}, {kind: 7.0}))
    assert offers[0] == Offer(A, 1.5, 5, 7.0)
    assert offers[1].price == 3.0


def test_of_two_kinds_of_nodes_in_one_place_the_cheaper_one_is_offered() -> None:
    first = CONFIG.sites[0]
    cheaper = first.model_copy(update={"instance_type": "g6e.xlarge", "spot_price": 2.0})
    both = CONFIG.model_copy(update={"sites": (first, cheaper)})
    assert [(offer.site, offer.price) for offer in offers_of(both, None, 5)] == [(A, 0.5)]


def test_offers_that_make_no_sense_are_left_out() -> None:
    settings = PlacerSettings(most_on_demand=9, most_spot=9)
    market = market_of(
        [
            Offer(ON_DEMAND, float("nan"), 5),
            Offer(ON_DEMAND, 2.0, 5),
            Offer(A, -1.0, 5),
            Offer(A, 0.7, 5, score=99.0),
            Offer(A, 0.6, 5, score=float("nan")),
            Offer(B, 0.5, 0),
        ],
        settings,
    )
    assert market.on_demand == 2.0
    assert market.most_on_demand == 5
    assert market.spot == (Offer(A, 0.6, 5, None),)


def test_replicas_at_sites_that_are_not_offered_count_for_the_one_without_a_name() -> None:
    settings = PlacerSettings(most_spot=9)
    unnamed = market_of([Offer(SPOT, 0.4, 9)], settings)
    assert unnamed.running({A: 2, B: 1, ON_DEMAND: 4, SPOT: 1}) == {SPOT: 4}
    named = market_of([Offer(A, 0.4, 9)], settings)
    assert named.running({A: 2, B: 1})[A] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"epsilon": 0.0},
        {"epsilon": float("nan")},
        {"over_provision": -0.1},
        {"most_spot": -1},
        {"switch": 1.0},
        {"take_back_s": float("inf")},
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        PlacerSettings(**changes)  # type: ignore[arg-type]
