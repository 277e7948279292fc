"""A real S3 service over HTTP, and a proxy in front of it that misbehaves as it is told."""

import http.client
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.config.weights import S3Config
from app.weights.s3 import S3Place
from app.weights.s3 import client as s3_client
from app.weights.source import S3Source
from benchmarks.weights.fetching import serving

PART = 64 * 1024
PREFIX = "models/tiny"
_numbers = itertools.count(1)


@dataclass
class Bucket:
    """An empty bucket, and how it is reached."""

    name: str
    config: S3Config
    client: Any

    @property
    def source(self) -> S3Source:
        return S3Source(self.name, PREFIX)

    @property
    def place(self) -> S3Place:
        place = S3Place(self.source, self.config)
        # Making one takes longer than most tests.
        place.client = self.client
        return place

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"{PREFIX}/{name}", Body=data)

    def get(self, name: str) -> bytes:
        answer = self.client.get_object(Bucket=self.name, Key=f"{PREFIX}/{name}")
        data: bytes = answer["Body"].read()
        return data

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"{PREFIX}/{name}")

    def names(self) -> list[str]:
        return sorted(self.place.stored)

    def upload(self, root: Path) -> None:
        for path in root.rglob("*"):
            if path.is_file():
                self.put(path.relative_to(root).as_posix(), path.read_bytes())


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    # A process of its own: what moto brings along disturbs engines that start in this one later.
    with serving("moto", Path()) as url:
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-repeated")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def bucket(s3_server: str, credentials: None) -> Bucket:
    name = f"bucket-{next(_numbers)}"
    config = S3Config(endpoint=s3_server, part=PART, connections=4, retries=1)
    client = s3_client(config)
    client.create_bucket(Bucket=name)
    return Bucket(name, config, client)


class Fault(StrEnum):
    NONE = "none"
    CUT = "cut"
    """Half of the answer, and then nothing more."""
    BUSY = "busy"
    """503 SlowDown."""
    WHOLE = "whole"
    """The whole object, whatever range was asked for."""
    FLIP = "flip"
    """One bit of the answer is another one."""


@dataclass
class Faulty:
    """What the proxy does with the next requests, and what it was asked."""

    choose: Callable[["Asked"], Fault] = lambda _asked: Fault.NONE
    asked: list["Asked"] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def ranges(self, name: str) -> list["Asked"]:
        return [asked for asked in self.asked if asked.range and asked.path.endswith(name)]


@dataclass(frozen=True)
class Asked:
    number: int
    path: str
    range: str | None


@pytest.fixture
def faulty(s3_server: str) -> Iterator[Faulty]:
    state = Faulty()
    upstream = urlsplit(s3_server).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with state.lock:
                asked = Asked(len(state.asked), urlsplit(self.path).path, self.headers["Range"])
                state.asked.append(asked)
            fault = state.choose(asked)
            headers = dict(self.headers.items())
            if fault is Fault.WHOLE:
                headers.pop("Range", None)
            connection = http.client.HTTPConnection(upstream)
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self._answer(fault, answer, data)

        def _answer(self, fault: Fault, answer: http.client.HTTPResponse, data: bytes) -> None:
            self.close_connection = True
            if fault is Fault.BUSY:
                body = b"<Error><Code>SlowDown</Code></Error>"
                self.send_response(503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            if fault is Fault.FLIP:
                data = data[:-1] + bytes([data[-1] ^ 1])
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"connection", "server", "date"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if fault is Fault.CUT else data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def through(bucket: Bucket, faulty: Faulty, **changes: Any) -> S3Place:
    """The bucket's place, with the proxy in front."""
    config = bucket.config.model_copy(update={"endpoint": faulty.url} | changes)
    return S3Place(bucket.source, config)
