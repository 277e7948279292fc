"""What an arm is: processes that serve the OpenAI API, started and stopped by their ids."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gateway.engine import MODEL_NAME, EngineSettings
from benchmarks.gateway.load import Target
from benchmarks.gateway.processes import MARK, ProcessTable, signal_all, wait_gone

__all__ = ["Arm", "ArmError", "free_port"]

_HOST = "127.0.0.1"
_LOG_TAIL = 3000
# Serve with haproxy takes about 35 s to stop.
_STOP_S = 90.0
_TERM_S = 10.0


class ArmError(RuntimeError):
    """An arm did not start, or died."""


def free_port() -> int:
    """A TCP port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind((_HOST, 0))
        port: int = sock.getsockname()[1]
        return port


class Arm(ABC):
    """One way to serve the model.

    Args:
        settings: the engine's.
        work: an empty directory for this arm's files.

    Attributes:
        headers: sent with every request.
    """

    name: str
    ready_path = "/health"

    def __init__(self, settings: EngineSettings, work: Path) -> None:
        self.settings = settings
        self.work = work
        self.port = free_port()
        self.headers: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._table: ProcessTable | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Command line of the first process; files it needs may be written here."""

    def environment(self) -> dict[str, str]:
        """What the arm sets beyond this process's environment."""
        return self.settings.environment()

    @property
    def target(self) -> Target:
        return Target(_HOST, self.port)

    @property
    def log_path(self) -> Path:
        return self.work / f"{self.name}.log"

    def start(self) -> None:
        """Starts the processes; they are not ready yet."""
        self.work.mkdir(parents=True, exist_ok=True)
        mark = uuid.uuid4().hex
        environment = {**os.environ, **self.environment(), MARK: mark}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C of the terminal is ours to pass on.
                start_new_session=True,
            )
        self._table = ProcessTable(self._process.pid, mark)

    def wait_ready(self, timeout_s: float = 600.0) -> float:
        """Waits until the arm has answered a completion.

        Returns:
            Seconds waited.

        Raises:
            ArmError: it died or was not ready in time; with the end of its log.
        """
        began = time.monotonic()
        last = "nothing listens"
        while time.monotonic() - began < timeout_s:
            self.pids()
            if self._process is None or self._process.poll() is not None:
                raise ArmError(f"{self.name} ended before it was ready\n{self.log_tail()}")
            try:
                last = self._probe()
            except (OSError, http.client.HTTPException, ValueError) as error:
                last = repr(error)
            if not last:
                return time.monotonic() - began
            time.sleep(0.5)
        raise ArmError(f"{self.name} not ready in {timeout_s:g} s: {last}\n{self.log_tail()}")

    def _probe(self) -> str:
        """Empty if the arm serves, else why not."""
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=30)
        try:
            connection.request("GET", self.ready_path)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                return f"GET {self.ready_path} gives {response.status}"
            self.authenticate(connection)
            body = json.dumps({"model": MODEL_NAME, "prompt": "ready", "max_tokens": 1})
            headers = {"content-type": "application/json"} | self.headers
            connection.request("POST", "/v1/completions", body, headers)
            response = connection.getresponse()
            text = response.read()
            return "" if response.status == 200 else f"{response.status}: {text[:300]!r}"
        finally:
            connection.close()

    def authenticate(self, connection: http.client.HTTPConnection) -> None:  # noqa: B027
        """Sets what headers every request needs, once the arm listens; most need none."""

    def pids(self) -> list[int]:
        """Ids of the arm's living processes."""
        return self._table.refresh() if self._table else []

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Stops the processes' clockwork (SIGSTOP) until :meth:`resume`."""
        signal_all(self.pids(), signal.SIGSTOP)

    def resume(self) -> None:
        signal_all(self.pids(), signal.SIGCONT)

    def interrupt(self) -> None:
        """Asks the first process to end, as Ctrl-C would."""
        self.resume()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    def stop(self) -> list[int]:
        """Interrupts, waits, and ends by force what is left.

        Returns:
            Processes that did not go by themselves.
        """
        if self._process is None or self._table is None:
            return []
        self.interrupt()
        stubborn: list[int] = []
        try:
            self._process.wait(_STOP_S)
            left = wait_gone(self._table, _TERM_S)
        except subprocess.TimeoutExpired:
            left = self._table.refresh()
        if left:
            stubborn = left
            signal_all(left, signal.SIGTERM)
            left = wait_gone(self._table, _TERM_S)
            signal_all(left, signal.SIGKILL)
            wait_gone(self._table, _TERM_S)
        self._process.wait(_TERM_S)
        self._process = None
        self._table = None
        return stubborn

    def log_tail(self) -> str:
        """The end of what the arm wrote."""
        try:
            return self.log_path.read_text(errors="replace")[-_LOG_TAIL:]
        except OSError:
            return ""


def stop_all(arms: Sequence[Arm]) -> dict[str, list[int]]:
    """Stops arms side by side; returns the processes that had to be forced, by arm."""
    for arm in arms:
        arm.interrupt()
    return {arm.name: forced for arm in arms if (forced := arm.stop())}
