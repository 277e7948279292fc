import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaling.simulator.demand.renewal import GAMMA, WEIBULL, places

CLIENT = st.tuples(st.integers(1, 50), st.sampled_from([GAMMA, WEIBULL]), st.floats(0.01, 1000.0))


def of(count: int, law: int, shape: float, seed: int = 1) -> np.ndarray:
    random = np.random.Generator(np.random.PCG64(seed))
    return places(random, np.array([count]), np.array([law], np.int8), np.array([shape]))[0]


@given(st.lists(CLIENT, min_size=1, max_size=8), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_request_of_every_client_has_a_place_in_the_window(
    clients: list[tuple[int, int, float]], seed: int
) -> None:
    counts, laws, shapes = (np.array(column) for column in zip(*clients, strict=True))
    random = np.random.Generator(np.random.PCG64(seed))
    place, owner = places(random, counts, laws.astype(np.int8), shapes.astype(float))
    assert np.bincount(owner, minlength=len(clients)).tolist() == counts.tolist()
    assert ((place >= 0) & (place <= 1)).all()
    for client in range(len(clients)):
        assert (np.diff(place[owner == client]) >= 0).all()


def test_no_client_has_no_place() -> None:
    random = np.random.default_rng(1)
    place, owner = places(random, np.empty(0, np.int64), np.empty(0, np.int8), np.empty(0))
    assert (len(place), len(owner)) == (0, 0)


@pytest.mark.parametrize(
    ("law", "shape", "cv"),
    [
        (GAMMA, 1.0, 1.0),
        (GAMMA, 0.25, 2.0),
        (GAMMA, 4.0, 0.5),
        (WEIBULL, 1.0, 1.0),
        (WEIBULL, 0.6, math.sqrt(math.gamma(1 + 2 / 0.6) / math.gamma(1 + 1 / 0.6) ** 2 - 1)),
    ],
)
def test_gaps_vary_as_their_law_says(law: int, shape: float, cv: float) -> None:
    gaps = np.diff(of(200_000, law, shape))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_arrivals_of_an_exponential_law_are_uniform_in_the_window() -> None:
    place = of(100_000, GAMMA, 1.0)
    assert np.histogram(place, 10, (0, 1))[0] == pytest.approx([10_000] * 10, rel=0.05)
