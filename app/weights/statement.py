"""What a signature says: an in-toto statement about a model's files, written and read."""

import json
import re
from collections.abc import Mapping
from typing import Any

from app.weights.manifest import SIGNATURE_FILE, Manifest
from app.weights.strict_json import Part, malformed, parse

IGNORED = (".git", ".gitattributes", ".github", ".gitignore")
"""What version control leaves in a model's folder: never signed by model-signing, never loaded."""

_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_EXTENSION = "tidegate"
_MAX_VERSION = 2**53 - 1
_MAX_SIZE = 2**53 - 1
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_version(version: int) -> None:
    """Check a version that is to be signed.

    Args:
        version: The version.

    Raises:
        ValueError: It is not from 1 to 2^53 - 1.
    """
    if not 1 <= version <= _MAX_VERSION:
        raise ValueError(f"the version is {version}, and must be from 1 to {_MAX_VERSION}")


def statement_of(manifest: Manifest) -> bytes:
    """The statement that is signed.

    Args:
        manifest: What is signed; with a version and the sizes of all files.

    Raises:
        ValueError: The manifest lacks something.
    """
    if manifest.version is None or manifest.sizes.keys() != manifest.files.keys():
        raise ValueError("only a manifest with a version and the sizes of all files is signed")
    check_version(manifest.version)
    document = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": manifest.name, "digest": {"sha256": manifest.root}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": sorted((SIGNATURE_FILE, *IGNORED)),
            },
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hex()}
                for name, digest in manifest.files.items()
            ],
            _EXTENSION: {"version": manifest.version, "sizes": dict(manifest.sizes)},
        },
    }
    return json.dumps(document, indent=1).encode()


def manifest_of(statement: bytes) -> Manifest:
    """What a statement says; to be believed only once its signature has been verified.

    Args:
        statement: The in-toto statement.

    Raises:
        WeightsRefused: It is not a statement about the files of a model, or contradicts itself.
    """
    whole = Part(parse(statement), "statement")
    if whole.text("_type") != _STATEMENT_TYPE or whole.text("predicateType") != _PREDICATE_TYPE:
        raise malformed(f"is no statement of type {_PREDICATE_TYPE}")
    subjects = whole.list("subject")
    if len(subjects) != 1:
        raise malformed(f"is about {len(subjects)} models, and must be about one")
    subject = Part(subjects[0], "subject")
    predicate = whole.part("predicate")
    _check_serialization(predicate.part("serialization"))
    files = _files(predicate.list("resources"))
    version, sizes = _extension(predicate, files)
    manifest = Manifest(name=subject.text("name"), files=files, sizes=sizes, version=version)
    if manifest.root != subject.part("digest").text("sha256"):
        raise malformed("contradicts itself: its root digest is not that of its files")
    return manifest


def _check_serialization(serialization_: Part) -> None:
    method, algorithm = serialization_.text("method"), serialization_.text("hash_type")
    if (method, algorithm) != ("files", "sha256"):
        raise malformed(
            f"was serialised by {method[:20]!r} and {algorithm[:20]!r}, not by files and sha256"
        )
    if serialization_.value.get("allow_symlinks") is not False:
        raise malformed("was made with symbolic links followed, which are not followed here")


def _files(resources: list[Any]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for resource in resources:
        item = Part(resource, "resource")
        name, digest = item.text("name"), item.text("digest")
        if name in files:
            raise malformed(f"names {name[:200]!r} twice")
        if item.text("algorithm") != "sha256" or not _DIGEST.fullmatch(digest):
            raise malformed(f"has no SHA-256 digest of {name[:200]!r}")
        files[name] = bytes.fromhex(digest)
    return files


def _extension(predicate: Part, files: Mapping[str, bytes]) -> tuple[int | None, dict[str, int]]:
    if _EXTENSION not in predicate.value:
        return None, {}
    ours = predicate.part(_EXTENSION)
    version, sizes = ours.number("version", _MAX_VERSION), ours.part("sizes")
    if sizes.value.keys() != files.keys():
        raise malformed("does not give the sizes of exactly its files")
    return version, {name: sizes.number(name, _MAX_SIZE) for name in sizes.value}
