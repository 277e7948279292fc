"""Quantiles and ratios."""

import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gateway.stats import paired_spread, quantile, quantiles, ratio_of_medians

FLOATS = st.floats(min_value=-1e9, max_value=1e9)


def test_quantile_interpolates_between_neighbours() -> None:
    assert quantile([10.0, 20.0, 30.0, 40.0], 0.5) == 25.0
    assert quantile([10.0, 20.0], 0.95) == pytest.approx(19.5)


def test_quantile_of_one_value_is_that_value() -> None:
    assert {quantile([7.0], q) for q in (0.0, 0.5, 0.99, 1.0)} == {7.0}


def test_quantile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.5))


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_quantile_refuses_what_is_no_quantile(q: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        quantile([1.0], q)


@given(st.lists(FLOATS, min_size=1), st.floats(min_value=0, max_value=1))
def test_quantile_lies_between_least_and_largest(values: list[float], q: float) -> None:
    assert min(values) <= quantile(sorted(values), q) <= max(values)


@given(st.lists(FLOATS, min_size=1))
def test_half_quantile_is_the_median(values: list[float]) -> None:
    assert quantile(sorted(values), 0.5) == pytest.approx(median(values), abs=1e-6)


def test_quantiles_sort_and_scale() -> None:
    assert quantiles([0.3, 0.1, 0.2], 1000)["p50"] == pytest.approx(200)


def test_ratio_of_medians_is_not_the_median_of_ratios() -> None:
    assert ratio_of_medians([1.0, 10.0, 100.0], [1.0, 2.0, 400.0]) == 5.0


def test_ratio_passes_over_rounds_that_failed() -> None:
    assert ratio_of_medians([math.nan, 4.0], [2.0, math.nan]) == 2.0
    assert math.isnan(ratio_of_medians([math.nan], [1.0]))
    assert math.isnan(ratio_of_medians([1.0], []))
    assert math.isnan(ratio_of_medians([1.0], [0.0]))


def test_spread_pairs_values_of_one_round() -> None:
    assert paired_spread([1.0, 3.0], [2.0, 2.0]) == (0.5, 1.5)
    assert all(map(math.isnan, paired_spread([math.nan], [1.0])))
