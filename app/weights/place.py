"""What the places that models come from have in common, and the one that is a directory."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from app.errors import WeightsUnavailable
from app.weights import contents, signing
from app.weights.download import Download, GetRange, Wanted, changed
from app.weights.hashing import CHUNK, Advance, open_file
from app.weights.manifest import Manifest
from app.weights.refusal import Reason, refuse

PLAIN_LIMIT = 256 * 1024 * 1024
"""Most bytes of a file that is no weights: configuration, tokenizer, chat template."""
COPY_THREADS = 4
"""Ranges of a file that are copied at the same time."""


class Place(Protocol):
    """Where one model's files are."""

    fetched: int
    """Bytes that came over the network so far."""

    def signature(self) -> bytes:
        """The signature file.

        Raises:
            WeightsRefused: There is none, or it is too large.
            WeightsUnavailable: It cannot be read.
        """

    def check(self, manifest: Manifest) -> None:
        """That exactly the signed files are there, and none of a kind that is never loaded.

        Args:
            manifest: What is signed.

        Raises:
            WeightsRefused: Something is there that should not be, or the other way round.
            WeightsUnavailable: What is there cannot be listed.
        """

    def read(self, name: str, limit: int) -> bytes:
        """A small file.

        Args:
            name: Its name in the model.
            limit: Most bytes that are read; what is longer comes back with one more.

        Raises:
            WeightsRefused: It is not there, or is not a file.
            WeightsUnavailable: It cannot be read.
        """

    def size_of(self, names: Iterable[str]) -> int:
        """Bytes of some files together.

        Args:
            names: Their names in the model.

        Raises:
            WeightsUnavailable: They cannot be listed.
        """

    def fetch(self, manifest: Manifest, folder: Path, progress: Advance) -> None:
        """Bring a model's weights into a folder, whole and verified.

        Args:
            manifest: What is signed; `check` has been called with it.
            folder: See `app.weights.download.Download`.
            progress: Told of bytes that are there, from this thread.

        Raises:
            WeightsRefused: A file is not what was signed.
            WeightsUnavailable: A file cannot be read.
            OSError: The disk does not take it.
        """


class LocalPlace:
    """A directory.

    Args:
        root: The directory.
    """

    fetched = 0

    def __init__(self, root: Path) -> None:
        self.root = root

    def signature(self) -> bytes:
        """See `Place.signature`."""
        if not self.root.is_dir():
            raise WeightsUnavailable(
                f"There is no directory {str(self.root)!r}: mount it on every node that serves the "
                "model, or correct the model's source."
            )
        with readable(self.root):
            return signing.read_signature(self.root)

    def check(self, manifest: Manifest) -> None:
        """See `Place.check`."""
        with readable(self.root):
            contents.check_tree(self.root, manifest)

    def read(self, name: str, limit: int) -> bytes:
        """See `Place.read`."""
        with readable(self.root), open_file(self.root / name) as file:
            data = bytearray()
            while len(data) <= limit and (part := file.read(limit + 1 - len(data))):
                data += part
            return bytes(data)

    def size_of(self, names: Iterable[str]) -> int:
        """See `Place.size_of`."""
        with readable(self.root):
            return sum((self.root / name).lstat().st_size for name in names)

    def fetch(self, manifest: Manifest, folder: Path, progress: Advance) -> None:
        """See `Place.fetch`."""
        download = Download(folder, COPY_THREADS, CHUNK, progress)
        for name in manifest.weights:
            with readable(self.root), open_file(self.root / name) as file:
                status = os.fstat(file.fileno())
                tag = f"{status.st_ino}-{status.st_mtime_ns}"
                wanted = Wanted(name, status.st_size, manifest.files[name], tag)
                download.bring(wanted, _ranges_of(name, file.fileno()))


def read_checked(place: Place, manifest: Manifest, name: str) -> bytes:
    """A file that is no weights, whose bytes are the signed ones.

    Args:
        place: Where the model is.
        manifest: What is signed.
        name: The file's name in the model.

    Raises:
        WeightsRefused: They are not, or there are too many, or they are code.
        WeightsUnavailable: It cannot be read.
    """
    data = place.read(name, PLAIN_LIMIT)
    if len(data) > PLAIN_LIMIT:
        raise refuse(
            Reason.FORBIDDEN_TYPE,
            f"{name!r} has more than {PLAIN_LIMIT:,} bytes and is not safetensors: leave it out of "
            "the model, and sign it again.",
        )
    if hashlib.sha256(data).digest() != manifest.files[name]:
        raise changed(name)
    contents.check_beginning(name, data[: contents.HEAD_BYTES])
    return data


@contextmanager
def readable(root: Path) -> Iterator[None]:
    """Says of a disk's errors where they come from.

    Args:
        root: The model's directory.

    Raises:
        WeightsUnavailable: The disk had one.
    """
    try:
        yield
    except OSError as error:
        raise WeightsUnavailable(
            f"{str(root)!r} cannot be read: {error.strerror or error}. See that this user may read "
            "everything in it, and that its disk is well."
        ) from error


def _ranges_of(name: str, handle: int) -> GetRange:
    def get(begin: int, end: int, _stop: threading.Event) -> bytes:
        data = os.pread(handle, end - begin, begin)
        if len(data) != end - begin:
            raise changed(name)
        return data

    return get
