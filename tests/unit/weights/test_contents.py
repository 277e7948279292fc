"""What may lie in a model's folder."""

import os
import pickle
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.weights.contents import (
    PLAIN_LIMIT,
    check_beginning,
    check_headers,
    check_names,
    check_tree,
    files_of,
)
from app.weights.manifest import Manifest
from app.weights.refusal import Reason
from tests.unit.weights.signed import make_model, refused

NAMES = [
    "config.json",
    "model-1.safetensors",
    "model-2.safetensors",
    "text-2.txt",
    "text/chat_template.jinja",
]


def manifest_for(root: Path, *, sizes: bool = True) -> Manifest:
    found = dict(files_of(root))
    return Manifest("tiny", dict.fromkeys(found, bytes(32)), found if sizes else {}, 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny")


def test_a_folder_with_what_was_signed_is_fine(root: Path) -> None:
    assert sorted(name for name, _ in files_of(root)) == NAMES
    manifest = manifest_for(root)
    check_tree(root, manifest)
    check_headers(root, manifest.weights)


def test_version_control_is_left_out_but_for_what_was_signed(root: Path) -> None:
    manifest = manifest_for(root)
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").write_text("ref")
    (root / ".git" / "hooks").symlink_to("/etc")
    (root / ".gitattributes").write_text("*.safetensors lfs")
    check_tree(root, manifest)
    # Only at the top: elsewhere it is a file like any other.
    (root / "text" / ".gitignore").write_text("")
    with refused(Reason.EXTRA_FILE, "text/.gitignore"):
        check_tree(root, manifest)
    (root / "text" / ".gitignore").unlink()
    signed = Manifest("tiny", dict(manifest.files) | {".gitattributes": bytes(32)})
    check_tree(root, signed)
    (root / ".gitattributes").unlink()
    with refused(Reason.MISSING_FILE, ".gitattributes"):
        check_tree(root, signed)


def test_extra_and_missing_files_are_named(root: Path) -> None:
    manifest = manifest_for(root)
    for number in range(7):
        (root / f"extra-{number}").write_text("")
    with refused(Reason.EXTRA_FILE, "'extra-0'", "and 2 more"):
        check_tree(root, manifest)
    for number in range(7):
        (root / f"extra-{number}").unlink()
    (root / "config.json").unlink()
    with refused(Reason.MISSING_FILE, "config.json"):
        check_tree(root, manifest)


def test_sizes_are_compared_where_they_were_signed(root: Path) -> None:
    manifest, without = manifest_for(root), manifest_for(root, sizes=False)
    with (root / "config.json").open("a") as file:
        file.write(" ")
    check_tree(root, without)
    with refused(Reason.CHANGED_FILE, "config.json", "were signed"):
        check_tree(root, manifest)


@pytest.mark.parametrize("target", ["config.json", "/etc/hostname", "..", "nowhere"])
def test_links_are_refused_wherever_they_lead(root: Path, target: str) -> None:
    manifest = manifest_for(root)
    (root / "text" / "link.json").symlink_to(target)
    with refused(Reason.LINK, "text/link.json"):
        check_tree(root, manifest)
    with refused(Reason.LINK):
        list(files_of(root))


def test_a_link_in_place_of_a_folder_is_refused(root: Path) -> None:
    manifest = manifest_for(root)
    (root / "text").rename(root.parent / "text")
    (root / "text").symlink_to(root.parent / "text")
    with refused(Reason.LINK, "text"):
        check_tree(root, manifest)


def test_special_files_are_refused(root: Path) -> None:
    manifest = manifest_for(root)
    os.mkfifo(root / "pipe")
    with refused(Reason.LINK, "pipe"):
        check_tree(root, manifest)
    (root / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(root, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/socket")
        os.close(folder)
        with refused(Reason.LINK, "socket"):
            check_tree(root, manifest)


def test_names_that_are_none_are_refused(root: Path) -> None:
    (root / "a\nb").write_text("")
    with refused(Reason.BAD_PATH, r"a\nb"):
        list(files_of(root))
    (root / "a\nb").unlink()
    Path(os.fsdecode(bytes(root) + b"/\xff")).write_text("")
    with refused(Reason.BAD_PATH):
        list(files_of(root))


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "a.pt",
        "a.PTH",
        "x/vocab.pkl",
        "a.npy",
        "model_x.py",
        "a.so",
        "a.zip",
    ],
)
def test_pickles_code_and_archives_are_refused_by_name(name: str) -> None:
    with refused(Reason.FORBIDDEN_TYPE, name):
        check_names(["config.json", name])


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin.index.json", "tokenizer.model", "merges.txt", "LICENSE", "a.py.md"]
)
def test_plain_files_are_not(name: str) -> None:
    check_names([name])


def test_they_are_refused_by_what_they_hold(root: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(2))
    with zipfile.ZipFile(tmp_path / "archive", "w") as archive:
        archive.writestr("data.pkl", b"")
    found = [pickle.dumps({"a": 1}, protocol) for protocol in range(2, 6)]
    found += [(tmp_path / "array.npy").read_bytes(), (tmp_path / "archive").read_bytes()]
    found += [
        Path(sys.executable).read_bytes()[:512],
        b"#!/bin/sh\n",
        b"MZ\x90\x00\x03",
        b"\x1f\x8b\x08",
    ]
    for content in found:
        (root / "config.json").write_bytes(content)
        with refused(Reason.FORBIDDEN_TYPE, "config.json"):
            check_tree(root, manifest_for(root))


@pytest.mark.parametrize("content", [b"", b"MZ begins some words", b"\x80", b"{}", b"\x0a\x0e"])
def test_plain_contents_are_not(content: bytes) -> None:
    check_beginning("vocabulary.txt", content)


def test_the_length_of_a_header_may_look_like_a_pickle() -> None:
    check_beginning("model.safetensors", b"\x80\x02" + bytes(6) + b"{")


def test_large_files_are_safetensors(root: Path) -> None:
    os.truncate(root / "text-2.txt", PLAIN_LIMIT)
    check_tree(root, manifest_for(root))
    os.truncate(root / "text-2.txt", PLAIN_LIMIT + 1)
    with refused(Reason.FORBIDDEN_TYPE, "text-2.txt", "268,435,457"):
        check_tree(root, manifest_for(root))


def test_headers_are_refused_with_the_files_name(root: Path) -> None:
    (root / "model-2.safetensors").write_bytes(b"\x80\x04N." * 10)
    with refused(Reason.BAD_HEADER, "model-2.safetensors"):
        check_headers(root, ["model-1.safetensors", "model-2.safetensors"])
