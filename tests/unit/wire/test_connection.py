"""Over real sockets: nobody gets in without the token, or stays without a word."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import ReplicaUnreachable
from deployments import wire
from deployments.wire import Endpoint, Kind, StreamServer, connect

Frames = list[tuple[Kind, list[bytes]]]


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
