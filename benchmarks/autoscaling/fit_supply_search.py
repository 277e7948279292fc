"""The three stages in which generated spot supply is fitted to public facts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from autoscaling.simulator.supply.facts import Facts, facts
from autoscaling.simulator.supply.generator import SITES, SupplySettings, availability, generate
from autoscaling.simulator.terms import SpotSupply
from benchmarks.autoscaling.fit_supply_points import (
    Point,
    of_missing,
    of_paces,
    of_shares,
    with_missing,
    with_paces,
    with_shares,
)

Loss = Callable[[Point], float]

BEST, ANY_OF_FOUR, ANY_OF_THREE = 0.905, 0.713, 0.961
AT_LEAST = (0.992, 0.977, 0.933)
WITHIN, ACROSS = 0.43, 0.14
LOSS_BY_AGE = (0.26, 0.14, 0.04, 0.01)
UP_IF_UP, UP_IF_DOWN = 0.89, 0.20
NODE_LIFE_H, NODE_RUN_MIN = (1.4, 3.2), (20.0, 62.0)
MEAN = UP_IF_DOWN / (UP_IF_DOWN + 1.0 - UP_IF_UP)
"""Share of the time that availability zones are up, on average: what the two chances above say of
it, since as many must come up as go down."""
FOUR, THREE = SITES[0].region, SITES[4].region

_SAMPLES = 100_000


@dataclass(frozen=True, slots=True)
class Partial:
    """What recorded traces say of losses that leave some nodes; see `Facts`."""

    per_h: float
    share: float
    level: float
    most: int


def search(start: Sequence[float], loss: Loss, tries: int, width: float, seed: int) -> Point:
    """Goes to better points near the best one, by steps that become a hundredth as wide.

    Args:
        start: Where it begins.
        loss: What is to be small.
        tries: Points that are tried.
        width: Standard deviation of the first steps.
        seed: Of the steps.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    best = np.array(start, dtype=np.float64)
    least = loss(best)
    for attempt in range(tries):
        size = width * 100.0 ** (-attempt / tries)
        # Some of the numbers only, so that one that is right already can stay.
        moved = random.standard_normal(len(best)) * (random.random(len(best)) < 0.5)
        point = best + size * moved
        if (found := loss(point)) < least:
            best, least = point, found
    return best


def fit_shares(
    settings: SupplySettings, within: float, across: float, tries: int, seed: int
) -> SupplySettings:
    """Fits shares of the time and what is common: no matter of time, so that samples do.

    Args:
        settings: Where it begins.
        within: Correlation that two availability zones of a region are to have.
        across: The same of two in different regions.
        tries: Points that are tried.
        seed: Of samples and steps.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    everywhere = random.standard_normal((_SAMPLES, 1))
    regions = np.repeat(random.standard_normal((_SAMPLES, 3)), [4, 3, 2], axis=1)
    alone = random.standard_normal((_SAMPLES, 9))

    def loss(point: Point) -> float:
        made = with_shares(settings, point)
        own = max(0.0, 1.0 - made.common - made.regional)
        scarce = math.sqrt(made.common) * everywhere + math.sqrt(made.regional) * regions
        scarce += math.sqrt(own) * alone
        limits = [NormalDist().inv_cdf(share) for region in made.available for share in region]
        supply = SpotSupply(195.0, SITES, (scarce < np.array(limits)).astype(np.int32))
        return _shares_loss(_sampled(supply), within, across)

    return with_shares(settings, search(of_shares(settings), loss, tries, 0.3, seed))


def fit_paces(settings: SupplySettings, days: float, tries: int, seed: int) -> SupplySettings:
    """Fits how fast variables change, and how scarcity divides among fast and slow ones.

    Args:
        settings: Where it begins.
        days: How long the supply is that each try is judged by.
        tries: Points that are tried.
        seed: Of the supply and the steps.
    """

    def loss(point: Point) -> float:
        made = with_paces(settings, point)
        if made is None:
            return math.inf
        up = availability(seed, days, settings=made)
        found = facts(SpotSupply(60.0, SITES, up))
        # Nodes are lost alone too: about each five hours, by the recorded traces.
        life_h = 1.0 / (1.0 / found.node_life_h + 0.2)
        chances = zip(found.loss_by_age, LOSS_BY_AGE, strict=True)
        return (
            sum((math.log(one / goal) / 0.05) ** 2 for one, goal in chances)
            + ((found.up_if_up - UP_IF_UP) / 0.005) ** 2
            + ((found.up_if_down - UP_IF_DOWN) / 0.01) ** 2
            + (max(0.0, NODE_LIFE_H[0] - life_h) / 0.1) ** 2
        )

    fitted = with_paces(settings, search(of_paces(settings), loss, tries, 0.4, seed))
    assert fitted is not None
    return fitted


def fit_missing(
    settings: SupplySettings, goal: Partial, days: float, tries: int, seed: int
) -> SupplySettings:
    """Fits the part that is missing while there are nodes.

    Args:
        settings: Where it begins.
        goal: What recorded traces say.
        days: How long the supply is that each try is judged by.
        tries: Points that are tried.
        seed: Of the supply and the steps.
    """

    def loss(point: Point) -> float:
        found = facts(generate(seed, days, goal.most, settings=with_missing(settings, point)))
        return (
            (math.log(found.partial_per_h / goal.per_h) / 0.05) ** 2
            + (math.log(found.partial_share / goal.share) / 0.05) ** 2
            + ((found.level - goal.level) / 0.01) ** 2
        )

    return with_missing(settings, search(of_missing(settings), loss, tries, 0.4, seed))


def _sampled(supply: SpotSupply) -> Mapping[str, float]:
    """The facts that are no matter of time; `facts` would measure the others for nothing."""
    up = supply.replicas > 0
    amount = up.sum(axis=1)
    both = np.corrcoef(up.T.astype(np.float64))
    region = np.array([site.region for site in supply.sites])
    same = region[:, None] == region[None, :]
    pairs = np.triu(np.ones_like(same), 1)
    return {
        "best": float(up.mean(axis=0).max()),
        "mean": float(up.mean()),
        "four": float(up[:, region == FOUR].any(axis=1).mean()),
        "three": float(up[:, region == THREE].any(axis=1).mean()),
        "least 1": float((amount >= 1).mean()),
        "least 2": float((amount >= 2).mean()),
        "least 3": float((amount >= 3).mean()),
        "within": float(both[same & pairs].mean()),
        "across": float(both[~same & pairs].mean()),
    }


def _shares_loss(found: Mapping[str, float], within: float, across: float) -> float:
    goals = {
        "best": (BEST, 0.003),
        "mean": (MEAN, 0.01),
        "four": (ANY_OF_FOUR, 0.005),
        "three": (ANY_OF_THREE, 0.003),
        "least 1": (AT_LEAST[0], 0.002),
        "least 2": (AT_LEAST[1], 0.002),
        "least 3": (AT_LEAST[2], 0.003),
        "within": (within, 0.01),
        "across": (across, 0.01),
    }
    return sum(((found[key] - goal) / size) ** 2 for key, (goal, size) in goals.items())


def measured(settings: SupplySettings, days: float, most: int, seeds: Sequence[int]) -> list[Facts]:
    """The facts of several supplies.

    Args:
        settings: What they are like.
        days: How long each is.
        most: Replicas an availability zone holds at most.
        seeds: One a supply.
    """
    return [facts(generate(seed, days, most, settings=settings)) for seed in seeds]
