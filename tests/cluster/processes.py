"""Which processes a test has brought to life, whoever started and whoever dropped them."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Makes this process the parent of descendants that lose theirs, so that none is overlooked.

    Ray and HAProxy start daemons; without this they would become children of process 1.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield
    finally:
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def descendants(root: int | None = None) -> dict[int, str]:
    """Running descendants of a process (this one by default): command lines by process id.

    Those that have ended but are not yet waited for do not count.
    """
    children: dict[int, list[int]] = {}
    ended: set[int] = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold spaces and parentheses of its own.
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            children.setdefault(int(parent), []).append(int(folder.name))
            if state in "ZX":
                ended.add(int(folder.name))
    found: dict[int, str] = {}
    stack = list(children.get(os.getpid() if root is None else root, ()))
    while stack:
        pid = stack.pop()
        stack.extend(children.get(pid, ()))
        if pid not in ended:
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                found[pid] = line.decode(errors="replace").strip()
    return found


def left_over(before: dict[int, str], patience_s: float) -> dict[int, str]:
    """Descendants that there were not `before`, once they have had time to end."""
    deadline = time.monotonic() + patience_s
    while True:
        left = {pid: line for pid, line in descendants().items() if pid not in before}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.2)


def kill(processes: dict[int, str]) -> None:
    """Ends processes that did not end by themselves."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def heed_interrupts() -> None:
    """Lets SIGINT through to programs that are started from here on.

    A shell's background jobs ignore it, and children inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
