"""Redaction of a request before it is rendered."""

from collections.abc import Callable, Collection
from typing import Any

from app.errors import ContentRefused
from app.guards.personal import find, redact

_KEPT = frozenset({"model"})
"""Fields of the body itself that choose what serves it, and never reach the model."""


def redact_body(
    body: dict[str, Any], kinds: Collection[str], *, decoded: str = ""
) -> dict[str, Any]:
    """A copy of a request's body with placeholders for what was found in any of its texts.

    Args:
        body: the parsed body; it is left as it is.
        kinds: what to replace.
        decoded: the text of prompts that were sent as token ids, which have no place for a
            placeholder.

    Returns:
        The copy. Numbers, names of fields and `model` are as they were.

    Raises:
        ContentRefused: what was found cannot be replaced where it stands.
    """
    if decoded and any(finding.kind in kinds for finding in find(decoded)):
        raise ContentRefused(
            "the prompt is sent as token ids, and what was found in its text can only be redacted "
            "in text: send the prompt as text, or without personal data and secrets",
            param="prompt",
        )
    texts: list[str] = []
    names: list[str] = []

    def replaced(text: str) -> str:
        texts.append(redact(text, kinds))
        return texts[-1]

    copy = {
        name: value if name in _KEPT else _each_text(value, replaced, names)
        for name, value in body.items()
    }
    # A name cannot be changed without changing what it names; and some things, such as a private
    # key, may stretch over several texts that are it only together.
    left = (*find("\n".join(texts)), *find("\n".join(names)))
    if any(finding.kind in kinds for finding in left):
        raise ContentRefused(
            "what was found stands in the name of a field, or stretches over several messages or "
            "parts, where it cannot be redacted: take it out, or join the parts"
        )
    return copy


def _each_text(value: Any, replaced: Callable[[str], str], names: list[str]) -> Any:
    """A copy of a JSON value with each string replaced, in the order of the text.

    Args:
        value: what to copy.
        replaced: called with each string.
        names: gets the name of each field on the way.
    """
    root = [value]
    # Iterative, since how deep it nests is the client's choice: each entry is a place to fill.
    stack: list[tuple[Any, Any]] = [(root, 0)]
    while stack:
        holder, place = stack.pop()
        item = holder[place]
        if isinstance(item, str):
            holder[place] = replaced(item)
        elif isinstance(item, dict):
            holder[place] = item = dict(item)
            stack.extend((item, name) for name in reversed(item))
        elif isinstance(item, list):
            holder[place] = item = list(item)
            # Thousands of token ids need no look at each of them.
            if any(not isinstance(each, int) for each in item):
                stack.extend((item, index) for index in reversed(range(len(item))))
        if isinstance(holder, dict):
            names.append(place)
    return root[0]
