"""Ways to tamper with the signature of a model, or to sign what was tampered with."""

import base64
import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from app.weights.bundle import key_hint, pre_authentication
from app.weights.manifest import SIGNATURE_FILE, in_order


def remove_signature(root: Path, _: random.Random) -> None:
    (root / SIGNATURE_FILE).unlink()


def empty_signature(root: Path, _: random.Random) -> None:
    (root / SIGNATURE_FILE).write_bytes(b"")


def truncate_signature(root: Path, rng: random.Random) -> None:
    path = root / SIGNATURE_FILE
    # The last byte is the end of the line.
    os.truncate(path, rng.randrange(path.stat().st_size - 1))


def flip_bit_in_signature(root: Path, rng: random.Random) -> None:
    path = root / SIGNATURE_FILE
    data = bytearray(path.read_bytes())
    document = json.loads(data)
    envelope = document["dsseEnvelope"]
    text = rng.choice(
        [
            envelope["payload"],
            envelope["signatures"][0]["sig"],
            document["verificationMaterial"]["publicKey"]["hint"],
        ]
    )
    data[data.index(text.encode()) + rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def forge_statement(root: Path, rng: random.Random) -> None:
    """Has the statement say what a changed file hashes to, and leaves the signature."""
    _state_a_change(_Bundle(root), rng)


def sign_as_stranger(root: Path, rng: random.Random) -> None:
    """Signs such a statement with a key that nobody knows."""
    bundle = _Bundle(root)
    _state_a_change(bundle, rng)
    key = ec.generate_private_key(ec.SECP256R1())
    bundle.sign(key)
    bundle.document["verificationMaterial"]["publicKey"]["hint"] = key_hint(key.public_key())
    bundle.write()


def sign_under_trusted_hint(root: Path, rng: random.Random) -> None:
    """Does so, and claims that it was the trusted key."""
    bundle = _Bundle(root)
    _state_a_change(bundle, rng)
    bundle.sign(ec.generate_private_key(ec.SECP256R1()))
    bundle.write()


def raise_version(root: Path, rng: random.Random) -> None:
    """Has the statement claim a later version."""
    bundle = _Bundle(root)
    bundle.statement["predicate"]["tidegate"]["version"] += rng.randrange(1, 100)
    bundle.write()


class _Bundle:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.document: dict[str, Any] = json.loads((root / SIGNATURE_FILE).read_bytes())
        payload = base64.b64decode(self.document["dsseEnvelope"]["payload"])
        self.statement: dict[str, Any] = json.loads(payload)

    @property
    def payload(self) -> bytes:
        return json.dumps(self.statement, indent=1).encode()

    def sign(self, key: ec.EllipticCurvePrivateKey) -> None:
        signature = key.sign(pre_authentication(self.payload), ec.ECDSA(hashes.SHA256()))
        encoded = base64.b64encode(signature).decode()
        self.document["dsseEnvelope"]["signatures"][0]["sig"] = encoded

    def write(self) -> None:
        self.document["dsseEnvelope"]["payload"] = base64.b64encode(self.payload).decode()
        (self.root / SIGNATURE_FILE).write_text(json.dumps(self.document))


def _state_a_change(bundle: _Bundle, rng: random.Random) -> None:
    """Changes a file, and the statement so that the two agree again."""
    resources = {entry["name"]: entry for entry in bundle.statement["predicate"]["resources"]}
    name = rng.choice(sorted(resources))
    data = bytearray((bundle.root / name).read_bytes())
    data[-1] ^= 1
    (bundle.root / name).write_bytes(data)
    resources[name]["digest"] = hashlib.sha256(data).hexdigest()
    digests = [bytes.fromhex(resources[each]["digest"]) for each in in_order(resources)]
    root_digest = hashlib.sha256(b"".join(digests)).hexdigest()
    bundle.statement["subject"][0]["digest"]["sha256"] = root_digest
    bundle.write()
