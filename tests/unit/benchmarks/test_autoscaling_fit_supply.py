from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoscaling.simulator.supply.facts import facts
from autoscaling.simulator.supply.generator import DEFAULTS, SITES, generate
from autoscaling.simulator.terms import SpotSupply
from benchmarks.autoscaling import fit_supply_points as points
from benchmarks.autoscaling.fit_supply_report import NEARLY, NO, YES, markdown, table
from benchmarks.autoscaling.fit_supply_search import Partial, fit_missing, search

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
GOAL = Partial(per_h=1.0, share=0.15, level=0.93, most=16)


def test_the_search_finds_the_lowest_point_and_finds_it_again() -> None:
    def loss(point: points.Point) -> float:
        return float((point[0] - 1.0) ** 2 + (point[1] + 2.0) ** 2)

    found = search([0.0, 0.0], loss, 1000, 1.0, 1)
    assert found == pytest.approx([1.0, -2.0], abs=0.01)
    assert np.array_equal(found, search([0.0, 0.0], loss, 1000, 1.0, 1))


def test_points_come_back_as_the_settings_they_were() -> None:
    even = points.with_shares(DEFAULTS, np.array(points.of_shares(DEFAULTS)))
    again = points.with_shares(even, np.array(points.of_shares(even)))
    assert again.common == pytest.approx(DEFAULTS.common)
    assert again.regional == pytest.approx(DEFAULTS.regional)
    for one, other in zip(again.available, DEFAULTS.available, strict=True):
        assert one == pytest.approx(other, abs=0.005)
    paced = points.with_paces(DEFAULTS, np.array(points.of_paces(DEFAULTS)))
    assert paced is not None
    assert paced.paces == pytest.approx(DEFAULTS.paces)
    assert paced.own_mix == pytest.approx(DEFAULTS.own_mix)
    missing = points.with_missing(DEFAULTS, np.array(points.of_missing(DEFAULTS)))
    assert missing.missing_pace == pytest.approx(DEFAULTS.missing_pace)
    assert missing.whole == pytest.approx(DEFAULTS.whole)


def test_paces_out_of_order_are_no_settings() -> None:
    moved = points.of_paces(DEFAULTS)
    moved[0], moved[2] = moved[2], moved[0]
    assert points.with_paces(DEFAULTS, np.array(moved)) is None


def test_what_is_rounded_is_still_valid() -> None:
    odd = replace(DEFAULTS, own_mix=(1 / 3, 1 / 3, 1 / 3), paces=(0.0123456, 0.5, 2.0))
    made = points.rounded(odd)
    assert made.own_mix == (0.333, 0.333, 0.334)
    assert made.paces[0] == 0.0123
    assert points.rounded(made) == made


def test_missing_parts_are_fitted_to_what_was_recorded() -> None:
    other = replace(DEFAULTS, missing_pace=8.0, whole=0.5, missing=0.25)
    real = facts(generate(7, 20, 16, settings=other))
    goal = Partial(real.partial_per_h, real.partial_share, real.level, 16)
    found = facts(generate(8, 20, 16, settings=fit_missing(DEFAULTS, goal, 4.0, 120, 1)))
    assert found.partial_per_h == pytest.approx(real.partial_per_h, rel=0.1)
    assert found.partial_share == pytest.approx(real.partial_share, rel=0.1)
    assert found.level == pytest.approx(real.level, abs=0.02)
    before = facts(generate(8, 20, 16))
    assert before.partial_share != pytest.approx(real.partial_share, rel=0.1)


def test_a_table_says_what_fits_and_what_does_not() -> None:
    up = np.ones((2000, len(SITES)), dtype=np.int32) * 16
    up[1000:1100] = 0
    rows = {row["fact"]: row for row in table([facts(SpotSupply(60.0, SITES, up))], GOAL)}
    assert rows["best availability zone is up"]["fits"] == NEARLY
    assert rows["correlation within a region"]["fits"] == NO
    text = markdown({"about": {}, "facts": [*rows.values()], "settings": {}, "recorded": []})
    within = "| correlation within a region | 0.43 | 1 | 1 to 1 | **NO** |"
    assert within in text
    assert "Does not fit: " in text
    assert "correlation within a region" in text.split("Does not fit: ")[1]


def test_the_published_text_is_that_of_the_published_figures() -> None:
    document = json.loads((RESULTS / "autoscaling-supply.json").read_text())
    assert markdown(document) == (RESULTS / "autoscaling-supply.md").read_text()
    assert {row["fits"] for row in document["facts"]} <= {YES, NEARLY, NO}
