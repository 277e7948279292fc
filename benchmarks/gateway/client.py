"""One keep-alive HTTP/1.1 connection that sends prepared requests and times what comes back.

As lean as it can be made in Python, because client and server share the machine's cores: a
protocol over httptools, no streams, no task per request, and JSON is read only afterwards.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from dataclasses import dataclass, field
from typing import cast

from httptools import HttpResponseParser
from httptools.parser.errors import HttpParserError

from benchmarks.gateway.sse import SseScanner

__all__ = ["Connection", "Log", "Record"]

_ERROR_TEXT = 300


@dataclass(slots=True)
class Record:
    """One request; times in seconds of ``time.perf_counter``, 0 where it never came to that.

    Attributes:
        started: the request was written.
        first: first content byte was read (whole answers: first byte of the body).
        ended: last byte was read.
        status: HTTP status, 0 if no answer came.
        tokens: output tokens by the answer's own usage.
        error: what went wrong, empty if nothing did.
    """

    started: float
    first: float = 0.0
    ended: float = 0.0
    status: int = 0
    tokens: int = 0
    error: str = ""


@dataclass(slots=True)
class Log:
    """What all connections of one load write down.

    Attributes:
        gaps: seconds between successive reads with content, of all streams.
        stalls: (time the silence began, seconds it lasted, the record's start) for each gap of
            at least ``stall_s``.
        pauses: (time it began, seconds it lasted) whenever the load generator itself stood still.
    """

    stall_s: float = 0.25
    records: list[Record] = field(default_factory=list)
    gaps: array[float] = field(default_factory=lambda: array("d"))
    stalls: list[tuple[float, float, float]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    bodies: list[tuple[Record, bytes]] = field(default_factory=list)

    def read_usage(self) -> None:
        """Reads the usage of whole answers; done after the load, not during it."""
        for record, body in self.bodies:
            try:
                record.tokens = int(json.loads(body)["usage"]["completion_tokens"])
            except (ValueError, KeyError, TypeError):
                record.error = record.error or "no usage in " + repr(body[:_ERROR_TEXT])
        self.bodies.clear()


class Connection(asyncio.Protocol):
    """Sends one request at a time and writes its record to the log.

    Args:
        log: where records go.
        stream: the answers are server-sent events.
    """

    def __init__(self, log: Log, stream: bool) -> None:
        self._log = log
        self._stream = stream
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._record = Record(0.0)
        self._scanner = SseScanner()
        self._body: list[bytes] = []
        self._now = 0.0
        self._last = 0.0
        self._content = 0

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[None]:
        """Writes the request; the future is done when its record is.

        It never fails: what goes wrong stands in the record.
        """
        assert self._transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._parser = HttpResponseParser(self)
        self._scanner = SseScanner()
        self._body = []
        self._last = 0.0
        self._content = 0
        self._record = Record(time.perf_counter())
        self._log.records.append(self._record)
        self._transport.write(request)
        return self._waiter

    def abort(self, reason: str) -> None:
        """Ends the running request, if there is one, as failed for this reason."""
        self._finish(reason)
        self.close()

    def expired(self, before: float) -> bool:
        """Whether a request runs that was sent before this time."""
        return self._waiter is not None and self._record.started < before

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(f"connection closed: {exc}" if exc else "connection closed")

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        if self._waiter is None or self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.abort(f"not HTTP: {error}")
            return
        if self._content:
            self._read()

    # httptools

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._record.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if self._stream and self._record.status == 200:
            self._content += self._scanner.feed(body)
        else:
            if not self._body:
                self._record.first = self._now
            self._body.append(body)

    def on_message_complete(self) -> None:
        # The read that ends a message may hold content: it must be counted before the end.
        if self._content:
            self._read()
        assert self._parser is not None
        record = self._record
        reason = ""
        if record.status != 200:
            reason = f"HTTP {record.status}: {b''.join(self._body)[:_ERROR_TEXT]!r}"
        elif not self._stream:
            self._log.bodies.append((record, b"".join(self._body)))
        elif self._scanner.error:
            reason = self._scanner.error[:_ERROR_TEXT]
        elif not self._scanner.done:
            reason = "the stream ended without [DONE]"
        elif self._scanner.usage_tokens is None:
            reason = "the stream ended without usage"
        else:
            record.tokens = self._scanner.usage_tokens
        if not self._parser.should_keep_alive():
            self.close()
        self._finish(reason)

    def _read(self) -> None:
        now = self._now
        self._content = 0
        if self._last:
            gap = now - self._last
            log = self._log
            log.gaps.append(gap)
            if gap >= log.stall_s:
                log.stalls.append((self._last, gap, self._record.started))
        else:
            self._record.first = now
        self._last = now

    def _finish(self, reason: str) -> None:
        waiter = self._waiter
        if waiter is None:
            return
        self._waiter = None
        self._record.ended = time.perf_counter()
        self._record.error = reason
        if not waiter.done():
            waiter.set_result(None)
