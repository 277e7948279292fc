"""JSON of others, taken apart without believing anything of it."""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from app.errors import WeightsRefused
from app.weights.refusal import Reason, refuse


@dataclass(frozen=True, slots=True)
class Part:
    """A JSON object whose fields are of the type that is asked for.

    Args:
        value: The object.
        what: What it is, for errors.

    Raises:
        WeightsRefused: It is something else than an object.
    """

    value: dict[str, Any]
    what: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, dict):
            raise malformed(f"has something else than an object for its {self.what}")

    def part(self, key: str) -> "Part":
        """The object under a key; empty if there is none."""
        return Part(self.value.get(key, {}), key)

    def text(self, key: str) -> str:
        """The text under a key."""
        found = self.value.get(key)
        if not isinstance(found, str):
            raise malformed(f"has no text {key!r} in its {self.what}")
        return found

    def list(self, key: str) -> list[Any]:
        """The list under a key."""
        found = self.value.get(key)
        if not isinstance(found, list):
            raise malformed(f"has no list {key!r} in its {self.what}")
        return found

    def number(self, key: str, most: int) -> int:
        """The whole number under a key, from 0 to the most that it may be."""
        found = self.value.get(key)
        if type(found) is not int or not 0 <= found <= most:
            raise malformed(f"has no number from 0 to {most} for {key[:200]!r}")
        return found


def parse(data: bytes) -> Any:
    """A JSON document in UTF-8; a key that is given twice is refused.

    Args:
        data: The document.

    Raises:
        WeightsRefused: It is none.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise malformed("is not JSON in UTF-8 with unique keys") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def decoded(text: str) -> bytes:
    """The bytes in a base64 text.

    Args:
        text: The text.

    Raises:
        WeightsRefused: It is not base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise malformed("has a part that is not base64") from None
    # One text for the same bytes: what was changed in transit is noticed in all of it.
    if base64.b64encode(data).decode() != text:
        raise malformed("has a part whose base64 ends in bits that mean nothing")
    return data


def malformed(what: str) -> WeightsRefused:
    """An error that says what is wrong with a signature's form.

    Args:
        what: The predicate of a sentence whose subject is the signature.
    """
    return refuse(
        Reason.MALFORMED,
        f"The model's signature {what}. Sign it again: `tidegate model sign --help`.",
    )
