"""Jain's index and the AUC of the isolation benchmarks."""

import random

import pytest

from benchmarks.isolation.stats import auc, auc_interval, jain


def test_jain_is_one_for_equals_and_one_in_n_for_all_to_one() -> None:
    assert jain([5.0, 5.0, 5.0, 5.0]) == pytest.approx(1.0)
    assert jain([9.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert jain([0.0, 0.0]) == 1.0


def test_auc_counts_pairs_and_ties_half() -> None:
    assert auc([3.0, 4.0], [1.0, 2.0]) == 1.0
    assert auc([1.0, 2.0], [3.0, 4.0]) == 0.0
    assert auc([1.0, 1.0], [1.0, 1.0]) == 0.5
    assert auc([1.0, 3.0], [2.0]) == 0.5


def test_the_interval_holds_what_it_should() -> None:
    rng = random.Random(3)
    same = [rng.gauss(0, 1) for _ in range(200)]
    alike = [rng.gauss(0, 1) for _ in range(200)]
    shifted = [value + 1 for value in alike]
    low, high = auc_interval(same, alike, resamples=300)
    assert low < 0.5 < high
    low, high = auc_interval(shifted, same, resamples=300)
    assert 0.5 < low < high < 1.0
