"""Size classes: where one ends and the next begins."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.routing.size_class import SizeClass


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (0, SizeClass.SMALL),
        (512, SizeClass.SMALL),
        (513, SizeClass.MEDIUM),
        (2_048, SizeClass.MEDIUM),
        (2_049, SizeClass.LARGE),
        (8_192, SizeClass.LARGE),
        (8_193, SizeClass.XL),
        (32_768, SizeClass.XL),
        (32_769, None),
    ],
)
def test_boundaries(tokens: int, expected: SizeClass | None) -> None:
    assert SizeClass.of(tokens) is expected


@settings(deadline=None)
@given(st.integers(0, 40_000))
def test_the_class_is_the_shortest_that_holds_the_request(tokens: int) -> None:
    holding = [size_class for size_class in SizeClass if tokens <= size_class.limit]
    found = SizeClass.of(tokens)
    assert (found is None) == (not holding)
    if found is not None:
        assert found.limit == min(size_class.limit for size_class in holding)


def test_a_negative_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="-1 tokens"):
        SizeClass.of(-1)


def test_written_and_read_by_name() -> None:
    assert [str(size_class) for size_class in SizeClass] == ["small", "medium", "large", "xl"]
    assert SizeClass("xl") is SizeClass.XL
    assert pickle.loads(pickle.dumps(SizeClass.LARGE)) is SizeClass.LARGE


def test_longer_classes_come_in_order() -> None:
    assert SizeClass.MEDIUM.and_longer == (SizeClass.MEDIUM, SizeClass.LARGE, SizeClass.XL)
    assert SizeClass.XL.and_longer == (SizeClass.XL,)
