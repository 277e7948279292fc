"""Several processes at once, none of which outlives the test."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

PATIENCE_S = 90


@contextlib.contextmanager
def running(program: str, *arguments: list[str]) -> "Iterator[list[subprocess.Popen[str]]]":
    """A Python program, once for each list of arguments."""
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        started = []
        for each in arguments:
            command = [sys.executable, "-c", program, *each]
            process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        yield started


def outputs(processes: "list[subprocess.Popen[str]]", given: str = "") -> list[str]:
    """What they print, once all have ended well."""
    said = [process.communicate(given, timeout=PATIENCE_S)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return said
