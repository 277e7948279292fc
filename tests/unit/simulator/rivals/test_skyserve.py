from autoscaling.simulator.rivals.skyserve import SkyServeDemand, skyserve
from autoscaling.simulator.terms import ON_DEMAND
from tests.unit.simulator.rivals.seeing import past, seen, terms


def begun(rate: float, headroom: float = 1.0) -> SkyServeDemand:
    demand = SkyServeDemand(headroom)
    demand.begin(terms(), past([rate]))
    # The window of a minute fills.
    for step in range(7):
        demand.replicas(seen(step, rate=rate))
    return demand


def steps_until(demand: SkyServeDemand, rate: float, change: int, most: int = 200) -> int:
    before = demand.replicas(seen(7, rate=rate))
    for step in range(8, most):
        if demand.replicas(seen(step, rate=rate)) == before + change:
            return step - 7
    raise AssertionError("it does not change")


def test_it_begins_with_the_rate_over_what_a_replica_carries() -> None:
    assert begun(6.0).replicas(seen(7, rate=6.0)) == 6
    assert begun(6.0, headroom=1.5).replicas(seen(7, rate=6.0)) == 9


def test_it_goes_up_after_fifteen_looks_that_ask_for_more() -> None:
    # A look each 20 s, the first that asks for more within 20 s: the fifteenth is 280 s later.
    assert 28 <= steps_until(begun(6.0), 9.0, 3) <= 31


def test_it_goes_down_after_sixty_looks_that_ask_for_less() -> None:
    assert 118 <= steps_until(begun(6.0), 3.0, -3) <= 121


def test_the_last_look_counts_not_the_greatest() -> None:
    demand = begun(6.0)
    counts = [demand.replicas(seen(step, rate=12.0)) for step in range(7, 30)]
    counts += [demand.replicas(seen(step, rate=8.0)) for step in range(30, 45)]
    assert set(counts) == {6, 8}


def test_a_look_that_asks_for_as_many_begins_the_count_anew() -> None:
    demand = begun(6.0)
    for step in range(7, 29):
        demand.replicas(seen(step, rate=9.0))
    for step in range(29, 43):
        demand.replicas(seen(step, rate=6.0))
    assert [demand.replicas(seen(step, rate=9.0)) for step in range(43, 68)] == [6] * 25


def test_from_nothing_it_goes_up_at_once() -> None:
    demand = SkyServeDemand()
    demand.begin(terms(least=0), None)
    assert demand.replicas(seen(0)) == 0
    counts = [demand.replicas(seen(step, rate=6.0)) for step in range(1, 4)]
    assert max(counts) > 0


def test_requests_older_than_a_minute_are_forgotten() -> None:
    demand = begun(6.0)
    for step in range(7, 140):
        last = demand.replicas(seen(step, rate=0.0))
    assert last == 1


def test_the_policy_places_with_spot_hedge() -> None:
    policy = skyserve(overprovision=2)
    policy.begin(terms(), past([6.0]))
    asked = policy.decide(seen(0, rate=6.0, on_demand=6))
    assert asked[ON_DEMAND] == 6
    assert sum(asked.values()) == 6 + 8
    assert policy.name == "skyserve-like"


def test_while_metrics_are_lost_the_number_stands() -> None:
    policy = skyserve()
    policy.begin(terms(sites=()), past([6.0]))
    lost = [policy.decide(seen(step, 6, metrics=False)) for step in range(200)]
    assert lost == [{ON_DEMAND: 6}] * 200
