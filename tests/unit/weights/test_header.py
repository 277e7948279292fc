"""Headers of safetensors files: what the package writes is read, anything else is refused."""

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from app.errors import WeightsRefused
from app.weights.refusal import Reason
from app.weights.safetensors_header import MAX_HEADER, Entry, Header, header_length, read_header
from tests.unit.weights.signed import refused, safetensors, with_header

DTYPES = (np.float32, np.float16, np.int64, np.uint8, np.bool_, np.complex64)


def read(data: bytes) -> Header:
    return read_header(io.BytesIO(data), len(data))


def one(**fields: Any) -> bytes:
    """A file with one tensor of eight bytes, its header's fields replaced."""
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | fields
    return with_header(json.dumps({"w": tensor}).encode(), bytes(8))


@given(
    st.dictionaries(
        st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=20).filter(
            lambda name: name != "__metadata__"
        ),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4)),
        # Without tensors the package may write what is not JSON.
        min_size=1,
        max_size=8,
    ),
    st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)
def test_what_the_package_writes_is_read(
    wanted: dict[str, tuple[Any, list[int]]], metadata: dict[str, str] | None
) -> None:
    arrays = {name: np.zeros(shape, dtype) for name, (dtype, shape) in wanted.items()}
    data = save(arrays, metadata)
    header = read(data)
    assert {entry.name: entry.shape for entry in header.entries} == {
        name: array.shape for name, array in arrays.items()
    }
    assert header.metadata == (metadata or {})
    assert header.data_start + sum(array.nbytes for array in arrays.values()) == len(data)
    assert all(a.end == b.begin for a, b in zip(header.entries, header.entries[1:], strict=False))


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_no_bytes_are_more_than_refused(text: bytes, data: bytes) -> None:
    for whole in (text, with_header(text, data), with_header(b"{" + text, data)):
        try:
            read(whole)
        except WeightsRefused as error:
            assert error.reason == Reason.BAD_HEADER


def test_entries_are_in_the_order_of_their_bytes() -> None:
    data = safetensors({"b": ("F32", [1], bytes(4)), "a": ("U8", [2, 1], bytes(2))})
    assert read(data).entries == (Entry("b", "F32", (1,), 0, 4), Entry("a", "U8", (2, 1), 4, 6))


def test_half_a_byte_is_an_element() -> None:
    assert read(one(dtype="F4", shape=[16])).entries[0].shape == (16,)
    with refused(Reason.BAD_HEADER, "[15]"):
        read(one(dtype="F4", shape=[15]))


def test_padding_behind_the_object_is_the_formats() -> None:
    text = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    assert read(with_header(text + b"   ", bytes(8))).data_start == 8 + len(text) + 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dtype": "F33"}, "F33"),
        ({"dtype": ["F32"]}, "type"),
        ({"dtype": None}, "type"),
        ({"shape": [3]}, "takes 12"),
        ({"shape": [-2]}, "shape"),
        ({"shape": [2.0]}, "JSON"),
        ({"shape": [True, 2]}, "shape"),
        ({"shape": 2}, "shape"),
        ({"shape": [2**63]}, "shape"),
        ({"shape": [2**62, 2**62, 0, 4]}, "takes 0"),
        ({"shape": [1] * 65}, "64"),
        ({"data_offsets": [0]}, "data_offsets"),
        ({"data_offsets": [8, 0]}, "bytes"),
        ({"data_offsets": [-8, 0]}, "data_offsets"),
        ({"data_offsets": [8, 16]}, "hole"),
        ({"data_offsets": [0, float("nan")]}, "JSON"),
        ({"data_offsets": [0, 1e300]}, "JSON"),
        ({"extra": 1}, "data_offsets"),
    ],
)
def test_tensors_that_are_none_are_refused(fields: dict[str, Any], words: str) -> None:
    with refused(Reason.BAD_HEADER, words):
        read(one(**fields))


def test_tensors_that_overlap_are_refused() -> None:
    tensor = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    with refused(Reason.BAD_HEADER, "overlaps"):
        read(with_header(json.dumps({"a": tensor, "b": tensor}).encode(), bytes(16)))


@pytest.mark.parametrize("data", [bytes(7), bytes(9)])
def test_tensors_fill_the_file(data: bytes) -> None:
    text = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    with refused(Reason.BAD_HEADER, "accounts for", "fetch"):
        read(with_header(text, data))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" {}",
        b"[]",
        b'{"w":',
        b"{}{}",
        b'{"\xff":1}',
        b'{"w":1}',
        b'{"__metadata__":[]}',
        b'{"__metadata__":{"format":1}}',
        b'{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{}}',
        b'{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"w":' + b"[" * 100_000,
        b'{"' + b"w" * 1025 + b'":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"w":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}',
    ],
)
def test_other_headers_are_refused(text: bytes) -> None:
    with refused(Reason.BAD_HEADER):
        read(with_header(text))


def test_a_header_that_is_too_large_is_not_read() -> None:
    with refused(Reason.BAD_HEADER, "100,000,001"):
        header_length(struct.pack("<Q", MAX_HEADER + 1), 2**40)
    with refused(Reason.BAD_HEADER, "in a file of 20"):
        header_length(struct.pack("<Q", 13), 20)
    assert header_length(struct.pack("<Q", MAX_HEADER), 2**40) == MAX_HEADER


@pytest.mark.parametrize("size", [0, 7, 8, 20])
def test_a_header_that_is_cut_short_is_refused(size: int) -> None:
    with refused(Reason.BAD_HEADER):
        read(one()[:size])
    # Cut after its size was asked for.
    with refused(Reason.BAD_HEADER):
        read_header(io.BytesIO(one()[:size]), 10_000)
