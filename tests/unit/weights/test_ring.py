"""Whose signature is believed, on what, until when, and down to which version."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from app.errors import ConfigError
from app.weights import bundle
from app.weights.key_files import public_pem
from app.weights.manifest import Manifest
from app.weights.refusal import Reason
from app.weights.ring import KeyRing
from tests.unit.weights.signed import DAY, KEY, NOW, RING, STRANGER, refused, trusted

FILES = {"config.json": bytes(32)}


def manifest(version: int = 3, name: str = "tiny") -> Manifest:
    return Manifest(name, FILES, {"config.json": 4}, version)


SIGNED = bundle.sign(manifest(), KEY)


def verify(data: bytes, ring: KeyRing = RING, **asked: Any) -> Manifest:
    wanted: dict[str, Any] = {"model": "tiny", "least_version": 0, "now": NOW} | asked
    return ring.verify(data, **wanted)


def without_hint(data: bytes) -> bytes:
    document = json.loads(data)
    del document["verificationMaterial"]["publicKey"]["hint"]
    return json.dumps(document).encode()


def test_a_trusted_signature_is_believed() -> None:
    assert verify(SIGNED) == manifest()
    assert verify(SIGNED, least_version=3) == manifest()
    assert RING.key_of(SIGNED) == "release"


def test_an_unknown_key_is_refused() -> None:
    with refused(Reason.UNKNOWN_KEY, bundle.key_hint(STRANGER.public_key())):
        verify(bundle.sign(manifest(), STRANGER))
    with refused(Reason.UNKNOWN_KEY):
        verify(SIGNED, KeyRing([]))
    with refused(Reason.UNKNOWN_KEY):
        RING.key_of(bundle.sign(manifest(), STRANGER))


def test_without_a_hint_every_key_is_tried() -> None:
    ring = KeyRing([trusted(STRANGER, id="other"), trusted()])
    assert verify(without_hint(SIGNED), ring) == manifest()
    assert ring.key_of(without_hint(SIGNED)) == "release"
    with refused(Reason.UNKNOWN_KEY, "1 keys"):
        verify(without_hint(SIGNED), KeyRing([trusted(STRANGER)]))


def test_a_key_is_believed_until_it_expires() -> None:
    ring = KeyRing([trusted(expires_at=NOW + DAY)])
    assert verify(SIGNED, ring) == manifest()
    with refused(Reason.EXPIRED_KEY, "'release'", "2026-06-02 00:00 UTC"):
        verify(SIGNED, ring, now=NOW + DAY)
    with refused(Reason.EXPIRED_KEY):
        verify(SIGNED, ring, now=NOW + timedelta(days=400))


def test_a_revoked_key_is_refused_at_any_time() -> None:
    ring = KeyRing([trusted(revoked=True, expires_at=NOW + DAY)])
    for days in (-1000, 0, 1000):
        with refused(Reason.REVOKED_KEY, "'release'"):
            verify(SIGNED, ring, now=NOW + timedelta(days=days))


def test_a_key_signs_its_models_only() -> None:
    assert verify(SIGNED, KeyRing([trusted(models=["other", "tiny"])])) == manifest()
    with refused(Reason.KEY_NOT_FOR_MODEL, "other"):
        verify(SIGNED, KeyRing([trusted(models=["other"])]))
    with refused(Reason.KEY_NOT_FOR_MODEL, "nothing"):
        verify(SIGNED, KeyRing([trusted(models=[])]))


def test_a_model_does_not_pass_for_another() -> None:
    with refused(Reason.OTHER_MODEL, "'tiny'", "'large'"):
        verify(SIGNED, model="large")


def test_versions_only_go_up() -> None:
    with refused(Reason.OLDER_VERSION, "version 3", "version 4"):
        verify(SIGNED, least_version=4)


def restated(change: dict[str, Any], *, sign: bool) -> bytes:
    """The bundle with its predicate's fields replaced or taken out, signed anew or not."""
    document = json.loads(SIGNED)
    envelope = document["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    predicate = statement["predicate"] | change
    statement["predicate"] = {key: value for key, value in predicate.items() if value is not None}
    payload = json.dumps(statement).encode()
    envelope["payload"] = base64.b64encode(payload).decode()
    if sign:
        signature = KEY.sign(bundle.pre_authentication(payload), ec.ECDSA(hashes.SHA256()))
        envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    return json.dumps(document).encode()


def test_without_a_version_it_counts_as_the_oldest() -> None:
    data = restated({"tidegate": None}, sign=True)
    # The name of such a statement is that of a folder, which says nothing.
    assert verify(data, model="large").version is None
    with refused(Reason.OLDER_VERSION, "no version"):
        verify(data, least_version=1)


def test_what_the_signature_does_not_cover_is_never_looked_at() -> None:
    # Malformed, and said to be for another model: but it is the signature that is refused.
    for change in ({"resources": None}, {"tidegate": {"version": 99}}):
        with refused(Reason.BAD_SIGNATURE, "'release'"):
            verify(restated(change, sign=False), model="other", least_version=1000)
        with refused(Reason.MALFORMED):
            verify(restated(change, sign=True))


@pytest.mark.parametrize("signature", [b"", b"\x30", bytes(64), bytes.fromhex("3006020100020100")])
def test_other_bytes_are_no_signature(signature: bytes) -> None:
    document = json.loads(SIGNED)
    document["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(signature).decode()
    with refused(Reason.BAD_SIGNATURE):
        verify(json.dumps(document).encode())


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "models/demo.pub",
        public_pem(ec.generate_private_key(ec.SECP384R1()).public_key()).decode(),
        # An Ed25519 key writes its PEM by the same method.
        public_pem(ed25519.Ed25519PrivateKey.generate().public_key()).decode(),  # type: ignore[arg-type]
    ],
)
def test_only_p256_keys_are_in_a_ring(pem: str) -> None:
    with pytest.raises(ConfigError, match=r"weights\.keys\[1\]\.public_key"):
        KeyRing([trusted(), trusted(STRANGER).model_copy(update={"public_key": pem})])


def test_a_key_is_in_the_ring_once() -> None:
    # Otherwise a revoked key could go on under another id.
    with pytest.raises(ConfigError, match="'again' is the same key as 'release'"):
        KeyRing([trusted(), trusted(id="again")])
