"""OpenSSF's own package verifies what we sign, and we verify what it signs."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.weights import bundle
from app.weights.key_files import public_pem
from app.weights.manifest import SIGNATURE_FILE
from app.weights.refusal import Reason
from app.weights.ring import KeyRing
from tests.unit.weights.signed import KEY, make_model, refused, signed_model, trusted, verify

# Half typed, which mypy would have us mend.
package: Any = importlib.import_module("model_signing")
ROOT = Path(__file__).parents[3]


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "release.pub"
    path.write_bytes(public_pem(KEY.public_key()))
    return path


@pytest.fixture
def private(tmp_path: Path) -> Path:
    path = tmp_path / "release.key"
    path.write_bytes(
        KEY.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def verify_with_package(root: Path, public: Path) -> None:
    config = package.verifying.Config().use_elliptic_key_verifier(public_key=public)
    config.verify(root, root / SIGNATURE_FILE)


def sign_with_package(root: Path, private: Path, hashing: Any = None) -> None:
    config = package.signing.Config().use_elliptic_key_signer(private_key=private)
    if hashing is None:
        hashing = package.hashing.Config().set_ignored_paths(paths=[root / SIGNATURE_FILE])
    config.set_hashing_config(hashing).sign(root, root / SIGNATURE_FILE)


def test_the_package_verifies_what_we_sign(tmp_path: Path, public: Path) -> None:
    root = signed_model(tmp_path / "tiny")
    verify_with_package(root, public)
    (root / ".gitattributes").write_text("ignored by both")
    verify_with_package(root, public)
    verify(root)
    (root / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json"):
        verify_with_package(root, public)


def test_the_package_verifies_the_demo_model() -> None:
    verify_with_package(ROOT / "models/demo", ROOT / "models/demo.pub")


def test_the_package_refuses_another_key(tmp_path: Path) -> None:
    root = signed_model(tmp_path / "tiny")
    other = tmp_path / "other.pub"
    other.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    with pytest.raises(ValueError, match="Key mismatch"):
        verify_with_package(root, other)


def test_we_verify_what_the_package_signs(tmp_path: Path, private: Path) -> None:
    theirs, ours = make_model(tmp_path / "folder"), signed_model(tmp_path / "tiny")
    sign_with_package(theirs, private)
    # The name that it writes is the folder's.
    manifest = verify(theirs, model="tiny")
    assert (manifest.name, manifest.version) == ("folder", None)
    assert manifest.files == verify(ours).files
    assert manifest.root == verify(ours).root
    with refused(Reason.OLDER_VERSION):
        verify(theirs, least_version=1)
    (theirs / "extra.json").write_text("{}")
    with refused(Reason.EXTRA_FILE):
        verify(theirs)
    (theirs / "extra.json").unlink()
    (theirs / "config.json").write_text("{}")
    with refused(Reason.CHANGED_FILE):
        verify(theirs)


def test_what_it_signs_verifies_with_itself_after_we_read_it(
    tmp_path: Path, public: Path, private: Path
) -> None:
    root = make_model(tmp_path / "tiny")
    sign_with_package(root, private)
    data = (root / SIGNATURE_FILE).read_bytes()
    assert bundle.read(data).hint == bundle.key_hint(KEY.public_key())
    verify(root)
    assert (root / SIGNATURE_FILE).read_bytes() == data
    verify_with_package(root, public)


def test_its_other_curves_are_not_in_our_rings(tmp_path: Path, private: Path) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    root = make_model(tmp_path / "tiny")
    sign_with_package(root, private)
    with refused(Reason.UNKNOWN_KEY):
        verify(root, KeyRing([trusted()]))


@pytest.mark.parametrize("method", ["shards", "blake2", "links"])
def test_its_other_ways_to_hash_are_refused_by_name(
    tmp_path: Path, private: Path, method: str
) -> None:
    root = make_model(tmp_path / "tiny")
    hashing = package.hashing.Config()
    if method == "shards":
        hashing.use_shard_serialization(shard_size=100)
    elif method == "blake2":
        hashing.use_file_serialization(hashing_algorithm="blake2")
    else:
        hashing.set_allow_symlinks(allow_symlinks=True)
    sign_with_package(root, private, hashing.set_ignored_paths(paths=[root / SIGNATURE_FILE]))
    with refused(Reason.MALFORMED, method):
        verify(root)


def test_the_two_write_the_same_structure(tmp_path: Path, private: Path) -> None:
    ours, theirs = signed_model(tmp_path / "ours"), make_model(tmp_path / "theirs")
    sign_with_package(theirs, private)

    def structure(value: object) -> object:
        if isinstance(value, dict):
            return {key: structure(item) for key, item in value.items() if item is not None}
        return [structure(item) for item in value] if isinstance(value, list) else type(value)

    documents = [json.loads((root / SIGNATURE_FILE).read_bytes()) for root in (ours, theirs)]
    assert structure(documents[0]) == structure(documents[1])
