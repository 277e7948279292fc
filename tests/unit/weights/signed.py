"""A tiny model, keys, and how tests ask."""

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.weights import TrustedKey
from app.errors import WeightsRefused
from app.weights.key_files import public_pem
from app.weights.manifest import Manifest
from app.weights.refusal import Reason
from app.weights.ring import KeyRing
from app.weights.signing import sign_model, verify_model

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())


def trusted(key: ec.EllipticCurvePrivateKey = KEY, **fields: Any) -> TrustedKey:
    pem = public_pem(key.public_key()).decode()
    return TrustedKey(**{"id": "release", "public_key": pem} | fields)


RING = KeyRing([trusted()])


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    header, data = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    return with_header(json.dumps(header).encode(), data)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def make_model(root: Path) -> Path:
    """An unsigned model: two files of weights and what belongs to them."""
    (root / "text").mkdir(parents=True)
    for number in (1, 2):
        tensors = {
            f"layers.{number}.up": ("F32", [16, 8], bytes(range(256)) * 2),
            f"layers.{number}.to": ("BF16", [3], b"abcdef"),
            "empty": ("U8", [0], b""),
        }
        (root / f"model-{number}.safetensors").write_bytes(safetensors(tensors))
    (root / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (root / "text" / "chat_template.jinja").write_text("{{ messages }}")
    # Sorts before text/ as a string, and behind it by its parts.
    (root / "text-2.txt").write_text("more")
    return root


def signed_model(root: Path, version: int = 3) -> Path:
    make_model(root)
    sign_model(root, "tiny", version, KEY)
    return root


def verify(root: Path, ring: KeyRing = RING, **asked: Any) -> Manifest:
    wanted: dict[str, Any] = {"model": "tiny", "now": NOW} | asked
    return verify_model(root, ring, **wanted)


@contextmanager
def refused(reason: Reason, *words: str) -> Iterator[None]:
    with pytest.raises(WeightsRefused) as caught:
        yield
    assert caught.value.reason == reason, caught.value
    for word in words:
        assert word in caught.value.message
    # What is wrong, and the way out.
    assert len(caught.value.message) > 40
