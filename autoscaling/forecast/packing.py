"""Arrays in a state that may be kept as JSON."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 1 << 20


def pack(values: NDArray[Any]) -> dict[str, Any]:
    """An array as plain data.

    Args:
        values: Of any shape, of float16, float32 or float64.
    """
    little = values.astype(values.dtype.newbyteorder("<"))
    return {
        "type": values.dtype.name,
        "shape": list(values.shape),
        "data": base64.b64encode(little.tobytes()).decode(),
    }


def unpack(packed: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """The array of plain data.

    Args:
        packed: What `pack` gave, or anything else.
        shape: What it has to have; None where any length will do.

    Raises:
        ValueError: It is something else.
    """
    try:
        kind, sizes, data = packed["type"], tuple(packed["shape"]), packed["data"]
        if kind not in {"float16", "float32", "float64"} or len(data) > MOST_BYTES:
            raise ValueError(f"{kind!r} with {len(data)} characters is no array of a state")
        raw = base64.b64decode(data, validate=True)
        values = np.frombuffer(raw, np.dtype(kind).newbyteorder("<")).reshape(sizes)
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"is no array of a state: {error!r}") from None
    fits = len(shape) == len(sizes) and all(
        want is None or want == size for want, size in zip(shape, sizes, strict=True)
    )
    if not fits:
        raise ValueError(f"an array of a state has shape {sizes}, expected {shape}")
    return values.astype(np.float64)
