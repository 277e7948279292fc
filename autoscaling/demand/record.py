"""The demand of one group, as it is kept and as it is stored."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoscaling.demand.bins import KEPT, TOTAL, Shares, Slots, passed
from autoscaling.demand.terms import Work

FORMAT = 1
_LAST_SECOND = 10**11


class Record:
    """Tokens by bin. About 70 kB, with 18 kB more once it has been restored.

    Args:
        now: Unix time in whole seconds.
    """

    __slots__ = ("before", "reached", "values")

    def __init__(self, now: int) -> None:
        self.values: NDArray[np.float32] = np.zeros((2, TOTAL), np.float32)
        """Tokens of prompts and of outputs, by slot. Below 0 where a correction has come to another
        bin than what it corrects; in the sum over bins they cancel out."""
        self.before: NDArray[np.uint16] | None = None
        """Seconds of each bin that were covered before this was restored."""
        self.reached = now
        """The second that bins reach up to."""

    def advance(self, now: int) -> None:
        """Goes on to a second, or back to it: later bins are then forgotten."""
        if now == self.reached:
            return
        slots = passed(min(now, self.reached), max(now, self.reached))
        self.values[:, slots] = 0
        if self.before is not None:
            self.before[slots] = 0
        self.reached = now

    def add(self, slots: Slots, shares: Shares, work: Work) -> None:
        """Shares out work to bins, each of which is named once."""
        if work.prefill:
            self.values[0, slots] += shares * np.float32(work.prefill)
        if work.decode:
            self.values[1, slots] += shares * np.float32(work.decode)

    def covered(self, slots: Slots, counts: NDArray[np.uint16]) -> NDArray[np.float64]:
        """Seconds of bins that somebody was listening in.

        More than they are long where the clock was set back and they were lived through once more.

        Args:
            slots: of the bins.
            counts: seconds covered since this process began, for these bins.
        """
        found: NDArray[np.float64] = counts.astype(np.float64)
        return found if self.before is None else found + self.before[slots]

    def state(self, counts: NDArray[np.uint16]) -> dict[str, Any]:
        """All of it as plain data, without the last seconds.

        Args:
            counts: seconds covered since this process began, by slot.
        """
        covered = counts[KEPT:].astype(np.int64)
        if self.before is not None:
            covered += self.before[KEPT:]
        return {
            "format": FORMAT,
            "reached": self.reached,
            "values": self.values[:, KEPT:].astype("<f4").tobytes(),
            "covered": np.minimum(covered, 2**16 - 1).astype("<u2").tobytes(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Adds what was stored to what has come since.

        Raises:
            ValueError: it is no such state; nothing has changed.
        """
        reached, values, covered = _checked(state)
        old = Record(reached)
        old.values[:, KEPT:] = values
        old.before = np.zeros(TOTAL, np.uint16)
        old.before[KEPT:] = covered
        old.advance(self.reached)
        self.values += old.values
        self.before = old.before

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.values.nbytes + (0 if self.before is None else self.before.nbytes)


def _checked(
    state: Any,
) -> tuple[int, NDArray[np.float32], NDArray[np.uint16]]:
    if not isinstance(state, Mapping) or state.get("format") != FORMAT:
        raise ValueError(f"is no demand of format {FORMAT}")
    reached, kept = state.get("reached"), TOTAL - KEPT
    if type(reached) is not int or not 0 <= reached <= _LAST_SECOND:
        raise ValueError("`reached` is no time")
    raw, covered = state.get("values"), state.get("covered")
    if not isinstance(raw, bytes) or len(raw) != 2 * kept * 4:
        raise ValueError(f"`values` must have {2 * kept * 4:,} bytes")
    if not isinstance(covered, bytes) or len(covered) != kept * 2:
        raise ValueError(f"`covered` must have {kept * 2:,} bytes")
    values = np.frombuffer(raw, "<f4").reshape(2, kept)
    if not np.isfinite(values).all():
        raise ValueError("`values` has some that are no numbers")
    return reached, values.astype(np.float32), np.frombuffer(covered, "<u2").astype(np.uint16)
