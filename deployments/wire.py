"""Framed messages over one TCP connection, between gateways and the replicas they call.

A frame is a kind, and one or more buffers (the encoders of vLLM emit large tensors as buffers of
their own). The server opens with a random challenge and the client proves that it holds the
replica's token, which only Ray Serve's control plane hands out; nothing else is read before that.
The stream is not encrypted: it belongs on the cluster's private network, like Ray's own.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import sha256
from typing import cast

import msgspec

from app.errors import ReplicaUnreachable

MAX_FRAME_BYTES = 256 << 20
MAX_HANDSHAKE_BYTES = 4096
HANDSHAKE_TIMEOUT_S = 10.0
PROTOCOL = 1

_HEADER = struct.Struct("<IBH")
_LENGTH = struct.Struct("<I")

Buffer = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What a frame carries. Requests go to the replica, answers come from it."""

    CHALLENGE = 1
    HELLO = 2
    WELCOME = 3
    ADD = 10
    ABORT = 11
    OUTPUTS = 12
    REFUSED = 13
    LOAD = 14
    BATCHMATES = 15
    SECURITY = 16
    PEER = 17
    PEERS = 18
    WARM = 19
    LEAVING = 20
    STANDBY = 21
    JUDGE = 30
    VERDICT = 31
    TICK = 40
    TOCK = 41
    DIRECTORY = 42
    CALL = 43
    RESULT = 44


class Endpoint(msgspec.Struct, frozen=True):
    """Where a replica's stream listens, and the secret that opens it."""

    host: str
    port: int
    token: str

    def __repr__(self) -> str:
        return f"Endpoint({self.host}:{self.port})"


class Hello(msgspec.Struct, frozen=True):
    """A client's answer to the challenge."""

    protocol: int
    proof: bytes


def prove(token: str, challenge: bytes) -> bytes:
    """HMAC-SHA-256 of the challenge under the replica's token."""
    return hmac.new(token.encode(), challenge, sha256).digest()


class Connection(asyncio.Protocol):
    """One side of a stream: parses frames, and writes them with back-pressure made visible.

    Args:
        on_frame: called with this connection, the kind and the buffers of each whole frame.
        on_lost: called once when the connection has ended, whoever ended it.
        token: for a server, what the client must prove it holds; None for a client.
    """

    def __init__(
        self,
        on_frame: Callable[["Connection", Kind, list[memoryview]], None],
        on_lost: Callable[["Connection"], None],
        on_writable: Callable[["Connection"], None] | None = None,
        *,
        token: str | None = None,
        on_open: Callable[["Connection"], None] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_writable = on_writable
        self._on_open = on_open
        self._token = token
        self._challenge = b""
        self._buffer = bytearray()
        self._needed = _HEADER.size
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._outbox: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.trusted = token is None
        self.writable = True
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Opens with a challenge where this side is the server."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.trusted:
            self._challenge = secrets.token_bytes(32)
            self.send(Kind.CHALLENGE, [self._challenge])
            self._timer = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self.close)

    def data_received(self, data: bytes) -> None:
        """Takes bytes as they come and hands on every frame that they complete."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._needed:
                return
            # A copy, so that whoever keeps a view of a frame does not pin the growing buffer.
            data = bytes(self._buffer)
            self._buffer.clear()
        used = self._parse(memoryview(data))
        if used < len(data):
            self._buffer += data[used:]

    def _parse(self, view: memoryview) -> int:
        """Hands every whole frame in `view` to the callback; returns the bytes used."""
        start, size = 0, len(view)
        while size - start >= _HEADER.size and not self.closed:
            length, kind, count = _HEADER.unpack_from(view, start)
            if length > (MAX_FRAME_BYTES if self.trusted else MAX_HANDSHAKE_BYTES) or count == 0:
                self.close()
                return size
            body = start + _HEADER.size
            if size - body < length:
                self._needed = _HEADER.size + length
                return start
            frame = view[body : body + length]
            start = body + length
            try:
                self._dispatch(Kind(kind), _split(frame, count))
            except (ValueError, msgspec.MsgspecError, struct.error):
                self.close()
                return size
        self._needed = _HEADER.size
        return size if self.closed else start

    def _dispatch(self, kind: Kind, buffers: list[memoryview]) -> None:
        if self.trusted:
            self._on_frame(self, kind, buffers)
            return
        hello = msgspec.msgpack.decode(buffers[0], type=Hello)
        assert self._token is not None
        if (
            kind is not Kind.HELLO
            or hello.protocol != PROTOCOL
            or not hmac.compare_digest(hello.proof, prove(self._token, self._challenge))
        ):
            self.close()
            return
        self.trusted = True
        if self._timer is not None:
            self._timer.cancel()
        self.send(Kind.WELCOME, [b""])
        if self._on_open is not None:
            self._on_open(self)

    def send(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        """Queues a frame; frames queued in one turn of the loop leave in one write."""
        if self.closed or self._transport is None:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        if len(buffers) == 1:
            self._outbox.append(_HEADER.pack(len(buffers[0]), kind, 1))
            self._outbox.append(bytes(buffers[0]))
            return
        sizes = b"".join(_LENGTH.pack(len(b)) for b in buffers)
        total = len(sizes) + sum(len(b) for b in buffers)
        self._outbox.append(_HEADER.pack(total, kind, len(buffers)) + sizes)
        self._outbox.extend(bytes(b) for b in buffers)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox and not self.closed and self._transport is not None:
            self._transport.write(b"".join(outbox))

    def pause_writing(self) -> None:
        """The peer reads slower than this side writes."""
        self.writable = False

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.writable = True
        if self._on_writable is not None:
            self._on_writable(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tells the owner, whoever has closed the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self.closed = True
        self._transport = None
        self._on_lost(self)

    def close(self) -> None:
        """Ends the connection; `on_lost` follows."""
        if not self.closed and self._transport is not None:
            self._flush()
            self.closed = True
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection to a peer that no longer answers; `on_lost` follows."""
        if self._transport is not None:
            self.closed = True
            self._transport.abort()


