"""The handshake byte by byte, and what comes right before and after it."""

import asyncio
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.wire import (
    MAX_FRAME_BYTES,
    PROTOCOL,
    Connection,
    Hello,
    Kind,
    prove,
)

Frames = list[tuple[Kind, list[bytes]]]

cuts = st.lists(st.integers(1, 400), max_size=60)


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.ended = True


class Side:
    """One side of a stream, with what it received."""

    def __init__(self, token: str | None = None) -> None:
        self.frames: Frames = []
        self.opened = 0
        self.lost = 0
        self.pipe = Pipe()
        self.connection = Connection(self._frame, self._lost, token=token, on_open=self._open)
        self.connection.connection_made(self.pipe)

    def _frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        self.frames.append((kind, [bytes(each) for each in buffers]))

    def _lost(self, connection: Connection) -> None:
        self.lost += 1

    def _open(self, connection: Connection) -> None:
        self.opened += 1

    async def sent(self) -> bytes:
        await asyncio.sleep(0)
        data = bytes(self.pipe.written)
        self.pipe.written.clear()
        return data


def run(work: Any) -> None:
    asyncio.run(work)


@given(st.binary(max_size=600), cuts)
def test_garbage_before_the_handshake_says_nothing_and_ends(data: bytes, cuts: list[int]) -> None:
    async def check() -> None:
        side = Side(token="secret")
        await side.sent()
        at = 0
        for size in [*cuts, len(data)]:
            if at < len(data) and not side.connection.closed:
                side.connection.data_received(data[at : at + size])
            at += size
        assert side.frames == []
        assert side.opened == 0
        assert not side.connection.trusted
        assert await side.sent() == b""
        side.connection.connection_lost(None)

    run(check())


def hello(token: str, challenge: bytes, protocol: int = PROTOCOL) -> bytes:
    body = msgspec.msgpack.encode(Hello(protocol, prove(token, challenge)))
    return struct.pack("<IBH", len(body), Kind.HELLO, 1) + body


@pytest.mark.parametrize(
    ("token", "protocol", "good"),
    [("secret", PROTOCOL, True), ("other", PROTOCOL, False), ("secret", PROTOCOL + 1, False)],
)
async def test_the_handshake(token: str, protocol: int, good: bool) -> None:
    side = Side(token="secret")
    challenge = (await side.sent())[7:]
    assert len(challenge) == 32
    side.connection.data_received(hello(token, challenge, protocol))
    assert side.connection.trusted is good
    assert side.opened == good
    assert side.connection.closed is not good
    side.connection.connection_lost(None)


async def test_frames_right_behind_the_handshake_are_read() -> None:
    side = Side(token="secret")
    challenge = (await side.sent())[7:]
    frame = struct.pack("<IBH", 2, Kind.ABORT, 1) + b"ab"
    side.connection.data_received(hello("secret", challenge) + frame)
    assert side.frames == [(Kind.ABORT, [b"ab"])]
    side.connection.connection_lost(None)


async def test_challenges_differ() -> None:
    sides = [Side(token="secret") for _ in range(10)]
    assert len({await side.sent() for side in sides}) == 10
    for side in sides:
        side.connection.connection_lost(None)


@pytest.mark.parametrize(("length", "count"), [(MAX_FRAME_BYTES + 1, 1), (0, 0), (3, 2)])
async def test_impossible_headers_end_the_stream(length: int, count: int) -> None:
    side = Side()
    side.connection.data_received(struct.pack("<IBH", length, Kind.ADD, count) + b"abc")
    assert side.connection.closed
    assert side.frames == []


async def test_a_frame_is_not_kept_with_the_buffer_it_came_in() -> None:
    side = Side()
    frame = struct.pack("<IBH", 1, Kind.ADD, 1) + b"a"
    side.connection.data_received(frame * 1000 + frame[:4])
    side.connection.data_received(frame[4:])
    assert len(side.frames) == 1001
    assert not side.connection._buffer


async def test_what_is_sent_after_the_end_is_dropped() -> None:
    side = Side()
    side.connection.send(Kind.ABORT, [b"last"])
    side.connection.close()
    side.connection.send(Kind.ABORT, [b"more"])
    assert (await side.sent())[7:] == b"last"
    assert side.pipe.ended
