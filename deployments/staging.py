"""The start of a replica, stage by stage: measured, shown, and held against earlier ones."""

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import structlog

from app.config.weights import Anomalies, AnomalyConfig
from app.errors import LoadingAnomaly
from app.weights.baseline import Anomaly, Baselines, Stage, StageRecord, judge_memory

Progress = Callable[[str, int, int], None]
"""Told of a stage, the bytes that are done and all of them; both are 0 where it has none."""

MOST_NAME = 128

log = structlog.get_logger(__name__)


class Moved:
    """What a stage that runs has moved so far."""

    def __init__(self, stage: Stage, on_progress: Progress) -> None:
        self.bytes = 0
        self._stage = stage
        self._on_progress = on_progress

    def progress(self, done: int, total: int) -> None:
        """Takes how far the stage is, in bytes."""
        self.bytes = done
        self._on_progress(self._stage.value, done, total)


class StagedStart:
    """One start.

    Args:
        config: what an anomaly is, and what becomes of it.
        baselines: earlier starts of the model on this hardware; None if nothing is known of them.
        memory_budget: bytes that the replica may have; None if nothing is set.
        on_progress: told whenever a stage begins or is further; from the thread it runs in.
        on_anomaly: told of each anomaly, before the start ends because of it.
        clock: seconds; for tests.
        resident: bytes of the replica's resident memory; for tests.
    """

    def __init__(
        self,
        config: AnomalyConfig,
        baselines: Baselines | None = None,
        *,
        memory_budget: int | None = None,
        on_progress: Progress = lambda stage, done, total: None,
        on_anomaly: Callable[[Anomaly], None] = lambda anomaly: None,
        clock: Callable[[], float] = time.monotonic,
        resident: Callable[[], int] | None = None,
    ) -> None:
        self.records: list[StageRecord] = []
        self.anomalies: list[Anomaly] = []
        self._config = config
        self._baselines = baselines or Baselines()
        self._memory_budget = memory_budget
        self._on_progress = on_progress
        self._on_anomaly = on_anomaly
        self._clock = clock
        self._resident = resident or resident_memory

    @contextlib.contextmanager
    def stage(self, stage: Stage) -> Iterator[Moved]:
        """Measures a stage; one that fails leaves no record.

        Raises:
            LoadingAnomaly: it was far from what it usually is, and such starts are to be stopped.
        """
        moved = Moved(stage, self._on_progress)
        moved.progress(0, 0)
        before, began = self._resident(), self._clock()
        yield moved
        seconds = self._clock() - began
        self.add(StageRecord(stage, seconds, moved.bytes, self._resident() - before))

    def add(self, record: StageRecord) -> None:
        """Takes a stage that was measured elsewhere.

        Raises:
            LoadingAnomaly: see `stage`.
        """
        self.records.append(record)
        log.info("stage done", **record.row())
        if self._config.action is Anomalies.OFF:
            return
        resident = self._resident()
        found = (
            self._baselines.judge(record, self._config),
            judge_memory(record.stage, resident, self._memory_budget, self._config),
        )
        anomalies = [anomaly for anomaly in found if anomaly is not None]
        for anomaly in anomalies:
            self.anomalies.append(anomaly)
            log.warning("loading anomaly", **anomaly.detail())
            self._on_anomaly(anomaly)
        if anomalies and self._config.action is Anomalies.STOP:
            raise LoadingAnomaly(anomalies[0].message, anomalies[0].stage.value)

    def rows(self, model: str, hardware: str, at: float) -> list[dict[str, Any]]:
        """The start for the store: a row for each stage.

        Args:
            model: the model's name.
            hardware: what it started on.
            at: Unix time, in seconds.
        """
        about = {"model": model, "hardware": hardware, "at": at}
        return [about | record.row() for record in self.records]


def resident_memory() -> int:
    """Bytes of resident memory of this process and of those it has started, such as ranks."""
    process = psutil.Process()
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += int(child.memory_info().rss)
    return total


def hardware() -> str:
    """A short, stable name of what this process computes on.

    Returns:
        Such as `2x NVIDIA H100 80GB HBM3`, of the GPUs that this process may use, or the node's
        cores, `64x AMD EPYC 9554 64-Core Processor`.
    """
    # It asks the driver without making this process a user of the GPU, as torch would.
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        return _short(f"{os.cpu_count()}x {_cpu_name()}")
    return _short(f"{current_platform.device_count()}x {current_platform.get_device_name(0)}")


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _short(name: str) -> str:
    return " ".join(re.sub(r"\([RrTtMm]+\)", "", name).split())[:MOST_NAME]
