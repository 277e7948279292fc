"""A fake of EC2's instance metadata service, version 2, with the two documents of spot nodes.

It can do what the real one never should: hang, fail, and say things that make no sense.
"""

import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TOKEN = "/latest/api/token"
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
HANG_S = 30.0


class MetadataServer:
    """Listens on loopback, on a thread; a context manager."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()
        self.documents: dict[str, bytes] = {}
        """Bodies by path; a path that is missing is answered 404."""
        self.status: int | None = None
        """What everything is answered with instead, if set."""
        self.redirect: str | None = None
        """Where everything is sent instead, if set."""
        self.hangs = False
        """Whether nothing is answered."""
        self.asked: Counter[str] = Counter()
        """Requests so far, by path."""
        self._ended = threading.Event()
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def preempt(self, in_s: float = 120.0, action: str = "terminate") -> float:
        """Says that the node is taken away; answers when, Unix time in seconds."""
        at = time.time() + in_s
        text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.documents[ACTION] = json.dumps({"action": action, "time": text}).encode()
        return at

    def recommend(self) -> None:
        """Says that the node is at an elevated risk."""
        text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.documents[REBALANCE] = json.dumps({"noticeTime": text}).encode()

    def withdraw(self) -> None:
        """Says nothing any more."""
        self.documents.clear()

    def forget_tokens(self) -> None:
        """Has every token expire."""
        self._tokens.clear()

    def new_token(self) -> str:
        """A token that is good from now on."""
        token = f"token-{len(self._tokens)}-{time.monotonic_ns()}"
        self._tokens.add(token)
        return token

    def knows(self, token: str | None) -> bool:
        """Whether a token is good."""
        return token in self._tokens

    def wait(self) -> None:
        """Keeps a request waiting, until the end at most."""
        self._ended.wait(HANG_S)


class _Handler(BaseHTTPRequestHandler):
    server_state: MetadataServer

    def do_PUT(self) -> None:
        if not self._as_told():
            return
        ttl = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if self.path != TOKEN or not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            self._answer(HTTPStatus.BAD_REQUEST)
        else:
            self._answer(HTTPStatus.OK, self.server_state.new_token().encode())

    def do_GET(self) -> None:
        if not self._as_told():
            return
        state = self.server_state
        if not state.knows(self.headers.get("X-aws-ec2-metadata-token")):
            self._answer(HTTPStatus.UNAUTHORIZED)
        elif self.path in state.documents:
            self._answer(HTTPStatus.OK, state.documents[self.path])
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def _as_told(self) -> bool:
        """Whether to answer as the real one does."""
        state = self.server_state
        state.asked[self.path] += 1
        if state.hangs:
            state.wait()
            self.close_connection = True
            return False
        if state.redirect is not None:
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", state.redirect)
            self.end_headers()
            return False
        if state.status is not None:
            self._answer(state.status)
            return False
        return True

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""
