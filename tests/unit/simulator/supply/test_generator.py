from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import SimulationError
from autoscaling.plan_terms import Site
from autoscaling.simulator.supply.facts import facts
from autoscaling.simulator.supply.generator import (
    DEFAULTS,
    SITES,
    SupplySettings,
    availability,
    generate,
)
from autoscaling.simulator.supply.refreshed import Kind, Stream, held

RESULTS = Path(__file__).parents[4] / "benchmarks" / "results" / "autoscaling-supply.json"


def test_a_seed_always_makes_the_same_supply() -> None:
    one, other = generate(3, 2, 8), generate(3, 2, 8)
    assert np.array_equal(one.replicas, other.replicas)
    assert one.sites == SITES
    assert not np.array_equal(one.replicas, generate(4, 2, 8).replicas)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.1, 20), st.floats(0.1, 20), st.integers(1, 50))
def test_a_longer_supply_begins_like_a_shorter_one(
    seed: int, days: float, more: float, most: int
) -> None:
    short = generate(seed, days, most, step_s=600).replicas
    long = generate(seed, days + more, most, step_s=600).replicas
    assert np.array_equal(short, long[: len(short)])
    assert short.min() >= 0
    assert short.max() <= most


def test_many_values_are_drawn_alike_whatever_the_span() -> None:
    def draw(random: np.random.Generator, count: int) -> np.ndarray:
        return random.standard_normal(count)

    stream = Stream(1, Kind.OWN, 0, 0)
    short, long = np.linspace(0, 99, 100), np.linspace(0, 999, 1000)
    assert np.array_equal(held(stream, 60, short, draw), held(stream, 60, long, draw)[:100])


def test_values_stay_for_an_exponential_time() -> None:
    def draw(random: np.random.Generator, count: int) -> np.ndarray:
        return random.standard_normal(count)

    at_h = np.linspace(0, 4000, 400_001)
    values = held(Stream(1, Kind.OWN, 0, 0), 2.0, at_h, draw)
    lengths = np.diff(np.flatnonzero(np.diff(values))) * 0.01
    assert len(lengths) == pytest.approx(8000, rel=0.05)
    assert lengths.mean() == pytest.approx(0.5, rel=0.05)
    assert lengths.std() == pytest.approx(0.5, rel=0.05)
    assert values.mean() == pytest.approx(0, abs=0.05)
    assert values.std() == pytest.approx(1, rel=0.05)


def test_availability_is_where_generated_supply_has_nodes() -> None:
    assert np.array_equal(availability(5, 3) > 0, generate(5, 3, 12).replicas > 0)


def test_fourteen_days_take_well_under_a_second() -> None:
    generate(1, 1, 8)
    begin = time.process_time()
    generate(1, 14, 16)
    assert time.process_time() - begin < 0.5


def test_each_place_is_up_for_its_share_of_the_time() -> None:
    up = np.mean([availability(seed, 300, step_s=1800).mean(axis=0) for seed in range(6)], axis=0)
    expected = [share for region in DEFAULTS.available for share in region]
    assert up == pytest.approx(expected, abs=0.03)


def test_what_is_common_makes_places_short_together() -> None:
    apart = replace(DEFAULTS, common=0.0, regional=0.0)
    together = replace(DEFAULTS, common=0.0, regional=1.0)
    alone = facts(generate(1, 200, 4, settings=apart, step_s=195))
    shared = facts(generate(1, 200, 4, settings=together, step_s=195))
    assert abs(alone.within) < 0.1
    assert abs(alone.across) < 0.1
    assert shared.within > 0.6
    assert abs(shared.across) < 0.15


def test_the_defaults_are_like_the_public_facts() -> None:
    found = [facts(generate(seed, 45.5, 16)) for seed in range(8)]

    def mean(name: str) -> Any:
        return np.mean([getattr(one, name) for one in found], axis=0)

    assert mean("best") == pytest.approx(0.905, abs=0.03)
    assert mean("at_least") == pytest.approx([0.992, 0.977, 0.933], abs=0.025)
    assert mean("within") == pytest.approx(0.43, abs=0.05)
    assert mean("across") == pytest.approx(0.14, abs=0.05)
    assert mean("loss_by_age") == pytest.approx([0.26, 0.14, 0.04, 0.01], rel=0.2)
    assert mean("up_if_up") == pytest.approx(0.89, abs=0.02)
    assert mean("up_if_down") == pytest.approx(0.20, abs=0.04)
    assert 1.4 <= mean("node_life_h") <= 3.2
    assert 20 <= mean("node_run_min") <= 62


def test_the_defaults_are_what_the_fit_found() -> None:
    fitted = json.loads(RESULTS.read_text())["settings"]
    assert json.loads(json.dumps(asdict(DEFAULTS))) == fitted


def test_sites_may_have_other_names() -> None:
    small = replace(DEFAULTS, available=((0.8, 0.5), (0.9,)))
    sites = [Site("spot", "a", "a1"), Site("spot", "a", "a2"), Site("spot", "b", "b1")]
    supply = generate(1, 1, 4, settings=small, sites=sites)
    assert supply.sites == tuple(sites)
    assert supply.replicas.shape == (1440, 3)


@pytest.mark.parametrize(
    "sites",
    [
        [],
        SITES[:8],
        SITES[::-1],
        (SITES[0], *SITES[:8]),
        (SITES[4], *SITES[1:4], SITES[0], *SITES[5:]),
    ],
)
def test_sites_that_do_not_match_the_settings_are_refused(sites: list[Site]) -> None:
    with pytest.raises(SimulationError, match="region by region"):
        generate(1, 1, 4, sites=sites)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed"),
        ({"days": 0}, "above 0"),
        ({"days": float("nan")}, "above 0"),
        ({"days": float("inf")}, "at most"),
        ({"days": 2000}, "at most 1000"),
        ({"days": 900, "step_s": 1}, "longer steps"),
        ({"step_s": 0}, "above 0"),
        ({"most": 0}, "1 to 10,000"),
        ({"most": 10_001}, "1 to 10,000"),
    ],
)
def test_arguments_outside_of_their_limits_are_refused(
    arguments: dict[str, float], words: str
) -> None:
    given_: dict[str, float] = {"seed": 1, "days": 1, "most": 4, **arguments}
    with pytest.raises(SimulationError, match=words):
        generate(
            int(given_["seed"]),
            given_["days"],
            int(given_["most"]),
            step_s=given_.get("step_s", 60.0),
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"available": ((0.5, 1.0),)}, "available"),
        ({"available": ((), (0.5,))}, "without availability zones"),
        ({"available": ()}, "without availability zones"),
        ({"common": float("nan")}, "common"),
        ({"common": 0.6, "regional": 0.6}, "common"),
        ({"paces": (0.1, 1.0, 100.0)}, "paces"),
        ({"own_mix": (0.5, 0.5, 0.5)}, "own_mix sums to 1.5"),
        ({"missing": 0.0}, "missing"),
        ({"whole": -0.1}, "whole"),
    ],
)
def test_settings_outside_of_their_limits_are_refused(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(SimulationError, match=words):
        SupplySettings(**changes)  # type: ignore[arg-type]
