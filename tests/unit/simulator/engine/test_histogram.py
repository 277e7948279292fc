"""The log-binned histogram."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaling.simulator.engine_kernel import _bin
from autoscaling.simulator.histogram import BINS, Histogram, bins

SECONDS = st.floats(1e-5, 30_000)


@given(st.lists(SECONDS, min_size=1, max_size=50), st.floats(0.01, 1))
def test_quantiles_are_right_to_one_percent(values: list[float], share: float) -> None:
    exact = sorted(values)[int(np.ceil(share * len(values))) - 1]
    assert Histogram.of(values).quantile(share) == pytest.approx(exact, rel=0.01)


@given(st.floats(0, 1e9))
def test_the_compiled_engine_counts_into_the_same_bins(value: float) -> None:
    place = int(bins(np.array([value]))[0])
    assert 0 <= place < BINS
    assert _bin(value) == place


def test_histograms_add_up_and_tell_what_came_since() -> None:
    early, late = Histogram.of([0.1, 0.2]), Histogram.of([3.0])
    both = Histogram.merged([early, late])
    assert both.count == 3
    assert both.since(early).quantile(0.5) == late.quantile(0.5)
    assert Histogram.merged([]).quantile(0.99) == 0.0
    with pytest.raises(ValueError):
        early.since(both)


def test_what_is_no_duration_is_refused() -> None:
    for wrong in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="from 0"):
            Histogram.of([wrong])
    with pytest.raises(ValueError, match="share"):
        Histogram.of([1.0]).quantile(1.1)
    with pytest.raises(ValueError, match="counts"):
        Histogram(np.zeros(3, np.int64))
