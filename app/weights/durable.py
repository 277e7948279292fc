"""Files that are there whole, or not at all, whatever dies while they are written."""

import contextlib
import os
import tempfile
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk.

    Args:
        path: A file or a folder; a link is not followed.

    Raises:
        OSError: It cannot be opened or written.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Put a file in the place of whatever has its name; readers see the old one or the whole of it.

    Args:
        path: The file, in a folder that exists.
        data: What it holds.
        mode: Its permissions.

    Raises:
        OSError: It cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
    sync(path.parent)


def read(path: Path, limit: int) -> bytes:
    """The bytes of a file of our own, and never of what a link leads to.

    Args:
        path: The file.
        limit: Most bytes that are read; what is longer comes back with one byte more than that.

    Raises:
        OSError: It is not there, is a link or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        return file.read(limit + 1)
