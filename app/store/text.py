"""Text from outside, made to fit a column."""

import hashlib
import re

from sqlalchemy import Column, String

# PostgreSQL stores neither; SQLite would. One such text must not stop a whole transaction.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_DIGEST = 16


def fit(column: "Column[str]", value: str) -> str:
    """Make a text storable in a column: the same text for the same input, on both databases.

    What cannot be stored becomes U+FFFD. What is too long keeps its beginning and gets a digest of
    the whole, so that two long texts do not become one.
    """
    if _UNSTORABLE.search(value):
        value = _UNSTORABLE.sub("\ufffd", value)
    limit = column.type.length if isinstance(column.type, String) else None
    if limit is None or len(value) <= limit:
        return value
    digest = hashlib.sha256(value.encode()).hexdigest()[:_DIGEST]
    return f"{value[: limit - _DIGEST - 1]}~{digest}"
