"""The bundle's form: what is written is read, and nothing else."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from app.errors import WeightsRefused
from app.weights import bundle
from app.weights.manifest import MAX_FILES, Manifest, check_name, in_order
from app.weights.refusal import Reason
from app.weights.statement import manifest_of, statement_of
from tests.unit.weights.signed import KEY, refused

FILES = {"config.json": bytes(32), "a/b.safetensors": bytes(range(32)), "a-b.txt": b"\xff" * 32}
SIZES = {"config.json": 0, "a/b.safetensors": 10, "a-b.txt": 2**40}
MANIFEST = Manifest("tiny", FILES, SIZES, 7)

parts = st.text(st.characters(blacklist_categories=["C"], blacklist_characters="/\\"), min_size=1)
digests = st.binary(min_size=32, max_size=32)
names = (
    st.lists(parts.filter(lambda part: part not in {".", ".."}), min_size=1, max_size=3)
    .map("/".join)
    .filter(lambda name: name != "model.sig" and len(name.encode()) < 200)
)


def test_what_is_signed_is_read_back() -> None:
    signed = bundle.read(bundle.sign(MANIFEST, KEY))
    assert manifest_of(signed.statement) == MANIFEST
    assert signed.hint == bundle.key_hint(KEY.public_key())
    KEY.public_key().verify(signed.signature, signed.message, ec.ECDSA(hashes.SHA256()))


@given(
    st.dictionaries(names, st.tuples(digests, st.integers(0, 2**53 - 1)))
    .filter(bool)
    .filter(lambda found: not any(a.startswith(f"{b}/") for a in found for b in found)),
    st.integers(1, 2**53 - 1),
    st.text(st.characters(blacklist_categories=["C"])),
)
def test_any_manifest_survives(
    found: dict[str, tuple[bytes, int]], version: int, model: str
) -> None:
    files = {name: digest for name, (digest, _) in found.items()}
    sizes = {name: size for name, (_, size) in found.items()}
    manifest = Manifest(model, files, sizes, version)
    assert manifest_of(statement_of(manifest)) == manifest
    assert Manifest.unpacked(json.loads(json.dumps(manifest.packed()))) == manifest


@given(st.binary(max_size=300) | st.text().map(str.encode))
def test_no_bytes_are_more_than_refused(data: bytes) -> None:
    with pytest.raises(WeightsRefused):
        bundle.read(data)
    with pytest.raises(WeightsRefused):
        manifest_of(data)


def test_order_and_root_are_model_signings() -> None:
    assert list(MANIFEST.files) == ["a/b.safetensors", "a-b.txt", "config.json"]
    digests = FILES["a/b.safetensors"] + FILES["a-b.txt"] + FILES["config.json"]
    assert MANIFEST.root == hashlib.sha256(digests).hexdigest()
    assert MANIFEST.weights == ("a/b.safetensors",)
    assert MANIFEST.others == ("a-b.txt", "config.json")
    assert in_order(["b", "a/c", "a-c", "a"]) == ["a", "a/c", "a-c", "b"]


Change = Callable[[dict[str, Any]], object]


def changed(change: Change) -> bytes:
    document = json.loads(bundle.sign(MANIFEST, KEY))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it.update(mediaType="application/json"), "type"),
        (lambda it: it.pop("mediaType"), "mediaType"),
        (lambda it: it.update(dsseEnvelope=[]), "object"),
        (lambda it: it.update(verificationMaterial={"certificate": {}}), "certificates"),
        (lambda it: it["dsseEnvelope"].update(payloadType="text/plain"), "in-toto"),
        (lambda it: it["dsseEnvelope"].update(payload="?"), "base64"),
        (lambda it: it["dsseEnvelope"].update(payload="QR=="), "base64"),
        (lambda it: it["dsseEnvelope"].update(signatures=[]), "0 signatures"),
        (lambda it: it["dsseEnvelope"]["signatures"].append({}), "2 signatures"),
        (lambda it: it["dsseEnvelope"]["signatures"][0].pop("sig"), "sig"),
        (lambda it: it["verificationMaterial"]["publicKey"].update(hint=7), "hint"),
        (lambda it: it["verificationMaterial"]["publicKey"].update(hint="\x1b[2J"), "SHA-256"),
    ],
)
def test_other_bundles_are_refused(change: Change, words: str) -> None:
    with refused(Reason.MALFORMED, words, "tidegate model sign"):
        bundle.read(changed(change))


def test_a_bundle_that_is_too_large_is_not_parsed() -> None:
    with refused(Reason.MALFORMED, "67,108,864"):
        bundle.read(b"{" + b" " * bundle.MAX_BUNDLE)


@pytest.mark.parametrize("data", [b"", b"\xff", b"[]", b"{", b"[" * 100_000, b'{"a":1,"a":1}'])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with refused(Reason.MALFORMED):
        bundle.read(data)


def test_an_old_bundle_has_no_hint() -> None:
    data = changed(lambda it: it["verificationMaterial"]["publicKey"].pop("hint"))
    assert bundle.read(data).hint is None


def stated(change: Change) -> bytes:
    statement = json.loads(statement_of(MANIFEST))
    change(statement)
    return json.dumps(statement).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it.update(_type="https://in-toto.io/Statement/v0.1"), "statement"),
        (lambda it: it.update(predicateType="https://model_signing/Digests/v0.1"), "statement"),
        (lambda it: it.update(subject=[]), "0 models"),
        (lambda it: it["subject"][0].update(name="\x1b[2Jdemo"), "name"),
        (lambda it: it["subject"][0].update(name="\ud800"), "name"),
        (lambda it: it["subject"][0]["digest"].update(sha256="0" * 64), "contradicts"),
        (lambda it: it["predicate"].pop("resources"), "resources"),
        (lambda it: it["predicate"]["resources"].append({}), "name"),
        (lambda it: it["predicate"]["resources"].pop(), "sizes"),
        (
            lambda it: it["predicate"]["resources"].append(it["predicate"]["resources"][0]),
            "twice",
        ),
        (lambda it: it["predicate"]["resources"][0].update(algorithm="blake3"), "SHA-256"),
        (lambda it: it["predicate"]["resources"][0].update(digest="F" * 64), "SHA-256"),
        (lambda it: it["predicate"]["serialization"].update(method="shards"), "shards"),
        (lambda it: it["predicate"]["serialization"].update(hash_type="blake2"), "blake2"),
        (lambda it: it["predicate"]["serialization"].update(allow_symlinks=True), "links"),
        (lambda it: it["predicate"]["tidegate"].update(version=True), "version"),
        (lambda it: it["predicate"]["tidegate"].update(version=-1), "version"),
        (lambda it: it["predicate"]["tidegate"].update(version=1.0), "version"),
        (lambda it: it["predicate"]["tidegate"]["sizes"].update({"config.json": "1"}), "config"),
        (lambda it: it["predicate"]["tidegate"]["sizes"].pop("config.json"), "sizes"),
    ],
)
def test_other_statements_are_refused(change: Change, words: str) -> None:
    with refused(Reason.MALFORMED, words):
        manifest_of(stated(change))


def test_without_our_part_there_is_no_version() -> None:
    manifest = manifest_of(stated(lambda it: it["predicate"].pop("tidegate")))
    assert manifest.version is None
    assert manifest.counted_version == 0
    assert manifest.sizes == {}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/passwd",
        "..",
        "a/../b",
        "../b",
        "a//b",
        "./a",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        "\ud800",
        "x" * 256,
        "/".join("x" * 200 for _ in range(6)),
    ],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with refused(Reason.BAD_PATH):
        check_name(name)
    with refused(Reason.BAD_PATH):
        Manifest("tiny", {name: bytes(32)})


def test_names_that_exclude_each_other_are_refused() -> None:
    with refused(Reason.BAD_PATH, "'a/b'"):
        Manifest("tiny", {"a/b/c": bytes(32), "a/b": bytes(32)})
    with refused(Reason.BAD_PATH, "model.sig"):
        Manifest("tiny", {"model.sig": bytes(32)})


def test_a_manifest_has_files_and_not_too_many() -> None:
    with refused(Reason.MALFORMED):
        Manifest("tiny", {})
    with refused(Reason.MALFORMED, "100,001"):
        Manifest("tiny", {str(number): bytes(32) for number in range(MAX_FILES + 1)})


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (Manifest("tiny", FILES, SIZES, 0), "from 1"),
        (Manifest("tiny", FILES, SIZES, 2**53), "from 1"),
        (Manifest("tiny", FILES, SIZES, None), "version"),
        (Manifest("tiny", FILES, {}, 1), "sizes"),
    ],
)
def test_only_whole_manifests_are_signed(manifest: Manifest, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bundle.sign(manifest, KEY)


def test_other_curves_do_not_sign() -> None:
    with pytest.raises(ValueError, match="secp384r1"):
        bundle.sign(MANIFEST, ec.generate_private_key(ec.SECP384R1()))


def test_pre_authentication_is_that_of_the_specification() -> None:
    # From the protocol's text, with its payload type replaced by ours.
    assert bundle.pre_authentication(b"hello world") == (
        b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"
    )
    signed = json.loads(bundle.sign(MANIFEST, KEY))["dsseEnvelope"]
    assert json.loads(base64.b64decode(signed["payload"]))["subject"][0]["name"] == "tiny"
