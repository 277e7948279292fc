"""Frames survive any chunking, and nobody gets in without the token."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ReplicaUnreachable
from deployments import wire
from deployments.wire import Connection, Endpoint, Kind, StreamServer, connect

Frames = list[tuple[Kind, list[bytes]]]

kinds = st.sampled_from([Kind.ADD, Kind.ABORT, Kind.OUTPUTS, Kind.LOAD])
frames = st.lists(st.tuples(kinds, st.lists(st.binary(max_size=300), min_size=1, max_size=5)))


class Sink:
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> None:
        return None


async def encoded(sent: Frames) -> bytes:
    sink = Sink()
    sender = Connection(lambda *_: None, lambda _: None)
    sender.connection_made(sink)  # type: ignore[arg-type]
    for kind, buffers in sent:
        sender.send(kind, buffers)
    await asyncio.sleep(0)
    return bytes(sink.written)


@settings(deadline=None)
@given(frames, st.lists(st.integers(1, 64), min_size=1, max_size=50))
def test_frames_survive_any_chunking(sent: Frames, sizes: list[int]) -> None:
    async def run() -> Frames:
        got: Frames = []
        receiver = Connection(
            lambda _, kind, buffers: got.append((kind, [bytes(b) for b in buffers])),
            lambda _: None,
        )
        receiver.connection_made(Sink())  # type: ignore[arg-type]
        data = await encoded(sent)
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            receiver.data_received(data[at : at + size])
            at += size
            turn += 1
        return got

    assert asyncio.run(run()) == sent


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    async def run() -> None:
        receiver = Connection(lambda *_: None, lambda _: None)
        receiver.connection_made(Sink())  # type: ignore[arg-type]
        receiver.data_received(data)

    asyncio.run(run())


@asynccontextmanager
async def served() -> AsyncIterator[tuple[StreamServer, Endpoint, Frames]]:
    got: Frames = []
    server = StreamServer(
        lambda _, kind, buffers: got.append((kind, [bytes(b) for b in buffers])), lambda _: None
    )
    endpoint = await server.start("127.0.0.1")
    try:
        yield server, endpoint, got
    finally:
        await server.close()


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_who_holds_the_token_is_heard() -> None:
    async with served() as (server, endpoint, got):
        connection = await connect(endpoint, lambda *_: None, lambda _: None)
        connection.send(Kind.ADD, [b"one", b"two"])
        await until(lambda: got)
        assert got == [(Kind.ADD, [b"one", b"two"])]
        assert len(server.connections) == 1
        connection.close()
        await until(lambda: not server.connections)


async def test_who_does_not_is_not() -> None:
    async with served() as (server, endpoint, got):
        with pytest.raises(ReplicaUnreachable):
            await connect(replace_token(endpoint), lambda *_: None, lambda _: None)
        assert not server.connections
        assert not got


def replace_token(endpoint: Endpoint) -> Endpoint:
    return Endpoint(endpoint.host, endpoint.port, "wrong")


async def test_frames_before_the_handshake_end_the_connection() -> None:
    async with served() as (server, endpoint, got):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(struct.pack("<IBH", 3, Kind.ADD, 1) + b"abc")
        async with asyncio.timeout(5):
            await reader.read()  # the challenge, then the end
        assert not got
        assert not server.connections
        writer.close()


async def test_a_stranger_may_not_announce_a_large_frame() -> None:
    async with served() as (_, endpoint, got):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(struct.pack("<IBH", wire.MAX_HANDSHAKE_BYTES + 1, Kind.HELLO, 1))
        async with asyncio.timeout(5):
            await reader.read()
        assert not got
        writer.close()


async def test_a_silent_stranger_is_put_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE_TIMEOUT_S", 0.05)
    async with served() as (_, endpoint, _got):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint("127.0.0.1", taken.getsockname()[1], "t")
        with pytest.raises(ReplicaUnreachable, match="cannot be reached"):
            await connect(endpoint, lambda *_: None, lambda _: None)


def test_an_endpoint_does_not_show_its_token() -> None:
    assert "secret" not in repr(Endpoint("h", 1, "secret"))
