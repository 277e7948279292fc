"""What was signed: the files of a model, each with its digest."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app.weights.refusal import Reason, refuse

SIGNATURE_FILE = "model.sig"
"""Where a model's signature lies in its folder."""
WEIGHTS_SUFFIX = ".safetensors"
MAX_FILES = 100_000
MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one version of a model.

    Raises:
        WeightsRefused: A name is none that is accepted, or two names exclude each other.
    """

    name: str
    """Name of the model."""
    files: Mapping[str, bytes]
    """SHA-256 of each file (32 bytes) by its name, in the order in which names are signed."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each file; empty where others signed, who do not say."""
    version: int | None = None
    """Version of the model; None where others signed."""

    def __post_init__(self) -> None:
        if not self.files:
            raise refuse(Reason.MALFORMED, "The statement names no files: sign the model again.")
        if len(self.files) > MAX_FILES:
            raise refuse(
                Reason.MALFORMED,
                f"The statement names {len(self.files):,} files, and a model may have "
                f"{MAX_FILES:,}: put fewer, larger files into it.",
            )
        for name in self.files:
            check_name(name)
        if len(self.name) > MAX_NAME_BYTES or _not_text(self.name):
            raise refuse(
                Reason.MALFORMED,
                f"The model's name is {self.name[:50]!r}..., which is not a name: sign it again.",
            )
        if SIGNATURE_FILE in self.files:
            raise refuse(Reason.BAD_PATH, f"{SIGNATURE_FILE} holds the signature and is not signed")
        _check_folders(self.files)
        object.__setattr__(self, "files", {name: self.files[name] for name in in_order(self.files)})

    @property
    def root(self) -> str:
        """SHA-256, in hex, over the digests of all files in order: model-signing's root digest.

        Names are not part of it: what is kept under it must be checked against the names as well.
        """
        return hashlib.sha256(b"".join(self.files.values())).hexdigest()

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the files that hold tensors."""
        return tuple(name for name in self.files if name.endswith(WEIGHTS_SUFFIX))

    @property
    def others(self) -> tuple[str, ...]:
        """Names of the files that hold none: configuration, tokenizer, templates."""
        return tuple(name for name in self.files if not name.endswith(WEIGHTS_SUFFIX))

    @property
    def counted_version(self) -> int:
        """The version for comparisons; 0 if there is none."""
        return self.version or 0

    def packed(self) -> dict[str, Any]:
        """Plain values that JSON and pickles carry to other processes."""
        return {
            "name": self.name,
            "files": {name: digest.hex() for name, digest in self.files.items()},
            "sizes": dict(self.sizes),
            "version": self.version,
        }

    @classmethod
    def unpacked(cls, packed: Mapping[str, Any]) -> Self:
        """A manifest from what :meth:`packed` gave; it is trusted as much as who passed it on.

        Args:
            packed: The plain values.
        """
        return cls(
            name=packed["name"],
            files={name: bytes.fromhex(digest) for name, digest in packed["files"].items()},
            sizes=dict(packed["sizes"]),
            version=packed["version"],
        )


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which model-signing signs them: by their parts, not as strings.

    Args:
        names: Names of files, relative to the model's folder.
    """
    return sorted(names, key=lambda name: name.split("/"))


def check_name(name: str) -> None:
    """Check a file's name before any path is made of it.

    Args:
        name: The name, relative to the model's folder.

    Raises:
        WeightsRefused: It is absolute, leads upwards, or is not a name on every system.
    """
    problem = _problem(name)
    if problem:
        raise refuse(
            Reason.BAD_PATH,
            f"The file name {name[:200]!r} {problem}. Names are relative to the model's folder, "
            f"such as text/config.json: rename the file and sign the model again.",
        )


def _problem(name: str) -> str | None:
    if not name:
        return "is empty"
    if (what := _not_text(name)) is not None:
        return what
    parts = name.split("/")
    if name.startswith("/"):
        return "is absolute"
    if "\\" in name:
        return "has a backslash"
    if ".." in parts:
        return "leads out of the folder with '..'"
    if "" in parts or "." in parts:
        return "has an empty part"
    if (length := len(name.encode())) > MAX_NAME_BYTES:
        return f"has {length} bytes, more than {MAX_NAME_BYTES}"
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        return f"has a part of more than {MAX_PART_BYTES} bytes"
    return None


def _not_text(name: str) -> str | None:
    # Names are shown in terminals and logs, which obey control characters.
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in name):
        return "has a control character"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not text"
    return None


def _check_folders(names: Iterable[str]) -> None:
    files = set(names)
    for name in files:
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder in files:
                raise refuse(
                    Reason.BAD_PATH, f"{folder!r} is a file, and {name!r} is said to lie below it."
                )
