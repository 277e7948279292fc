"""The load generator against a small server of our own."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from itertools import repeat

import pytest

from benchmarks.gateway.cells import Cell
from benchmarks.gateway.client import Log
from benchmarks.gateway.load import Target, closed_loop, run_async, timed_loop
from benchmarks.gateway.prompts import request_body, request_bytes

Answer = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]

STREAMED = Cell("s", 4, 2, True, 1)
WHOLE = Cell("w", 4, 2, False, 1)
EVENTS = (
    'data: {"choices":[{"text":"a"}]}\n\n',
    'data: {"choices":[{"text":"b"}]}\n\n',
    'data: {"choices":[],"usage":{"completion_tokens":2}}\n\ndata: [DONE]\n\n',
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


async def stream(writer: asyncio.StreamWriter, _: bytes) -> None:
    whole = HEAD + b"".join(chunk(e) for e in EVENTS) + b"0\r\n\r\n"
    for start in range(0, len(whole), 50):
        writer.write(whole[start : start + 50])
        await writer.drain()
        await asyncio.sleep(0)


async def slow_stream(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(HEAD)
    for event in EVENTS:
        await asyncio.sleep(0.05)
        writer.write(chunk(event))
    writer.write(b"0\r\n\r\n")


async def whole(writer: asyncio.StreamWriter, body: bytes) -> None:
    asked = json.loads(body)
    text = json.dumps({"usage": {"completion_tokens": asked["max_tokens"]}})
    writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())


async def refuse(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")


async def hang_up(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(HEAD + chunk(EVENTS[0]))
    await writer.drain()
    writer.close()


async def cut_short(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(HEAD + chunk(EVENTS[0]) + b"0\r\n\r\n")


async def silence(writer: asyncio.StreamWriter, _: bytes) -> None:
    await asyncio.sleep(30)


def load(answer: Answer, cell: Cell, count: int = 1, timeout_s: float = 5.0) -> Log:
    async def main() -> Log:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                    await answer(writer, await reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
            except asyncio.CancelledError:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        body = request_body(cell, "x", "completions")
        requests = [request_bytes("127.0.0.1", port, "completions", body, {})] * count
        target = Target("127.0.0.1", port)
        log = await closed_loop(target, requests, cell.concurrency, cell.stream, timeout_s)
        server.close()
        return log

    return run_async(main())


def test_streams_are_read_whatever_their_pieces() -> None:
    log = load(stream, STREAMED, count=5)
    assert [r.error for r in log.records] == [""] * 5
    assert [r.tokens for r in log.records] == [2] * 5
    assert len(log.gaps) == 5
    assert all(r.started < r.first <= r.ended for r in log.records)


def test_gaps_are_between_reads_with_content_only() -> None:
    log = load(slow_stream, STREAMED)
    (gap,) = log.gaps
    assert 0.04 < gap < 1.0
    assert log.records[0].first - log.records[0].started > 0.04
    assert log.records[0].ended - log.records[0].first > gap


def test_whole_answers_have_their_usage() -> None:
    log = load(whole, WHOLE, count=3)
    assert [(r.status, r.tokens, r.error) for r in log.records] == [(200, 2, "")] * 3


@pytest.mark.parametrize(
    ("answer", "cell", "error"),
    [
        (refuse, WHOLE, "HTTP 503: b'busy'"),
        (refuse, STREAMED, "HTTP 503: b'busy'"),
        (hang_up, STREAMED, "connection closed"),
        (cut_short, STREAMED, "without [DONE]"),
    ],
)
def test_failures_are_recorded_and_the_load_goes_on(answer: Answer, cell: Cell, error: str) -> None:
    log = load(answer, cell, count=3)
    assert len(log.records) == 3
    assert all(error in r.error for r in log.records)


def test_a_request_that_never_ends_is_ended() -> None:
    (record,) = load(silence, STREAMED, timeout_s=0.2).records
    assert "no end within" in record.error


def test_nobody_there() -> None:
    target = Target("127.0.0.1", 9)
    log = run_async(timed_loop(target, repeat(b"x"), 1, False, seconds=0.3))
    assert log.records
    assert all("no connection" in r.error for r in log.records)


def test_the_same_seed_gives_the_same_draw() -> None:
    assert random.Random("a/b").random() == random.Random("a/b").random()


def test_token_ids_are_no_chat() -> None:
    with pytest.raises(ValueError, match="text"):
        request_body(WHOLE, [1, 2], "chat")
    assert json.loads(request_body(WHOLE, [1, 2], "completions"))["prompt"] == [1, 2]
    assert "stream_options" in json.loads(request_body(STREAMED, "hi", "chat"))
