"""What the configuration and the command line come to in a simulation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.cli.replaying.adjusted import with_most, with_prices
from app.cli.replaying.demand import Demand, Kind
from app.cli.replaying.options import NotReplayable, Options
from app.cli.replaying.policies import NAMES, policy_of
from app.cli.replaying.replica import replica_of
from app.cli.replaying.scenarios import case, span
from app.cli.replaying.watched import MOST_POINTS, Watched
from app.config import FleetConfig, Market, SpotConfig, load_config
from autoscaling.plan_terms import Capacity, Site
from autoscaling.simulator.engine_profile import profile
from autoscaling.simulator.policy import Observation, SiteView
from autoscaling.simulator.terms import ON_DEMAND, Past, Requests, Slo, Terms

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fleet() -> FleetConfig:
    return load_config(ROOT / "serve_config.yaml")


def demand(rows: Sequence[tuple[float, int, int]]) -> Demand:
    """Requests of (time, prompt, output)."""
    at, prompt, output = zip(*rows, strict=True)
    none = np.zeros(len(rows), np.int32)
    requests = Requests(
        np.array(at, np.float64), np.array(prompt, np.int32), np.array(output, np.int32)
    )
    return Demand("test", 0.0, requests, ("acme",), none, (Kind("public", "demo"),), none)


def spot_config(*availability_zones: str) -> SpotConfig:
    return SpotConfig.model_validate(
        {
            "sites": [
                {
                    "region": "r",
                    "availability_zone": each,
                    "on_demand_price": 8.0,
                    "spot_price": 4.0,
                    "replicas_per_node": 4,
                }
                for each in availability_zones
            ]
        }
    )


def test_a_price_of_an_availability_zone_comes_before_that_of_spot() -> None:
    changed = with_prices(spot_config("a", "b"), {"spot": 3.0, "b": 2.0, "on-demand": 9.0})
    assert [(site.spot_price, site.on_demand_price) for site in changed.sites] == [
        (3.0, 9.0),
        (2.0, 9.0),
    ]


def test_prices_can_be_given_where_no_site_is_configured() -> None:
    (site,) = with_prices(SpotConfig(), {"on-demand": 2.5}).sites
    assert (site.on_demand_price, site.spot_price) == (2.5, 0.4)


def test_a_price_for_nowhere_is_refused() -> None:
    with pytest.raises(NotReplayable, match="no 'c'; there is on-demand, spot, a, b"):
        with_prices(spot_config("a", "b"), {"c": 1.0})


def test_fewer_replicas_bound_the_least_and_those_on_standby(fleet: FleetConfig) -> None:
    pool = fleet.pool("public-small")
    bounds = pool.markets[Market.ON_DEMAND].model_copy(
        update={"min_replicas": 5, "max_replicas": 9, "standby_replicas": 3}
    )
    bounded = with_most(pool.model_copy(update={"markets": {Market.ON_DEMAND: bounds}}), 6)
    found = bounded.markets[Market.ON_DEMAND]
    assert (found.min_replicas, found.max_replicas, found.standby_replicas) == (5, 6, 1)
    assert with_most(pool, None) is pool


def test_a_case_is_what_the_configuration_says(fleet: FleetConfig) -> None:
    found = demand([(second, 77, 75) for second in range(1200)])
    rows = np.arange(1200)
    made = case(fleet, fleet.pool("public-small"), found, rows, Options(most=3), None)
    scenario = made.scenario
    # 77 of 7,700 and 75 of 750 tokens each second: 0.11 replicas.
    assert made.needed == pytest.approx(np.full(20, 0.11))
    assert (scenario.begin_s, scenario.end_s) == (0.0, 1200.0)
    assert (scenario.least, scenario.first, scenario.most) == (1, 1, 3)
    assert scenario.prices == {ON_DEMAND: 1.0}
    assert scenario.supply.sites == ()
    assert (scenario.lead_s, scenario.wake_s, scenario.patience_s) == (300.0, 5.0, 120.0)
    assert scenario.means == (77.0, 75.0)
    assert [pool.name for pool in made.fleet.pools] == ["public-small"]
    assert made.notes == ()


def test_sites_and_prices_become_those_of_a_replica(fleet: FleetConfig) -> None:
    pool = fleet.pool("public-small")
    markets = {
        market: pool.markets[Market.ON_DEMAND].model_copy(
            update={"min_replicas": least, "max_replicas": most}
        )
        for market, least, most in ((Market.ON_DEMAND, 1, 2), (Market.SPOT, 0, 5))
    }
    scaling = fleet.scaling.model_copy(update={"spot": spot_config("a", "b")})
    other = fleet.model_copy(update={"scaling": scaling})
    pool = pool.model_copy(update={"markets": markets})
    options = Options(prices={"b": 2.0}, lead_s=60.0, notice_s=30.0)
    made = case(other, pool, demand([(0.0, 5, 5), (1.0, 9, 9)]), np.arange(2), options, None)
    a, b = Site("spot", "r", "a"), Site("spot", "r", "b")
    assert made.scenario.prices == {ON_DEMAND: 2.0, a: 1.0, b: 0.5}
    assert made.scenario.supply.sites == (a, b)
    assert made.scenario.supply.replicas.max() <= 5
    assert (made.scenario.least, made.scenario.most) == (1, 7)
    assert (made.scenario.lead_s, made.scenario.notice_s) == (60.0, 30.0)
    # The planner goes by the configuration: it must have the same prices.
    assert [site.spot_price for site in made.fleet.scaling.spot.sites] == [4.0, 2.0]


def test_demand_beyond_the_most_replicas_is_said(fleet: FleetConfig) -> None:
    found = demand([(second / 4, 77, 750) for second in range(400)])
    made = case(fleet, fleet.pool("public-small"), found, np.arange(400), Options(), None)
    assert made.scenario.first == made.scenario.most == 1
    assert "4.0 replicas busy at its peak, and the configuration allows 1" in made.notes[0]


def test_engines_for_one_tenant_at_a_time_are_said_to_be_simulated_without_it(
    fleet: FleetConfig,
) -> None:
    capacity = fleet.pool("public-small").capacity
    pool = fleet.pool("confidential").model_copy(update={"capacity": capacity})
    made = case(fleet, pool, demand([(0.0, 5, 5)]), np.arange(1), Options(), None)
    assert "one tenant at a time, which is not simulated" in made.notes[0]


def test_a_replica_carries_of_these_requests_what_the_configuration_says(
    fleet: FleetConfig,
) -> None:
    found = demand([(float(second), 100 + second % 300, 200) for second in range(600)])
    pool, capacity = fleet.pool("public-small"), Capacity(7700.0, 750.0, measured=True)
    model, notes = replica_of(pool, capacity, found.requests, 1)
    assert notes == ()
    slo = Slo(pool.slo.ttft_s, pool.slo.itl_s)
    prompt, output = found.requests.prompt, found.requests.output
    carried = profile(model, prompt, output, slo, pool.slo.attainment, 2)
    rate = 1 / (prompt.mean() / carried.prefill_tps + output.mean() / carried.decode_tps)
    assert rate == pytest.approx(1 / (prompt.mean() / 7700 + output.mean() / 750), rel=0.1)


def test_requests_that_a_replica_cannot_serve_in_time_are_said(fleet: FleetConfig) -> None:
    pool = fleet.pool("private")
    pool = pool.model_copy(update={"slo": pool.slo.model_copy(update={"ttft_s": 0.2})})
    found = demand([(float(second), 30_000, 10) for second in range(10)])
    _, notes = replica_of(pool, Capacity(7700.0, 750.0, measured=True), found.requests, 1)
    assert "does not keep TTFT 0.2 s and ITL 0.2 s for 99% of these requests" in notes[0]


def test_what_is_known_beforehand_is_not_replayed(fleet: FleetConfig) -> None:
    found = demand([(float(second), 100, 100) for second in range(0, 7200, 10)])
    options = Options(learn_s=3600.0)
    assert span(found, options) == (3600.0, 7200.0)
    made = case(fleet, fleet.pool("public-small"), found, np.arange(720), options, None)
    assert made.known is not None
    assert made.known.requests.sum() == 360
    assert made.scenario.begin_s == 3600.0
    with pytest.raises(NotReplayable, match=r"lasts 2\.0 hours"):
        span(found, Options(learn_s=7200.0))


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_can_be_made(fleet: FleetConfig, name: str) -> None:
    made = case(
        fleet, fleet.pool("public-small"), demand([(0.0, 5, 5)]), np.arange(1), Options(), None
    )
    assert policy_of(name, made, 0.0).name


class Two:
    name = "two"

    def begin(self, terms: Terms, past: Past | None) -> None:
        pass

    def decide(self, seen: Observation) -> dict[Site, int]:
        return {ON_DEMAND: 2}


def test_a_policy_that_is_watched_decides_as_before_and_few_points_are_kept() -> None:
    watched = Watched(Two(), 0.0, 100_000.0)
    spot = Site("spot", "r", "a")
    for step in range(10_000):
        views = {ON_DEMAND: SiteView(ready=2, starting=1), spot: SiteView(ready=3)}
        seen = Observation(
            step * 10.0, 10.0, True, views, queued=5 if step == 4_321 else 0, waiting=1
        )
        assert watched.decide(seen) == {ON_DEMAND: 2}
    assert 0.9 * MOST_POINTS < len(watched.points["at_s"]) <= MOST_POINTS + 1
    assert set(watched.points["on_demand"]) == {2.0}
    assert set(watched.points["spot"]) == {3.0}
    assert set(watched.points["coming"]) == {1.0}
    # A queue of one step is not lost between two points.
    assert max(watched.points["waiting"]) == 6.0
