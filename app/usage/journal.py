"""Usage and audit events on this node's disk, until the store has them.

A record is handed to the kernel before the client's stream ends, so that it survives the death of
the process at any moment; a thread syncs the file at most `SYNC_S` later, so that it survives the
machine's. Each life of a gateway has a folder of its own, locked while it lives. A folder whose
lock is free is an orphan: whoever takes the lock delivers what is in it.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from app.admission.exchange import Settlement
from app.errors import StoreUnavailable
from app.usage.frames import Record, frame

SYNC_S = 0.05
SEGMENT_BYTES = 2 << 20
MAX_BYTES = 64 << 20

LOCK_FILE = "lock"
SUFFIX = ".journal"
NEW = ".new-"
"""How the names of folders begin that are still being made; scans leave them alone."""

log = structlog.get_logger(__name__)


class _Segment:
    """One file, and the records in it that the store does not have yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self.fd = os.open(path, flags, 0o600)
        self.size = 0
        self.outstanding = 0
        self.sealed = False

    def write(self, data: bytes) -> None:
        """Appends all of `data`, or nothing.

        Raises:
            OSError: the file system took none of it, or not all.
        """
        try:
            written = os.write(self.fd, data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, self.size)
            raise
        self.size += len(data)

    def remove(self) -> None:
        os.close(self.fd)
        self.path.unlink(missing_ok=True)


class Journal:
    """The records of one life of a gateway. Not for use by several threads.

    Args:
        directory: where the journals of this node are; made if it is missing.
        owner: unique for every life of a gateway.
        segment_bytes: size after which a new file is begun; a file goes once all of it is
            delivered.
        max_bytes: size from which the journal is not usable, so that no more requests are let in.
    """

    def __init__(
        self,
        directory: Path,
        owner: str,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._directory = directory
        self._folder = directory / owner
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._segments: deque[_Segment] = deque()
        self._where: dict[tuple[bool, str], _Segment] = {}
        self._unwritten: deque[Record] = deque()
        self._number = 0
        self._size = 0
        self._lock_fd = -1
        self._fds = threading.Lock()
        self._dirty = threading.Event()
        self._closing = False
        self._syncer = threading.Thread(target=self._sync_always, name="journal", daemon=True)

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._size

    @property
    def usable(self) -> bool:
        """Whether more can be written; while it cannot, no request should be let in."""
        return not self._unwritten and self._size < self._max_bytes

    @property
    def crowded(self) -> bool:
        """Whether so much is in it that it should not be filled but with what is new."""
        return not self.usable or self._size >= self._max_bytes // 4

    @property
    def outstanding(self) -> int:
        """Records that have not been acknowledged."""
        return len(self._where) + len(self._unwritten)

    def open(self) -> Self:
        """Makes the folder, locked from its first moment.

        Raises:
            StoreUnavailable: the directory cannot be written.
        """
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self._directory / f"{NEW}{self._folder.name}"
            new.mkdir(mode=0o700)
            self._lock_fd = os.open(new / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self._folder)
            self._begin_segment()
            _sync_directory(self._directory)
        except OSError as error:
            if self._lock_fd >= 0:
                os.close(self._lock_fd)
                self._lock_fd = -1
            raise StoreUnavailable(
                f"the journal in {self._directory} cannot be made: {error.strerror or error}. "
                "Make store.data_dir a directory that this user may write, with free space."
            ) from error
        self._syncer.start()
        return self

    def append(self, record: Record) -> None:
        """Writes one record; one that is acknowledged twice or appended twice does no harm.

        Never fails: what the disk does not take is held in memory and tried again with every
        further call and by `retry`; `usable` is False meanwhile.
        """
        if self._unwritten or not self._write(record):
            self._unwritten.append(record)
            self.retry()

    def retry(self) -> bool:
        """Tries to write what could not be written; returns whether nothing is left."""
        while self._unwritten and self._write(self._unwritten[0]):
            self._unwritten.popleft()
        return not self._unwritten

    def acknowledge(self, settled: Iterable[str] = (), recorded: Iterable[str] = ()) -> None:
        """Forgets settlements and events that the store has, by their ids."""
        for is_settlement, ids in ((True, settled), (False, recorded)):
            for each in ids:
                segment = self._where.pop((is_settlement, each), None)
                if segment is not None:
                    segment.outstanding -= 1
                    if not segment.outstanding:
                        self._delivered(segment)

    def sync(self) -> None:
        """Waits until the disk itself has everything; the thread does so by itself, later."""
        with self._fds:
            for segment in self._segments:
                os.fdatasync(segment.fd)

    def close(self) -> None:
        """Lets go of the folder: removed if all of it is delivered, else an orphan from now on."""
        if self._lock_fd < 0:
            return
        self.retry()
        self._closing = True
        self._dirty.set()
        self._syncer.join()
        with self._fds:
            for segment in self._segments:
                with contextlib.suppress(OSError):
                    os.fdatasync(segment.fd)
                os.close(segment.fd)
            self._segments.clear()
        if not self.outstanding:
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock_fd)
        self._lock_fd = -1

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, record: Record) -> bool:
        key = (isinstance(record, Settlement), record.id)
        if key in self._where:
            return True
        data = frame(record)
        try:
            if self._segments[-1].size and (
                self._segments[-1].size + len(data) > self._segment_bytes
            ):
                self._begin_segment()
            segment = self._segments[-1]
            segment.write(data)
        except OSError as error:
            if not self._unwritten:
                log.warning("journal cannot be written", error=error.strerror or str(error))
            return False
        self._size += len(data)
        segment.outstanding += 1
        self._where[key] = segment
        if not self._dirty.is_set():
            self._dirty.set()
        return True

    def _begin_segment(self) -> None:
        self._number += 1
        segment = _Segment(self._folder / f"{self._number:09d}{SUFFIX}")
        last = self._segments[-1] if self._segments else None
        with self._fds:
            self._segments.append(segment)
        _sync_directory(self._folder)
        if last is not None:
            last.sealed = True
            if not last.outstanding:
                self._remove(last)

    def _delivered(self, segment: _Segment) -> None:
        if segment.sealed:
            self._remove(segment)
        elif segment.size >= self._segment_bytes // 8:
            # Not at every chance: it costs more than to deliver a few records once more.
            with contextlib.suppress(OSError):
                os.ftruncate(segment.fd, 0)
                self._size -= segment.size
                segment.size = 0

    def _remove(self, segment: _Segment) -> None:
        self._size -= segment.size
        with self._fds:
            self._segments.remove(segment)
            segment.remove()

    def _sync_always(self) -> None:
        pause = threading.Event()
        while not self._closing:
            self._dirty.wait()
            self._dirty.clear()
            try:
                # The file before the last may have been written since the last round as well.
                with self._fds:
                    copies = [os.dup(segment.fd) for segment in list(self._segments)[-2:]]
                for copy in copies:
                    try:
                        os.fdatasync(copy)
                    finally:
                        os.close(copy)
            except OSError as error:
                log.warning("journal cannot be synced", error=error.strerror or str(error))
            pause.wait(SYNC_S)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
