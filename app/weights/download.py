"""A large file, fetched in ranges side by side, hashed as it is written, and resumed."""

import contextlib
import hashlib
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from app.errors import WeightsRefused
from app.weights import durable
from app.weights.hashing import CHUNK, Advance, hash_file
from app.weights.refusal import Reason, refuse

SAVE_EVERY = 256 * 1024 * 1024
"""Bytes after which what is there so far is made sure of: a crash costs no more."""

GetRange = Callable[[int, int, threading.Event], bytes]
"""Bytes of the file from one position up to another; gives up when the event is set."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file as it must be once it is there."""

    name: str
    """Its name in the model."""
    size: int
    digest: bytes
    """SHA-256."""
    tag: str
    """Changes when the file behind the ranges does."""


class Download:
    """Where a model's files are fetched to, and how.

    Args:
        folder: Files go into its `files/`; what is not whole is kept in its `parts/`.
        connections: Ranges that are fetched at the same time; so many are held in memory.
        part: Bytes of a range.
        progress: Told of bytes that are there, from the thread that downloads.
    """

    def __init__(self, folder: Path, connections: int, part: int, progress: Advance) -> None:
        self._files, self._parts = folder / "files", folder / "parts"
        self._connections, self._part = connections, part
        self._progress = progress

    def bring(self, wanted: Wanted, get: GetRange) -> None:
        """Fetch one file, or what is missing of it.

        Args:
            wanted: The file.
            get: Fetches a range of it.

        Raises:
            WeightsRefused: It is not what was signed; nothing of it is kept.
            WeightsUnavailable: `get` raised it; what is there is kept.
            OSError: The disk does not take it.
        """
        target = self._files / wanted.name
        if _is_there(target, wanted.digest, self._progress):
            return
        if not self._bring(wanted, get, target) and not self._bring(wanted, get, target):
            raise changed(wanted.name)

    def _bring(self, wanted: Wanted, get: GetRange, target: Path) -> bool:
        """One attempt; False if what an earlier one had left was wrong, and is gone."""
        partial = _Partial(self._parts, wanted)
        with partial.opened() as file:
            digest = hashlib.sha256()
            resumed = partial.hash_into(file, digest.update, self._progress)
            try:
                with contextlib.closing(self._ranges(wanted.size, resumed, get)) as ranges:
                    for data in ranges:
                        digest.update(data)
                        file.write(data)
                        self._progress(len(data))
                        partial.grown(file)
            except WeightsRefused:
                partial.remove()
                raise
            finally:
                partial.save(file)
        if digest.digest() != wanted.digest:
            partial.remove()
            if resumed:
                self._progress(-wanted.size)
                return False
            raise changed(wanted.name)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial.path.replace(target)
        partial.remove()
        return True

    def _ranges(self, size: int, begin: int, get: GetRange) -> Generator[bytes]:
        """The rest of a file in order; later ranges that come early wait for the earlier ones."""
        stop = threading.Event()
        starts = iter(range(begin, size, self._part))
        pending: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(self._connections, thread_name_prefix="fetch") as pool:

            def submit() -> None:
                for start in starts:
                    end = min(start + self._part, size)
                    pending.append(pool.submit(get, start, end, stop))
                    return

            try:
                for _ in range(self._connections):
                    submit()
                while pending:
                    data = pending.popleft().result()
                    submit()
                    yield data
            finally:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)


def changed(name: str) -> WeightsRefused:
    """A file's bytes are not those that were signed.

    Args:
        name: The file's name in the model.
    """
    return refuse(
        Reason.CHANGED_FILE,
        f"{name!r} is not the file that was signed: copy the model again from where it was signed, "
        "or sign it as it is, with a higher version.",
    )


class _Partial:
    """A file that is not whole, and how much of it is certainly on the disk."""

    def __init__(self, folder: Path, wanted: Wanted) -> None:
        name = hashlib.sha256(wanted.name.encode()).hexdigest()
        self.path = folder / f"{name}.part"
        self._state = folder / f"{name}.json"
        self._tag = wanted.tag
        self._size = wanted.size
        self._saved = 0

    def opened(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.fdopen(os.open(self.path, flags, 0o600), "r+b")

    def hash_into(self, file: BinaryIO, update: Callable[[bytes], None], progress: Advance) -> int:
        """Hash what is there and go to its end; what is not certain is cut off."""
        there = self._certain()
        if os.fstat(file.fileno()).st_size < there:
            there = 0
        file.truncate(there)
        left = there
        while left and (data := file.read(min(CHUNK, left))):
            update(data)
            progress(len(data))
            left -= len(data)
        self._saved = there
        return there

    def grown(self, file: BinaryIO) -> None:
        if file.tell() - self._saved >= SAVE_EVERY:
            self.save(file)

    def save(self, file: BinaryIO) -> None:
        if not self.path.exists():
            return
        file.flush()
        os.fsync(file.fileno())
        self._saved = file.tell()
        state = {"tag": self._tag, "size": self._size, "bytes": self._saved}
        durable.write(self._state, json.dumps(state).encode())

    def remove(self) -> None:
        for path in (self.path, self._state):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _certain(self) -> int:
        try:
            state = json.loads(durable.read(self._state, 4096))
            if (state["tag"], state["size"]) == (self._tag, self._size):
                return min(int(state["bytes"]), self._size)
        except (OSError, ValueError, TypeError, KeyError):
            pass
        return 0


def _is_there(path: Path, digest: bytes, progress: Advance) -> bool:
    """Whether an earlier fetch had brought the whole file; what is wrong is removed."""
    if not path.exists():
        return False
    if hash_file(path) == digest:
        progress(path.stat().st_size)
        return True
    path.unlink()
    return False
