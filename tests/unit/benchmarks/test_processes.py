"""Finding an arm's processes and stopping them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gateway.arms import Arm, ArmError
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.processes import MARK, ProcessTable, busy_seconds, cpu_seconds, wait_gone

SLEEP = "import time; time.sleep(60)"
ORPHAN = f"""
import subprocess, sys
subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
"""
# A child, and a grandchild that leaves the tree.
PARENT = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {ORPHAN!r}])
subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print("up", flush=True)
time.sleep(60)
"""


class _Sleeper(Arm):
    name = "sleeper"

    def command(self) -> list[str]:
        return [sys.executable, "-c", PARENT]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """What is started in the background has SIGINT ignored, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_orphans_are_found_and_nothing_is_left(tmp_path: Path) -> None:
    arm = _Sleeper(EngineSettings(tmp_path), tmp_path / "work")
    arm.start()
    deadline = time.monotonic() + 20
    while "up" not in arm.log_tail() and time.monotonic() < deadline:
        time.sleep(0.05)
    pids = arm.pids()
    assert len(pids) == 3
    arm.pause()
    arm.resume()
    forced = arm.stop()
    assert len(forced) == 2
    for pid in pids:
        assert ProcessTable(pid, "nobody's").refresh() == []
    assert arm.stop() == []


def test_an_arm_that_dies_tells_what_it_said(tmp_path: Path) -> None:
    class _Dead(Arm):
        name = "dead"

        def command(self) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('no such model')"]

    arm = _Dead(EngineSettings(tmp_path), tmp_path / "work")
    arm.start()
    with pytest.raises(ArmError, match="no such model"):
        arm.wait_ready(timeout_s=20)
    arm.stop()


def test_cpu_time_is_counted() -> None:
    before, busy = cpu_seconds([os.getpid()]), busy_seconds()
    end = time.process_time() + 0.2
    while time.process_time() < end:
        sum(range(1000))
    assert cpu_seconds([os.getpid()]) - before >= 0.1
    assert busy_seconds() - busy >= 0.1
    assert cpu_seconds([2**22 + 1]) == 0.0


def test_a_process_of_another_mark_is_foreign() -> None:
    environment = {**os.environ, MARK: "theirs"}
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env=environment) as other:
        try:
            assert ProcessTable(2**22 + 1, "ours").refresh() == []
            table = ProcessTable(other.pid, "theirs")
            assert table.refresh() == [other.pid]
            assert wait_gone(table, 0.0) == [other.pid]
        finally:
            other.send_signal(signal.SIGKILL)
    assert table.refresh() == []
