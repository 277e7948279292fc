"""The header of a safetensors file, parsed as if somebody meant harm.

The file is eight bytes of length (little endian), a JSON object of that length, and the tensors'
bytes one after the other, without holes. A header that says anything else is refused, so that no
byte of a file is outside every tensor, and none belongs to two.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Self

from app.errors import WeightsRefused
from app.weights.refusal import Reason, refuse

LENGTH_BYTES = 8
MAX_HEADER = 100_000_000
"""Bytes of the longest header, as the format has it."""
MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 64
DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}
"""Bits of an element, by the format's names of types."""

_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}
_LARGEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies, and what it is."""

    name: str
    dtype: str
    """The format's name of the type, such as `BF16`."""
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the end of the header (:attr:`Header.data_start`)."""
    end: int
    """The byte after its last one, counted likewise."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says, all of it checked against the file's size."""

    entries: tuple[Entry, ...]
    """The tensors in the order of their bytes."""
    metadata: Mapping[str, str]
    data_start: int
    """Where in the file the tensors begin."""

    @classmethod
    def parse(cls, text: bytes, size: int) -> Self:
        """Parse the JSON between the length and the tensors.

        Args:
            text: The JSON, as long as the file's first eight bytes say.
            size: Bytes of the whole file.

        Raises:
            WeightsRefused: It is not what the format demands; the reason is `bad_header`.
        """
        # The format has it begin with the brace, and padded with spaces.
        if not text.startswith(b"{"):
            raise _bad("does not begin with '{'")
        try:
            document = json.loads(
                text.decode(), object_pairs_hook=_unique, parse_float=_no, parse_constant=_no
            )
        except (ValueError, RecursionError):
            raise _bad("is not a JSON object in UTF-8 with unique keys") from None
        metadata = _metadata(document.pop(_METADATA, {}))
        entries = sorted(
            (_entry(name, value) for name, value in document.items()),
            key=lambda entry: (entry.begin, entry.end),
        )
        data_start = LENGTH_BYTES + len(text)
        at = 0
        for entry in entries:
            if entry.begin != at:
                what = "overlaps another one" if entry.begin < at else "leaves a hole before it"
                raise _bad(f"has tensor {entry.name!r} begin at byte {entry.begin}, which {what}")
            at = entry.end
        if data_start + at != size:
            raise _bad(
                f"accounts for {data_start + at:,} bytes, and the file has {size:,}", truncated=True
            )
        return cls(tuple(entries), metadata, data_start)


def header_length(prefix: bytes, size: int) -> int:
    """Length of the JSON that follows a file's first eight bytes.

    Args:
        prefix: The first eight bytes.
        size: Bytes of the whole file.

    Raises:
        WeightsRefused: It is longer than a header may be, or than the file.
    """
    if len(prefix) != LENGTH_BYTES:
        raise _bad("is missing: the file is too short", truncated=True)
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER:
        raise _bad(f"is said to have {length:,} bytes, more than {MAX_HEADER:,}")
    if length > size - LENGTH_BYTES:
        raise _bad(f"is said to have {length:,} bytes, in a file of {size:,}", truncated=True)
    return length


def read_header(file: BinaryIO, size: int) -> Header:
    """Read and check the header of a file, from its beginning.

    Args:
        file: The file, at its first byte; afterwards it is at its first tensor.
        size: Bytes of the whole file.

    Raises:
        WeightsRefused: The header is too large or not well formed; the reason is `bad_header`.
        OSError: The file cannot be read.
    """
    length = header_length(_read(file, LENGTH_BYTES), size)
    return Header.parse(_read(file, length), size)


def header_bytes(file: BinaryIO, size: int) -> bytes:
    """What stands before the first tensor of a file: the header's length, and the header.

    Args:
        file: The file, at its first byte.
        size: Bytes of the whole file.

    Raises:
        WeightsRefused: The header is too large; the reason is `bad_header`.
        OSError: The file cannot be read.
    """
    length = _read(file, LENGTH_BYTES)
    return length + _read(file, header_length(length, size))


def _read(file: BinaryIO, count: int) -> bytes:
    parts = []
    while count and (part := file.read(count)):
        parts.append(part)
        count -= len(part)
    if count:
        raise _bad("is cut short", truncated=True)
    return b"".join(parts)


def _metadata(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise _bad(f"has a {_METADATA} that is not an object of texts")
    return value


def _entry(name: str, value: Any) -> Entry:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise _bad(f"has the name {name[:100]!r}, which is not text") from None
    if not 1 <= length <= MAX_NAME_BYTES:
        raise _bad(f"has a name of {length} bytes, and it must be 1 to {MAX_NAME_BYTES}")
    if not isinstance(value, dict) or value.keys() != _FIELDS:
        raise _bad(f"has something else than dtype, shape and data_offsets for {name!r}")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        raise _bad(f"has {str(dtype)[:40]!r} for the type of {name!r}")
    if not _numbers(shape) or len(shape) > MAX_DIMENSIONS:
        raise _bad(f"has a shape of {name!r} that is no list of up to {MAX_DIMENSIONS} sizes")
    if not _numbers(offsets) or len(offsets) != 2:
        raise _bad(f"has data_offsets of {name!r} that are not two positions")
    begin, end = offsets
    wanted, rest = divmod(math.prod(shape) * bits, 8)
    if rest or end - begin != wanted:
        raise _bad(
            f"gives {name!r} {end - begin} bytes, and {dtype} of shape {shape[:8]} takes {wanted}"
        )
    return Entry(name, dtype, tuple(shape), begin, end)


def _numbers(value: Any) -> bool:
    # bool is an int in Python, and true is no size.
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item <= _LARGEST for item in value
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no(text: str) -> Any:
    raise ValueError(f"{text} is no whole number")


def _bad(what: str, *, truncated: bool = False) -> WeightsRefused:
    way_out = "fetch the file again" if truncated else "save it again with the safetensors package"
    return refuse(Reason.BAD_HEADER, f"A safetensors header {what}: {way_out}.")
