"""The processes of an arm, read from /proc: which they are, what CPU they used, stopping them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MARK", "ProcessTable", "busy_seconds", "cpu_seconds", "signal_all", "wait_gone"]

# Set in an arm's environment and inherited by all it starts, also by what leaves its tree.
MARK = "TIDEGATE_BENCH_ARM"

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    parent: int
    state: str
    cpu_s: float
    started: int


def _stat(pid: int) -> _Stat | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name stands in parentheses and may hold anything, blanks and parentheses too.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(
        pid=pid,
        parent=int(fields[1]),
        state=fields[0],
        cpu_s=(int(fields[11]) + int(fields[12])) * _TICK,
        started=int(fields[19]),
    )


def _snapshot() -> dict[int, _Stat]:
    stats = (_stat(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return {s.pid: s for s in stats if s is not None and s.state not in "ZX"}


class ProcessTable:
    """Every process that belongs to one arm, followed from its first one.

    A process belongs if it descends from one that does, or carries the arm's mark in its
    environment. Once seen, a process is remembered by its start time, so that one which outlives
    its parent is neither lost nor mistaken for a later one of the same number.

    Args:
        root: process the arm began with.
        mark: value of :data:`MARK` in its environment.
    """

    def __init__(self, root: int, mark: str) -> None:
        self._root = root
        self._mark = f"{MARK}={mark}".encode()
        self._known: dict[int, int] = {}
        self._foreign: dict[int, int] = {}

    def refresh(self) -> list[int]:
        """Looks again; returns the living processes' ids."""
        stats = _snapshot()
        self._known = {
            pid: started
            for pid, started in self._known.items()
            if pid in stats and stats[pid].started == started
        }
        if self._root in stats and self._root not in self._known:
            self._known[self._root] = stats[self._root].started
        for stat in stats.values():
            if stat.pid not in self._known and self._marked(stat):
                self._known[stat.pid] = stat.started
        grew = True
        while grew:
            grew = False
            for stat in stats.values():
                if stat.pid not in self._known and stat.parent in self._known:
                    self._known[stat.pid] = stat.started
                    grew = True
        return sorted(self._known)

    def _marked(self, stat: _Stat) -> bool:
        if self._foreign.get(stat.pid) == stat.started:
            return False
        try:
            marked = self._mark in (_PROC / str(stat.pid) / "environ").read_bytes().split(b"\0")
        except OSError:
            marked = False
        if not marked:
            self._foreign[stat.pid] = stat.started
        return marked


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time these processes used since their start, in seconds, to 10 ms each."""
    return sum(s.cpu_s for s in map(_stat, pids) if s is not None)


def busy_seconds() -> float:
    """CPU time used on the whole machine since its start, in seconds, interrupts included."""
    fields = [int(x) for x in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) * _TICK


def signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signals each process; one that is gone is passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def wait_gone(table: ProcessTable, timeout_s: float) -> list[int]:
    """Waits until the arm has no process left; returns those that stayed."""
    deadline = time.monotonic() + timeout_s
    left = table.refresh()
    while left and time.monotonic() < deadline:
        time.sleep(0.2)
        left = table.refresh()
    return left
