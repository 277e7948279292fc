"""Journals whose gateway is dead: what is in them is delivered by whoever finds them."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import structlog

from app.usage.frames import Record, records
from app.usage.journal import LOCK_FILE, NEW, SUFFIX

log = structlog.get_logger(__name__)


class Orphan:
    """A journal whose gateway is dead, locked by whoever holds this object."""

    def __init__(self, folder: Path, lock_fd: int) -> None:
        self._folder = folder
        self._lock_fd = lock_fd

    @property
    def name(self) -> str:
        """The gateway that wrote it."""
        return self._folder.name

    def segments(self) -> list[Path]:
        """Its files, oldest first."""
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def read(self, segment: Path) -> list[Record]:
        """The records of one file; a torn tail is left out."""
        data = segment.read_bytes()
        whole, end = [], 0
        for record, end in records(data):  # noqa: B007 - the last end is needed below
            whole.append(record)
        if end < len(data):
            log.warning("journal has a torn tail", journal=self.name, cut_bytes=len(data) - end)
        return whole

    def discard(self, segment: Path) -> None:
        """Deletes one file: its records are safe elsewhere."""
        segment.unlink(missing_ok=True)

    def close(self) -> None:
        """Frees the lock, and removes the folder if nothing is left in it."""
        if not self.segments():
            shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock_fd)


def orphans(directory: Path) -> Iterator[Orphan]:
    """Journals whose owner is dead; each is locked until it is closed."""
    if not directory.is_dir():
        return
    for folder in sorted(directory.iterdir()):
        if folder.name.startswith(NEW) or not folder.is_dir():
            continue
        try:
            fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            continue
        yield Orphan(folder, fd)
