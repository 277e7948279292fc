"""The ledger's time: Unix time that never goes back while the process lives."""

import time
from collections.abc import Callable


class LedgerClock:
    """Wall time at the start, plus what has gone by since on the monotonic clock.

    A wall clock that is set back or forth while the ledger runs moves nothing.

    Args:
        wall: Unix time, in seconds; read once.
        monotonic: a clock that is never set, in seconds.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        """The time, in seconds."""
        return self._offset + self._monotonic()
