"""Reads states that were saved: what was not written by us is refused before anything changes."""

from collections.abc import Mapping
from typing import Any


def section(value: object, *keys: str) -> Mapping[str, Any]:
    """A saved state that has all of `keys`.

    Args:
        value: What was read.
        keys: Names that it needs; others are of no interest.

    Raises:
        ValueError: It is no mapping, or a name is missing.
    """
    fields = value if isinstance(value, Mapping) else {}
    for key in keys:
        if key not in fields:
            raise ValueError(f"the saved state has no {key}")
    return fields


def number(value: object, name: str, low: float, high: float) -> float:
    """A number from `low` to `high`.

    Args:
        value: What was read.
        name: What it is, for the error.
        low: Least that makes sense.
        high: Most that makes sense.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low:g} to {high:g}, not {value!r:.40}")
    return float(value)


def count(value: object, name: str, most: int) -> int:
    """A whole number from 0 to `most`.

    Args:
        value: What was read.
        name: What it is, for the error.
        most: Most that makes sense.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 0 to {most}, not {value!r:.40}")
    return value


def text(value: object, name: str, longest: int = 256) -> str:
    """A text of at most `longest` characters.

    Args:
        value: What was read.
        name: What it is, for the error.
        longest: Most characters.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str) or len(value) > longest:
        raise ValueError(f"{name} must be a text of up to {longest} characters")
    return value


def items(value: object, name: str, most: int, exactly: int | None = None) -> list[Any]:
    """A list of at most `most` things.

    Args:
        value: What was read.
        name: What it is, for the error.
        most: Most things.
        exactly: How many there have to be; any number by default.

    Raises:
        ValueError: It is none, or too long.
    """
    if not isinstance(value, list | tuple) or len(value) > most:
        raise ValueError(f"{name} must be a list of up to {most}")
    if exactly is not None and len(value) != exactly:
        raise ValueError(f"{name} must be a list of {exactly}, not of {len(value)}")
    return list(value)
