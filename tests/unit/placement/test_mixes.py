import itertools
import random

import numpy as np
import pytest

from autoscaling.placement import mixes
from autoscaling.placement.distribution import AvailabilityZone, Region, at_least, survivors
from autoscaling.placement.judging import SHORT, Bounds, Ground
from autoscaling.placement.mixes import cheapest


def left(grounds: list[Ground], counts: tuple[int, ...]) -> np.ndarray:
    regions: dict[int, list[AvailabilityZone]] = {}
    shocks = {}
    for ground, count in zip(grounds, counts, strict=True):
        shocks[ground.region] = ground.region_shock if counts else 0.0
        if count:
            zone = AvailabilityZone(ground.zone_shock, ((count, ground.stays),))
            regions.setdefault(ground.region, []).append(zone)
    return survivors(Region(shocks[name], tuple(zones)) for name, zones in regions.items())


def exhaustive(grounds: list[Ground], bounds: Bounds) -> float:
    """The least cost of any mix, by trying all of them with the exact distribution."""
    best = np.inf
    caps = [range(min(ground.most, bounds.most_spot) + 1) for ground in grounds]
    for counts in itertools.product(*caps):
        if sum(counts) > bounds.most_spot:
            continue
        chances = left(grounds, counts)
        for on_demand in range(bounds.least, bounds.most + 1):
            if sum(counts) and sum(counts) + on_demand > bounds.most_total:
                break
            if at_least(chances, bounds.need - on_demand) >= bounds.chance:
                missing = sum(
                    chance * (bounds.need - on_demand - n) ** 2
                    for n, chance in enumerate(chances)
                    if n + on_demand < bounds.need
                )
                cost = on_demand * bounds.cost + bounds.missing * missing / bounds.need**2
                for ground, count in zip(grounds, counts, strict=True):
                    cost += ground.cost * count
                best = min(best, cost)
                break
    return float(best)


def instance(rng: random.Random, sites: int, need: int) -> tuple[list[Ground], Bounds]:
    shocks = [rng.choice([0.0, 0.001, 0.005, 0.02]) for _ in range(2)]
    grounds = []
    for _ in range(sites):
        region = rng.randint(0, 1)
        grounds.append(
            Ground(
                region=region,
                stays=1 - rng.choice([0.001, 0.01, 0.05, 0.2]),
                zone_shock=rng.choice([0.0, 0.002, 0.01, 0.05]),
                region_shock=shocks[region],
                cost=rng.uniform(0.2, 1.1),
                most=rng.choice([2, 3, 99]),
            )
        )
    total = need + -(-need // 2)
    least = rng.choice([0, 0, 1])
    bounds = Bounds(
        need=need,
        chance=rng.choice([0.9, 0.99, 0.999]),
        least=least,
        most=need + 1,
        most_spot=total - least,
        most_total=total,
        cost=1.0,
        missing=rng.choice([0.0, 10.0 * need]),
    )
    return grounds, bounds


def test_few_sites_and_replicas_get_the_best_mix_there_is() -> None:
    rng = random.Random(11)
    for _ in range(40):
        grounds, bounds = instance(rng, rng.randint(1, 3), rng.randint(1, 5))
        assert cheapest(grounds, bounds).value == pytest.approx(exhaustive(grounds, bounds))
    grounds, bounds = instance(rng, 3, 6)
    assert cheapest(grounds, bounds).value == pytest.approx(exhaustive(grounds, bounds))


def test_the_search_is_close_to_the_best_where_not_all_mixes_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(5)
    gaps = []
    for _ in range(60):
        grounds, bounds = instance(rng, rng.randint(2, 3), rng.randint(2, 6))
        monkeypatch.setattr(mixes, "ALL", 1024)
        best = cheapest(grounds, bounds).value
        monkeypatch.setattr(mixes, "ALL", 0)
        gaps.append(cheapest(grounds, bounds).value / best - 1)
    assert min(gaps) >= -1e-9
    assert sum(gaps) / len(gaps) < 0.005
    assert max(gaps) < 0.1


@pytest.mark.parametrize("need", [40, 130, 2000])
def test_large_needs_keep_the_promise_in_any_number_of_sites(need: int) -> None:
    rng = random.Random(need)
    grounds = [
        Ground(at % 3, 0.998, 0.002, 0.003, rng.uniform(0.3, 0.6), 10_000) for at in range(20)
    ]
    total = need + need // 2
    bounds = Bounds(need, 0.99, 0, need, total, total, 1.0)
    mix = cheapest(grounds, bounds)
    chance = at_least(left(grounds, mix.spot), need - mix.on_demand)
    assert chance >= 0.99 - 1e-9
    assert sum(mix.spot) + mix.on_demand <= total
    # All of it on demand costs 1 each.
    assert mix.value < 0.7 * need


def test_what_runs_is_kept_unless_moving_saves_more_than_the_discount() -> None:
    def best(price: float) -> tuple[int, ...]:
        grounds = [
            Ground(0, 0.9999, 0.0, 0.0, 0.50, 99, running=4),
            Ground(0, 0.9999, 0.0, 0.0, price, 99),
        ]
        bounds = Bounds(4, 0.99, 0, 9, 6, 6, 1.0, discount=0.1)
        return cheapest(grounds, bounds).spot

    assert best(0.46) == (4, 0)
    assert best(0.44) == (0, 4)


def test_replicas_are_spread_where_that_costs_little() -> None:
    grounds = [Ground(0, 0.99999, 0.001, 0.0, cost, 99) for cost in (0.400, 0.401, 0.402)]
    bounds = Bounds(30, 0.99, 0, 40, 45, 45, 1.0)
    together = cheapest(grounds, bounds).spot
    apart = cheapest(grounds, Bounds(30, 0.99, 0, 40, 45, 45, 1.0, missing=300.0)).spot
    assert max(together) == sum(together)
    assert max(apart) <= 13


def test_where_the_promise_cannot_be_kept_there_is_all_that_can_be_had() -> None:
    grounds = [Ground(0, 0.9, 0.01, 0.0, 0.5, 3), Ground(1, 0.9, 0.01, 0.0, 90.0, 2)]
    mix = cheapest(grounds, Bounds(20, 0.99, 0, 4, 30, 30, 1.0))
    assert mix.spot == (3, 2)
    assert mix.on_demand == 4
    assert mix.value > SHORT
