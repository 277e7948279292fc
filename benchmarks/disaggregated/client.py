"""One streamed answer: what came and when. It is read into tokens afterwards, not meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from httptools import HttpResponseParser
from httptools.parser.errors import HttpParserError

from benchmarks.disaggregated.asks import Ask, wire
from benchmarks.gateway.load import Target

__all__ = ["Answer", "Reply", "fetch", "read"]

_ERROR_TEXT = 300


@dataclass(slots=True)
class Reply:
    """The bytes of one answer; times in seconds of ``time.perf_counter``.

    Attributes:
        sent: the request was written.
        ended: the last byte was read, or it was given up.
        pieces: when each piece of the body was read, and the piece.
        broken: what went wrong below the answer itself; empty if nothing did.
    """

    ask: Ask
    sent: float = 0.0
    ended: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    broken: str = ""


@dataclass(slots=True)
class Answer:
    """One answer as a client understands it.

    Attributes:
        tokens: the ids of all output tokens, in the order in which they came; none where they were
            not asked for.
        reads: (when, how many) for each read that brought tokens; where their ids were not asked
            for, an event counts as one.
        usage: output tokens by the answer's own usage; None if it did not say.
        error: why it is no whole answer; empty if it is one.
    """

    ask: Ask
    sent: float
    ended: float
    headers: Mapping[str, str]
    tokens: list[int]
    reads: list[tuple[float, int]]
    usage: int | None
    error: str

    @property
    def ttft(self) -> float:
        """Seconds to the first token; NaN if none came."""
        return self.reads[0][0] - self.sent if self.reads else float("nan")


class _Exchange(asyncio.Protocol):
    """One request and its answer on a connection of their own."""

    def __init__(self, reply: Reply, request: bytes) -> None:
        self._reply = reply
        self._request = request
        self._parser = HttpResponseParser(self)
        self._now = 0.0
        self._complete = False
        self._transport: asyncio.Transport | None = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, broken: str = "") -> None:
        if not self.over.done():
            self._reply.ended = time.perf_counter()
            self._reply.broken = broken
            self.over.set_result(None)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast(asyncio.Transport, transport)
        self._reply.sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self.end(f"not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.end(f"connection closed: {exc}" if exc else "connection closed")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reply.headers[name.decode().lower()] = value.decode(errors="replace")

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._reply.pieces.append((self._now, body))

    def on_message_complete(self) -> None:
        self.end()


async def fetch(
    target: Target, ask: Ask, headers: Mapping[str, str], timeout_s: float = 120.0
) -> Reply:
    """Asks and waits for the end; it never raises, what goes wrong stands in the reply."""
    reply = Reply(ask)
    loop = asyncio.get_running_loop()
    request = wire(ask, target, headers)
    try:
        _, exchange = await loop.create_connection(
            lambda: _Exchange(reply, request), target.host, target.port
        )
    except OSError as error:
        reply.sent = reply.ended = time.perf_counter()
        reply.broken = f"no connection: {error}"
        return reply
    timer = loop.call_later(timeout_s, exchange.end, f"no end within {timeout_s:g} s")
    try:
        await exchange.over
    finally:
        timer.cancel()
        exchange.end("left")
    return reply


def read(reply: Reply) -> Answer:
    """What a client makes of the bytes."""
    answer = Answer(
        reply.ask, reply.sent, reply.ended, reply.headers, [], [], None, error=reply.broken
    )
    if reply.status != 200:
        text = b"".join(piece for _, piece in reply.pieces)[:_ERROR_TEXT]
        answer.error = answer.error or f"HTTP {reply.status}: {text!r}"
        return answer
    finish, done, rest = "", False, b""
    for when, piece in reply.pieces:
        *events, rest = (rest + piece).split(b"\n\n")
        count = 0
        for event in events:
            data = event.strip().removeprefix(b"data:").strip()
            if data == b"[DONE]":
                done = True
            elif data.startswith(b"{"):
                document = json.loads(data)
                came, ended = _take(answer, document)
                count += came
                finish = ended or finish
        if count:
            answer.reads.append((when, count))
    if not answer.error and not (done and finish):
        answer.error = "the stream ended before the answer did"
    return answer


def _take(answer: Answer, event: dict[str, Any]) -> tuple[int, str]:
    """How many tokens an event brings, and how the answer finished if it says so."""
    if "error" in event:
        answer.error = json.dumps(event["error"])[:_ERROR_TEXT]
        return 0, ""
    usage = event.get("usage")
    if usage is not None:
        answer.usage = int(usage["completion_tokens"])
    came, finish = 0, ""
    for choice in event["choices"]:
        ids = choice.get("token_ids") or []
        answer.tokens += ids
        came += len(ids) if answer.ask.ids else bool(choice["text"])
        finish = choice.get("finish_reason") or finish
    if finish == "error":
        answer.error = "finished with an error"
    return came, finish
