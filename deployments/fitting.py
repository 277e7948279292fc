"""Fits beside the forecaster: in one process of their own, with low priority and a time limit.

A process that hangs or dies is replaced; what it was at has then failed. Nothing is pickled, and
the process imports neither ray nor vllm.
"""

import asyncio
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import structlog

from autoscaling.forecast.fitting import FitJob, FitResult
from deployments.fit_wire import HEADER, MOST_BYTES, decode_result, encode_job, framed

LIMIT_S = 120.0
"""What one fit may take."""
MOST_WAITING = 32
"""Fits that wait; more are not to be asked for meanwhile."""
WORKER = (sys.executable, "-m", "deployments.fit_worker")
_GRACE_S = 10
_PAUSES_S = (0.0, 1.0, 10.0, 60.0)
_CHUNK = 65_536

log = structlog.get_logger(__name__)


class _Failed(Exception):
    """The process has given no result."""


class FitProcess:
    """One process, started when it is first needed. Blocks: it is for a thread of its own.

    Args:
        limit_s: what one fit may take, in seconds.
        command: what to start; it is given the limit as its last argument.
    """

    def __init__(self, limit_s: float = LIMIT_S, command: Sequence[str] = WORKER) -> None:
        self._limit_s = limit_s
        self._command = [*command, str(int(limit_s) + _GRACE_S)]
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """Its id; None while there is none."""
        return None if self._process is None else self._process.pid

    def fit(self, job: FitJob) -> FitResult:
        """Has a fit made.

        Args:
            job: what to fit.

        Returns:
            What came of it; one with an `error` if the process has died, hung or talked nonsense.
        """
        until = time.monotonic() + self._limit_s
        try:
            self._write(framed(encode_job(job)), until)
            result = decode_result(self._read(until))
            if (result.model, result.id) != (job.model, job.id):
                raise _Failed("the result is not that of the job")
        except (_Failed, OSError, ValueError) as error:
            self.kill()
            self._failures += 1
            said = f"{error} ({type(error).__name__.strip('_')})"
            log.warning("a fit has failed", model=job.model, error=said)
            return FitResult(job.model, job.series.end, error=said, id=job.id)
        self._failures = 0
        return result

    @property
    def pause_s(self) -> float:
        """How long to wait before the next fit: longer the more of them have failed in a row."""
        return _PAUSES_S[min(self._failures, len(_PAUSES_S) - 1)]

    def kill(self) -> None:
        """Ends the process and what it has started; the next fit starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def close(self) -> None:
        """Ends the process for good; from any thread, also while a fit is being waited for."""
        self._closed = True
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._closed:
            raise _Failed("no more fits are made")
        if self._process is None or self._process.poll() is not None:
            self.kill()
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
            # Found there wherever this process has found them.
            path = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=os.environ | path | threads,
                start_new_session=True,
            )
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)
        return self._process

    def _write(self, frame: bytes, until: float) -> None:
        pipe = self._running().stdin
        assert pipe is not None
        rest = memoryview(frame)
        while rest:
            if not _ready(pipe.fileno(), select.POLLOUT, until):
                raise _Failed(f"the process has not listened for {self._limit_s:g} s")
            rest = rest[os.write(pipe.fileno(), rest[:_CHUNK]) :]

    def _read(self, until: float) -> bytes:
        length = int.from_bytes(self._exactly(HEADER, until), "big")
        if length > MOST_BYTES:
            raise _Failed("the process has talked nonsense")
        return self._exactly(length, until)

    def _exactly(self, count: int, until: float) -> bytes:
        assert self._process is not None
        pipe = self._process.stdout
        assert pipe is not None
        found = bytearray()
        while len(found) < count:
            if not _ready(pipe.fileno(), select.POLLIN, until):
                raise _Failed(f"the fit took longer than {self._limit_s:g} s")
            part = os.read(pipe.fileno(), min(_CHUNK, count - len(found)))
            if not part:
                raise _Failed("the process has ended")
            found += part
        return bytes(found)


def _ready(file: int, event: int, until: float) -> bool:
    poll = select.poll()
    poll.register(file, event)
    return bool(poll.poll(1e3 * max(0.0, until - time.monotonic())))


class Fitting:
    """Makes one fit after the other, without ever blocking the loop.

    Args:
        done: told what came of each, on the loop.
        process: where they are made.
    """

    def __init__(
        self, done: Callable[[FitResult], None], process: FitProcess | None = None
    ) -> None:
        self._done = done
        self._process = process or FitProcess()
        self._waiting: deque[FitJob] = deque()
        self._come = asyncio.Event()

    @property
    def room(self) -> bool:
        """Whether more can be asked for."""
        return len(self._waiting) < MOST_WAITING

    def add(self, jobs: Iterable[FitJob]) -> None:
        """Has fits made, after those that wait."""
        self._waiting.extend(jobs)
        if self._waiting:
            self._come.set()

    async def run(self) -> None:
        """Works for ever."""
        while True:
            while not self._waiting:
                self._come.clear()
                await self._come.wait()
            job = self._waiting.popleft()
            self._done(await asyncio.to_thread(self._process.fit, job))
            await asyncio.sleep(self._process.pause_s)

    def close(self) -> None:
        """Ends the process."""
        self._process.close()
