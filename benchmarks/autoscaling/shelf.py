"""Texts by key in one file, which processes share: what is dear to make is made once."""

from __future__ import annotations

import sqlite3
from pathlib import Path

_WAIT_S = 60.0
_MOST_ROWS = 5_000_000


class Shelf:
    """A file of texts. What was put is never changed.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
        self._file.execute("PRAGMA journal_mode=WAL")
        # What is lost with the machine is made again.
        self._file.execute("PRAGMA synchronous=OFF")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS texts (key TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID"
        )
        self._room = _MOST_ROWS - int(
            self._file.execute("SELECT COUNT(*) FROM texts").fetchone()[0]
        )

    def get(self, key: str) -> str | None:
        """What was put; None if nothing was.

        Args:
            key: Its key.
        """
        found = self._file.execute("SELECT text FROM texts WHERE key = ?", (key,)).fetchone()
        return None if found is None else str(found[0])

    def put(self, key: str, text: str) -> None:
        """Keeps a text, unless there is one or the file is full.

        Args:
            key: Its key.
            text: What to keep.
        """
        if self._room > 0:
            self._room -= 1
            self._file.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (key, text))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
