"""How far something is."""

import threading
from collections.abc import Callable

from app.weights.hashing import Advance

Progress = Callable[[int, int], None]
"""Told of the bytes that are done, and of all of them."""


def counter(progress: Progress | None, total: int) -> Advance:
    """Sums up what is done.

    Args:
        progress: Told of the sum, one call at a time.
        total: What it comes to in the end.
    """
    lock = threading.Lock()
    done = 0

    def count(size: int) -> None:
        nonlocal done
        with lock:
            done += size
            if progress is not None:
                progress(done, total)

    return count
