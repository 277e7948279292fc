"""Whole folders: how much is in them, and what is done to all of it."""

import contextlib
import os
import shutil
from pathlib import Path

from app.weights import durable


def tree_size(folder: Path) -> int:
    """The bytes of all files in a folder; what goes meanwhile counts nothing.

    Args:
        folder: The folder.
    """
    size = 0
    for parent, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(OSError):
                size += (Path(parent) / file).lstat().st_size
    return size


def seal(folder: Path) -> None:
    """Make everything in a folder read-only and durable, the folder itself durable only.

    Args:
        folder: The folder.

    Raises:
        OSError: The disk does not take it.
    """
    for parent, _, files in os.walk(folder, topdown=False):
        for file in files:
            (Path(parent) / file).chmod(0o444)
            durable.sync(Path(parent) / file)
        durable.sync(Path(parent))
        if Path(parent) != folder:
            Path(parent).chmod(0o555)


def remove_tree(folder: Path) -> None:
    """Remove a folder, read-only ones within it too; what is gone already is no error.

    Args:
        folder: The folder.
    """
    for parent, folders, _ in os.walk(folder):
        for name in folders:
            with contextlib.suppress(OSError):
                (Path(parent) / name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
