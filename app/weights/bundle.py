"""The file that holds a signature: OpenSSF model-signing's bundle, written and read.

::

    Sigstore bundle v0.3 (JSON)
    └── DSSE envelope: payload, one signature (ECDSA P-256 with SHA-256, DER)
        └── in-toto statement v1: the model's name and root digest
            └── predicate: how the files were serialised, each file's digest, and of ours
                "tidegate": {"version": 3, "sizes": {"config.json": 719}}

Verifiers of the format ignore what they do not know in a predicate, so `model-signing` verifies
what is signed here, and what it signs with a P-256 key is verified here.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.weights.manifest import Manifest
from app.weights.statement import statement_of
from app.weights.strict_json import Part, decoded, malformed, parse

MAX_BUNDLE = 64 * 1024 * 1024
"""Bytes of the largest bundle that is read."""

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_HINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Signed:
    """The parts of a bundle. Nothing in it is to be believed before its signature is verified."""

    statement: bytes
    signature: bytes
    hint: str | None
    """Which key is said to have signed it: SHA-256 of its PEM, in hex. Old bundles have none."""

    @property
    def message(self) -> bytes:
        """The bytes that were signed."""
        return pre_authentication(self.statement)


def pre_authentication(statement: bytes) -> bytes:
    """What DSSE has a key sign instead of the bare statement.

    Args:
        statement: The in-toto statement.
    """
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(statement)} ".encode() + statement


def key_hint(key: ec.EllipticCurvePublicKey) -> str:
    """How a bundle names the key that signed it: SHA-256 of its PEM, in hex.

    Args:
        key: The public key.
    """
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(pem).hexdigest()


def is_p256(key: object) -> bool:
    """Whether a private or public key is one that can be used here: ECDSA on curve P-256.

    Args:
        key: A key as `cryptography` loads it.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey):
        return False
    return isinstance(key.curve, ec.SECP256R1)


def sign(manifest: Manifest, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a manifest.

    Args:
        manifest: What is signed; with a version and the sizes of all files.
        private_key: A P-256 key.

    Returns:
        The bundle, as it is written to a model's folder.

    Raises:
        ValueError: The key is on another curve, or the manifest lacks something.
    """
    if not is_p256(private_key):
        raise ValueError(f"the key is on curve {private_key.curve.name}; only P-256 keys sign here")
    statement = statement_of(manifest)
    signature = private_key.sign(pre_authentication(statement), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": key_hint(private_key.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle, indent=1).encode() + b"\n"


def read(data: bytes) -> Signed:
    """Take a bundle apart, without believing anything of it.

    Args:
        data: The bundle's bytes.

    Raises:
        WeightsRefused: It is not a bundle that was signed with a key.
    """
    if len(data) > MAX_BUNDLE:
        raise malformed(f"has more than {MAX_BUNDLE:,} bytes")
    bundle = Part(parse(data), "bundle")
    if (media_type := bundle.text("mediaType")) != _MEDIA_TYPE:
        raise malformed(f"is of type {media_type[:100]!r}, not {_MEDIA_TYPE}")
    material = bundle.part("verificationMaterial")
    if "publicKey" not in material.value:
        raise malformed("was not signed with a key, and certificates are not believed here")
    public_key = material.part("publicKey")
    envelope = bundle.part("dsseEnvelope")
    if envelope.text("payloadType") != _PAYLOAD_TYPE:
        raise malformed(f"holds something else than {_PAYLOAD_TYPE}")
    signatures = envelope.list("signatures")
    if len(signatures) != 1:
        raise malformed(f"has {len(signatures)} signatures, and must have one")
    hint = public_key.text("hint") if public_key.value.get("hint") else None
    if hint is not None and not _HINT.fullmatch(hint):
        raise malformed("names its key by something else than a SHA-256 in hex")
    return Signed(
        statement=decoded(envelope.text("payload")),
        signature=decoded(Part(signatures[0], "signature").text("sig")),
        hint=hint,
    )
