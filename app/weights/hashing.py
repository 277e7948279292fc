"""SHA-256 of files: hashlib releases the GIL, so that several are hashed at the same time."""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from app.weights.refusal import Reason, refuse

CHUNK = 4 * 1024 * 1024
"""Bytes that are read at once."""

Advance = Callable[[int], None]
"""Told how many more bytes have been hashed; called from several threads."""


@contextmanager
def open_file(path: Path) -> Iterator[FileIO]:
    """Open a regular file for reading, and nothing that stands in its place.

    Args:
        path: The file.

    Raises:
        WeightsRefused: It is a link, a pipe, a device, a socket or a folder, or it is missing.
        OSError: It cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise refuse(
            Reason.MISSING_FILE, f"{path} was signed and is missing: fetch the model again."
        ) from None
    except OSError:
        if path.is_file() and not path.is_symlink():
            raise
        raise refuse(Reason.LINK, f"{path} is not a regular file: put the file there.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refuse(Reason.LINK, f"{path} is not a regular file: put the file there.")
    with FileIO(descriptor) as file:
        yield file


def hash_file(path: Path, progress: Advance | None = None) -> bytes:
    """SHA-256 of a file, 32 bytes; a link is not followed.

    Args:
        path: The file.
        progress: Told of bytes as they are hashed.

    Raises:
        WeightsRefused: It is not a regular file.
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    with open_file(path) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := file.readinto(buffer):
            digest.update(view[:count])
            if progress is not None:
                progress(count)
    return digest.digest()


def hash_tree(
    root: Path, names: Iterable[str], threads: int | None = None, progress: Advance | None = None
) -> dict[str, bytes]:
    """SHA-256 of several files of a folder, by name.

    Args:
        root: The folder.
        names: Names relative to it, checked before (`app.weights.manifest.check_name`).
        threads: Files that are hashed at the same time; by default the cores this process has.
        progress: Told of bytes as they are hashed, by several threads.

    Raises:
        WeightsRefused: One is not a regular file.
        OSError: One cannot be read.
    """
    # The largest first, so that no thread is left alone with one at the end.
    ordered = sorted(names, key=lambda name: _size(root / name), reverse=True)
    with ThreadPoolExecutor(threads or len(os.sched_getaffinity(0))) as pool:
        digests = pool.map(lambda name: hash_file(root / name, progress), ordered)
        try:
            return dict(zip(ordered, digests, strict=True))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
