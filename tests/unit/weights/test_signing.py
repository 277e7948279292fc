"""Folders signed and verified whole, and tampered with in every way we know."""

import hashlib
import os
import random
import shutil
import threading
from itertools import islice
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.config.weights import TrustedKey
from app.errors import WeightsRefused
from app.weights.hashing import CHUNK, hash_file, hash_tree
from app.weights.manifest import SIGNATURE_FILE
from app.weights.refusal import Reason
from app.weights.ring import KeyRing
from app.weights.signing import read_signature, sign_model, verify_model
from benchmarks.weights.mutations import KINDS, mutations
from tests.unit.weights.signed import KEY, NOW, make_model, refused, signed_model, verify

ROOT = Path(__file__).parents[3]


def test_a_signed_folder_verifies(tmp_path: Path) -> None:
    root = signed_model(tmp_path / "tiny")
    manifest = verify(root)
    assert (manifest.name, manifest.version) == ("tiny", 3)
    for name, digest in manifest.files.items():
        content = (root / name).read_bytes()
        assert digest == hashlib.sha256(content).digest()
        assert manifest.sizes[name] == len(content)
    assert list(manifest.files)[-2:] == ["text/chat_template.jinja", "text-2.txt"]


def test_signing_again_replaces_the_signature(tmp_path: Path) -> None:
    root = signed_model(tmp_path / "tiny")
    assert sign_model(root, "tiny", 4, KEY) == root / SIGNATURE_FILE
    assert verify(root, least_version=4).version == 4
    assert (root / SIGNATURE_FILE).stat().st_mode & 0o777 == 0o644
    assert not list(root.glob(".model.sig*"))


def test_what_would_be_refused_is_not_signed(tmp_path: Path) -> None:
    root = make_model(tmp_path / "tiny")
    (root / "modeling.py").write_text("import os")
    with refused(Reason.FORBIDDEN_TYPE, "modeling.py"):
        sign_model(root, "tiny", 1, KEY)
    (root / "modeling.py").unlink()
    (root / "model-1.safetensors").write_bytes(b"{}")
    with refused(Reason.BAD_HEADER, "model-1.safetensors"):
        sign_model(root, "tiny", 1, KEY)
    (root / "model-1.safetensors").unlink()
    (root / "link").symlink_to("config.json")
    with refused(Reason.LINK):
        sign_model(root, "tiny", 1, KEY)
    assert not (root / SIGNATURE_FILE).exists()


def test_versions_and_keys_are_checked_before_anything_is_hashed(tmp_path: Path) -> None:
    root = make_model(tmp_path / "tiny")
    with pytest.raises(ValueError, match="from 1"):
        sign_model(root, "tiny", 0, KEY)
    with pytest.raises(ValueError, match="secp521r1"):
        sign_model(root, "tiny", 1, ec.generate_private_key(ec.SECP521R1()))
    (tmp_path / "empty").mkdir()
    with refused(Reason.MISSING_FILE):
        sign_model(tmp_path / "empty", "tiny", 1, KEY)


def test_no_signature(tmp_path: Path) -> None:
    root = make_model(tmp_path / "tiny")
    with refused(Reason.UNSIGNED, "tidegate model sign"):
        verify(root)
    (root / SIGNATURE_FILE).symlink_to(signed_model(tmp_path / "other") / SIGNATURE_FILE)
    with refused(Reason.LINK):
        verify(root)


def test_a_signature_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    root = make_model(tmp_path / "tiny")
    (root / SIGNATURE_FILE).write_bytes(b"")
    os.truncate(root / SIGNATURE_FILE, 2**40)
    with refused(Reason.MALFORMED, "1,099,511,627,776"):
        read_signature(root)


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    root = signed_model(tmp_path / "tiny")
    told: list[tuple[int, int]] = []
    manifest = verify(root, progress=lambda done, total: told.append((done, total)))
    total = sum(manifest.sizes.values())
    assert told[-1] == (total, total)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_file_is_hashed_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = random.Random(1).randbytes(CHUNK + 12345)
    path.write_bytes(content)
    told: list[int] = []
    assert hash_file(path, told.append) == hashlib.sha256(content).digest()
    assert sum(told) == len(content)
    assert max(told) <= CHUNK


def test_files_are_hashed_at_the_same_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    together = threading.Barrier(2, timeout=5)

    def meet(_: int) -> None:
        together.wait()

    digests = hash_tree(tmp_path, ["a", "b"], 2, meet)
    assert digests == {name: hashlib.sha256(name.encode()).digest() for name in ("a", "b")}


def test_only_regular_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with refused(Reason.LINK):
            hash_file(tmp_path / name)
    with refused(Reason.MISSING_FILE):
        hash_file(tmp_path / "nothing")


def test_no_mutation_is_accepted(tmp_path: Path) -> None:
    signed = signed_model(tmp_path / "tiny")
    accepted, seen = [], set()
    for number, mutation in enumerate(islice(mutations(signed, random.Random(5)), 2 * len(KINDS))):
        root = tmp_path / str(number)
        shutil.copytree(signed, root)
        verify(root)
        mutation.apply(root)
        try:
            verify(root)
        except WeightsRefused as error:
            assert Reason(error.reason)
        else:
            accepted.append(mutation)
        seen.add(mutation.name)
    assert not accepted
    assert seen == set(KINDS)
    assert len(KINDS) >= 30


def test_mutations_of_weights_leave_the_rest_alone(tmp_path: Path) -> None:
    signed = signed_model(tmp_path / "tiny")
    for number, mutation in enumerate(islice(mutations(signed, random.Random(6)), len(KINDS))):
        if mutation.weights_only:
            root = tmp_path / str(number)
            shutil.copytree(signed, root)
            mutation.apply(root)
            for path in signed.rglob("*"):
                other = root / path.relative_to(signed)
                assert other.is_dir() or other.stat().st_size == path.stat().st_size
                if other.is_file() and path.suffix != ".safetensors":
                    assert other.read_bytes() == path.read_bytes()


def test_the_demo_model_is_signed() -> None:
    key = TrustedKey(id="demo", public_key=(ROOT / "models/demo.pub").read_text())
    manifest = verify_model(ROOT / "models/demo", KeyRing([key]), model="demo", now=NOW)
    assert manifest.version == 1
    assert manifest.weights == ("model.safetensors",)


def test_every_reason_is_explained() -> None:
    page = (ROOT / "docs/weights.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []
