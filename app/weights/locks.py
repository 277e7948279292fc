"""Locks between the processes of a node, which end with the process that holds them."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self


class FileLock:
    """An advisory lock on a file. The file stays, so that there is only ever one of it.

    A context manager; several of them in one process exclude each other like those of several.

    Args:
        path: The file; it is made where there is none, in a folder that exists.

    Raises:
        OSError: The file cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        self._handle: int | None = os.open(
            path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )

    def exclusive(self) -> Self:
        """Wait until nobody else holds it, and hold it alone."""
        fcntl.flock(self._open(), fcntl.LOCK_EX)
        return self

    def shared(self) -> Self:
        """Wait until nobody holds it alone, and hold it together with others.

        From an exclusive lock this is not one step: somebody else may have held it in between.
        """
        fcntl.flock(self._open(), fcntl.LOCK_SH)
        return self

    def try_exclusive(self) -> bool:
        """Hold it alone if nobody else holds it; says whether it does."""
        try:
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def touch(self) -> None:
        """Record this moment as the file's time."""
        os.utime(self._open())

    def close(self) -> None:
        """Give it back; more than once does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    def _open(self) -> int:
        if self._handle is None:
            raise ValueError("the lock has been given back")
        return self._handle

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
