"""Prices: integers, rounded up, never below what was used."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admission.prices import Price, PriceTable

TOKENS = st.integers(0, 10**7)
MICROS = st.integers(0, 10**9)


def test_by_model_and_else_the_default() -> None:
    table = PriceTable(Price(1_000_000, 2_000_000), {"demo": Price(500_000, 0)})
    assert table.micros("other", 10, 5) == 20
    assert table.micros("demo", 10, 5) == 5
    assert PriceTable(Price()).micros("demo", 10**9, 10**9) == 0


def test_rounds_up() -> None:
    table = PriceTable(Price(1, 1))
    assert table.micros("demo", 1, 0) == 1
    assert table.micros("demo", 500_000, 500_000) == 1
    assert table.micros("demo", 500_000, 500_001) == 2
    assert table.micros("demo", 0, 0) == 0


def test_strange_counts_cost_nothing() -> None:
    assert PriceTable(Price(5, 5)).micros("demo", -10, -10) == 0


@pytest.mark.parametrize(("name", "price"), [("prompt", (-1, 0)), ("output", (0, -1))])
def test_prices_below_nothing_are_refused(name: str, price: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"the {name} price must be 0 or more, not -1"):
        Price(*price)


@given(prompt=TOKENS, output=TOKENS, price=st.tuples(MICROS, MICROS))
def test_is_exact_but_for_less_than_one(prompt: int, output: int, price: tuple[int, int]) -> None:
    exact = Fraction(prompt * price[0] + output * price[1], 1_000_000)
    assert 0 <= PriceTable(Price(*price)).micros("demo", prompt, output) - exact < 1