def _split(frame: memoryview, count: int) -> list[memoryview]:
    if count == 1:
        return [frame]
    table = _LENGTH.size * count
    buffers, at = [], table
    for index in range(count):
        (length,) = _LENGTH.unpack_from(frame, index * _LENGTH.size)
        if at + length > len(frame):
            raise ValueError("a buffer reaches past its frame")
        buffers.append(frame[at : at + length])
        at += length
    return buffers


async def connect(
    endpoint: Endpoint,
    on_frame: Callable[[Connection, Kind, list[memoryview]], None],
    on_lost: Callable[[Connection], None],
    timeout_s: float = HANDSHAKE_TIMEOUT_S,
) -> Connection:
    """Opens a stream to a replica and proves the right to use it.

    Raises:
        ReplicaUnreachable: the replica cannot be reached, or did not accept the proof in time.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def frame(connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if ready.done():
            on_frame(connection, kind, buffers)
        elif kind is Kind.CHALLENGE:
            proof = prove(endpoint.token, bytes(buffers[0]))
            connection.send(Kind.HELLO, [msgspec.msgpack.encode(Hello(PROTOCOL, proof))])
        elif kind is Kind.WELCOME:
            ready.set_result(None)
        else:
            connection.close()

    def lost(connection: Connection) -> None:
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            on_lost(connection)
        elif not ready.done():
            ready.set_exception(
                ReplicaUnreachable(f"{endpoint!r} closed the stream during the handshake")
            )

    connection: Connection | None = None
    try:
        async with asyncio.timeout(timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(frame, lost), endpoint.host, endpoint.port
            )
            await ready
    except (OSError, TimeoutError) as error:
        ready.cancel()
        if connection is not None:
            connection.close()
        raise ReplicaUnreachable(
            f"{endpoint!r} cannot be reached: {error or 'timed out'}"
        ) from error
    return connection


class StreamServer:
    """Listens for gateways on behalf of one replica."""

    def __init__(
        self,
        on_frame: Callable[[Connection, Kind, list[memoryview]], None],
        on_lost: Callable[[Connection], None],
        on_writable: Callable[[Connection], None] | None = None,
        on_open: Callable[[Connection], None] | None = None,
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_writable = on_writable
        self._on_open = on_open
        self._token = secrets.token_urlsafe(32)
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()

    async def start(self, host: str) -> Endpoint:
        """Binds a free port on `host` (an address of this node) and returns the endpoint."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, 0)
        port = self._server.sockets[0].getsockname()[1]
        return Endpoint(host, port, self._token)

    def _accept(self) -> Connection:
        return Connection(
            self._on_frame, self._lost, self._on_writable, token=self._token, on_open=self._opened
        )

    def _opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        if self._on_open is not None:
            self._on_open(connection)

    def _lost(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.discard(connection)
            self._on_lost(connection)

    async def close(self) -> None:
        """Stops listening and ends every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._server.wait_closed(), 1.0)
