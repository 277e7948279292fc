"""A real PostgreSQL for tests: a server of our own in a temporary folder.

A conftest takes what it needs::

    from tests.postgres import postgres_server, postgres_url, store_url  # noqa: F401
"""

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_START_S = 30.0
_names = itertools.count(1)


class MissingServerError(Exception):
    """There is no PostgreSQL on this machine."""


class PostgresServer:
    """One server; data survives :meth:`stop` and :meth:`kill`, and goes with :meth:`close`."""

    def __init__(self) -> None:
        self._programs = _programs()
        # Not pytest's own folder: the server's user may not enter that.
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-pg-", dir=_memory()))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        try:
            self._run(
                "initdb",
                *("--pgdata", str(self._data), "--username", "tidegate", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
            )
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the server, on the same port each time, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "shared_buffers": "32MB",
            "max_connections": "200",
            "deadlock_timeout": "100ms",
        }
        arguments = [part for item in options.items() for part in ("-c", "=".join(item))]
        # The shell ends the server once this process is gone, however it went: its end of the pipe
        # is closed then.
        script = '"$@" </dev/null & read -r _; kill -QUIT $! 2>/dev/null; wait $!'
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "sh",
                    "-c",
                    script,
                    "sh",
                    self._programs / "postgres",
                    "-D",
                    self._data,
                    *arguments,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                user=self._user,
                extra_groups=[] if self._user else None,
            )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > deadline:
                log_text = (self._folder / "log").read_text()
                raise AssertionError(f"PostgreSQL did not start:\n{log_text}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server as an operator would: open connections are closed, data is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Stop the server at once, as a crash would."""
        self._end(signal.SIGQUIT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server be there and answer nothing."""
        main = self._main_process()
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        processes = [main, *map(int, children)]
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            for process in processes:
                os.kill(process, signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self) -> str:
        """A fresh, empty database."""
        name = f"test_{next(_names)}"
        self.sql(f"CREATE DATABASE {name}")
        # Without TLS, of which asyncpg logs every attempt that is cut short.
        return f"postgresql://tidegate@127.0.0.1:{self.port}/{name}?sslmode=disable"

    def drop(self, url: str) -> None:
        """Remove a database of :meth:`url`, whoever is still connected."""
        name = urlsplit(url).path.removeprefix("/")
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return what it prints."""
        return self._run(
            "psql",
            *("--host", "127.0.0.1", "--port", str(self.port), "--username", "tidegate"),
            *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align"),
            *("--set", "ON_ERROR_STOP=1", "--command", statement, database),
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _main_process(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError):
            os.kill(self._main_process(), how)
            _wait_until_gone(self._data / "postmaster.pid")
        process.stdin.close()
        process.wait(timeout=_START_S)

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            text=True,
            cwd="/",
            user=self._user,
            extra_groups=[] if self._user else None,
        )
        return done.stdout.strip()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server that all tests share, so nobody may stop it; a test that must makes its own."""
    server = make_server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_server: PostgresServer) -> Callable[[], str]:
    """Each call gives the URL of a fresh, empty database."""
    return postgres_server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh store, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store/tidegate.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url = server.url()
    yield url
    server.drop(url)


def make_server() -> PostgresServer:
    """A server; without PostgreSQL on this machine the test is skipped, but fails in CI."""
    try:
        return PostgresServer()
    except MissingServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@functools.cache
def _programs() -> Path:
    """The folder with the server's programs."""
    folders = []
    if (found := shutil.which("postgres")) is not None:
        # The client's programs stand beside the real file, not beside a link to it.
        folders.append(Path(found).resolve().parent)
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("postgres", "initdb", "psql")):
            return folder
    raise MissingServerError("no PostgreSQL here: install the package `postgresql`")


def _memory() -> Path | None:
    """A file system in memory, five times as fast for many small databases; None without one."""
    folder = Path("/dev/shm")
    if folder.is_dir() and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > 2**31:
        return folder
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_gone(file: Path) -> None:
    deadline = time.monotonic() + _START_S
    while file.exists():
        if time.monotonic() > deadline:
            raise AssertionError("PostgreSQL did not stop")
        time.sleep(0.01)
