"""An engine serves its own zone to whoever holds its token, whatever a gateway believes."""

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
import pytest
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreOutputs, EngineCoreRequest
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

from app.config import Market
from app.errors import ReplicaUnreachable
from deployments import wire
from deployments.messages import Load, Refusal, Submission, encode, encode_ids
from deployments.wire import Connection, Endpoint, Hello, Kind, connect, prove
from tests.engine.stack import Gateway, Replica, Stack

CHAT = "/v1/chat/completions"


@dataclass
class Client:
    """A gateway of the barest kind, for one engine."""

    connection: Connection | None = None
    tokens: list[int] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False

    def on_frame(self, connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        if kind is Kind.OUTPUTS:
            message = MsgpackDecoder(EngineCoreOutputs).decode(buffers)
            for output in message.outputs:
                self.tokens += output.new_token_ids
                if output.finish_reason is not None:
                    self.ended.set()
        elif kind is Kind.REFUSED:
            self.refusals.append(msgspec.msgpack.decode(buffers[0], type=Refusal))
            self.ended.set()
        elif kind is Kind.LOAD:
            self.loads.append(msgspec.msgpack.decode(buffers[0], type=Load))

    def on_lost(self, connection: Connection) -> None:
        self.lost = True
        self.ended.set()

    def add(self, zone: str, request_id: str = "r1", max_tokens: int = 5) -> None:
        request = EngineCoreRequest(
            request_id=request_id,
            prompt_token_ids=[1, 300, 301],
            mm_features=None,
            sampling_params=SamplingParams(max_tokens=max_tokens, temperature=0, ignore_eos=True),
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=None,
            cache_salt=None,
            data_parallel_rank=None,
        )
        self.send(Kind.ADD, encode(Submission(zone, 8, "t")), *MsgpackEncoder().encode(request))

    def send(self, kind: Kind, *buffers: bytes) -> None:
        assert self.connection is not None
        self.connection.send(kind, buffers)

    async def done(self) -> None:
        async with asyncio.timeout(20):
            await self.ended.wait()
        self.ended.clear()


@contextlib.asynccontextmanager
async def client(endpoint: Endpoint) -> AsyncIterator[Client]:
    client = Client()
    client.connection = await connect(endpoint, client.on_frame, client.on_lost)
    try:
        yield client
    finally:
        client.connection.close()


@pytest.fixture
def replica(stack: Stack) -> Replica:
    return stack.replicas["private"]


@pytest.mark.parametrize("zone", ["public", "", "PRIVATE", "private\0", "confidential"])
def test_an_engine_refuses_other_zones(stack: Stack, replica: Replica, zone: str) -> None:
    replica.violations.clear()
    replica.host.requests.clear()
    replica.host.recording = True

    async def ask() -> Client:
        async with client(replica.endpoint) as peer:
            peer.add(zone)
            await peer.done()
            assert replica.host.live_requests == 0
            # The stream is as good as before.
            peer.add("private", "r2")
            await peer.done()
            return peer

    peer = stack.run(ask())
    replica.host.recording = False
    [refusal] = peer.refusals
    assert (refusal.request_id, refusal.code) == ("r1", "zone_mismatch")
    assert replica.violations == [zone]
    assert len(peer.tokens) == 5
    assert [request.request_id for request in replica.host.requests] == ["r2"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_gateway_that_errs_fails_closed(stack: Stack, stream: bool) -> None:
    erring = stack.gateway(replicas=set())
    private = stack.replicas["private"]
    private.violations.clear()
    [small] = [d for d in erring.config.deployments() if d.pool.name == "public-small"]
    assert small.market is Market.ON_DEMAND
    stack.call(lambda: erring.service.set_engines(small, {"wrong": private.endpoint}))
    stack.until(lambda: erring.connected() == {"wrong"})
    answer = erring.post(CHAT, erring.chat(stream=stream))
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "zone_mismatch"
    assert private.violations == ["public"]
    stack.call(lambda: erring.service.set_engines(small, {}))


@pytest.mark.parametrize(("zone", "pool"), [("public", "public-small"), ("private", "private")])
def test_a_zone_is_served_by_its_own_pools(
    stack: Stack, gateway: Gateway, zone: str, pool: str
) -> None:
    for replica in stack.replicas.values():
        replica.host.requests.clear()
        replica.host.recording = True
    answer = gateway.post(CHAT, gateway.chat(), headers={"x-tidegate-zone": zone})
    for replica in stack.replicas.values():
        replica.host.recording = False
    assert answer.headers["x-tidegate-zone"] == zone
    assert answer.headers["x-tidegate-pool"] == pool
    assert {r.pool for r in stack.replicas.values() if r.host.requests} == {pool}


def test_a_wrong_token_opens_nothing(stack: Stack, replica: Replica) -> None:
    endpoint = replica.endpoint
    for token in ("", "wrong", endpoint.token[:-1], endpoint.token + "x"):
        with pytest.raises(ReplicaUnreachable):
            stack.run(connect(Endpoint(endpoint.host, endpoint.port, token), None, None))  # type: ignore[arg-type]


def frame(kind: int, *buffers: bytes) -> bytes:
    if len(buffers) == 1:
        return struct.pack("<IBH", len(buffers[0]), kind, 1) + buffers[0]
    table = b"".join(struct.pack("<I", len(each)) for each in buffers)
    body = table + b"".join(buffers)
    return struct.pack("<IBH", len(body), kind, len(buffers)) + body


def dial(endpoint: Endpoint) -> tuple[socket.socket, bytes]:
    """A raw connection and the challenge it was met with."""
    sock = socket.create_connection((endpoint.host, endpoint.port), timeout=10)
    data = b""
    while len(data) < 39:
        data += sock.recv(39 - len(data))
    assert data[:7] == struct.pack("<IBH", 32, Kind.CHALLENGE, 1)
    return sock, data[7:]


def shake(endpoint: Endpoint) -> socket.socket:
    """A raw connection that has shown its token."""
    sock, challenge = dial(endpoint)
    proof = prove(endpoint.token, challenge)
    sock.sendall(frame(Kind.HELLO, msgspec.msgpack.encode(Hello(wire.PROTOCOL, proof))))
    assert sock.recv(7) == struct.pack("<IBH", 0, Kind.WELCOME, 1)
    return sock


def closed(sock: socket.socket) -> bytes:
    """What still comes before the other side closes, which it must."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            data += chunk
    sock.close()
    return data


UNTRUSTED = {
    "garbage": b"\xff" * 4096,
    "http": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "oversized": struct.pack("<IBH", 4097, Kind.HELLO, 1),
    "huge": struct.pack("<IBH", 2**32 - 1, Kind.HELLO, 1),
    "no buffers": struct.pack("<IBH", 4, Kind.HELLO, 0) + b"abcd",
    "unknown kind": frame(99, b"abcd"),
    "request first": frame(Kind.ADD, b"a", b"b"),
    "abort first": frame(Kind.ABORT, encode_ids(["r1"])),
    "not a hello": frame(Kind.HELLO, b"\x93\x01\x02\x03"),
    "empty hello": frame(Kind.HELLO, b""),
    "wrong proof": frame(Kind.HELLO, msgspec.msgpack.encode(Hello(1, b"x" * 32))),
    "empty proof": frame(Kind.HELLO, msgspec.msgpack.encode(Hello(1, b""))),
    "split past its end": frame(Kind.HELLO, b"\xff\xff\xff\xff\xff", b""),
}
TRUSTED = {
    "garbage": b"\xff" * 4096,
    "oversized": struct.pack("<IBH", wire.MAX_FRAME_BYTES + 1, Kind.ADD, 1),
    "no buffers": struct.pack("<IBH", 0, Kind.ADD, 0),
    "unknown kind": frame(99, b"abcd"),
    "an answer": frame(Kind.OUTPUTS, b"abcd"),
    "no request": frame(Kind.ADD, encode(Submission("private", 5, "t"))),
    "not a submission": frame(Kind.ADD, b"\xc1", b"\xc1"),
    "not a request": frame(Kind.ADD, encode(Submission("private", 5, "t")), b"\x93\x01\x02\x03"),
    "aborts that are none": frame(Kind.ABORT, b"\x01"),
    "a table past the frame": struct.pack("<IBH", 4, Kind.ADD, 65535) + b"abcd",
}


@pytest.mark.parametrize("name", UNTRUSTED)
def test_strangers_are_shown_out(stack: Stack, replica: Replica, name: str) -> None:
    before = len(replica.host._server.connections)
    sock, _ = dial(replica.endpoint)
    sock.sendall(UNTRUSTED[name])
    assert closed(sock) == b""
    assert len(replica.host._server.connections) == before


@pytest.mark.parametrize("name", TRUSTED)
def test_a_broken_stream_ends_alone(
    stack: Stack, gateway: Gateway, replica: Replica, name: str
) -> None:
    before = len(replica.host._clients)
    lost = gateway.service.fleet.links._links["private"].connection
    sock = shake(replica.endpoint)
    sock.sendall(TRUSTED[name])
    closed(sock)
    answer = gateway.post(CHAT, gateway.chat(), headers={"x-tidegate-zone": "private"})
    assert answer.status_code == 200
    assert gateway.service.fleet.links._links["private"].connection is lost
    stack.until(lambda: len(replica.host._clients) == before)


def test_half_a_frame_waits_and_holds_up_nobody(
    stack: Stack, gateway: Gateway, replica: Replica
) -> None:
    before = len(replica.host._clients)
    sock = shake(replica.endpoint)
    sock.sendall(struct.pack("<IBH", 1 << 20, Kind.ADD, 1) + b"x" * 1000)
    answer = gateway.post(CHAT, gateway.chat(), headers={"x-tidegate-zone": "private"})
    assert answer.status_code == 200
    sock.close()
    stack.until(lambda: len(replica.host._clients) == before)


def test_a_proof_is_good_for_one_connection(stack: Stack, replica: Replica) -> None:
    first, challenge = dial(replica.endpoint)
    hello = msgspec.msgpack.encode(Hello(1, prove(replica.endpoint.token, challenge)))
    second, _ = dial(replica.endpoint)
    second.sendall(frame(Kind.HELLO, hello))
    assert closed(second) == b""
    first.close()


def test_a_silent_stranger_is_shown_out(
    stack: Stack, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE_TIMEOUT_S", 0.3)
    sock, _ = dial(replica.endpoint)
    started = time.monotonic()
    assert closed(sock) == b""
    assert 0.2 < time.monotonic() - started < 5


def test_requests_end_with_their_connection(stack: Stack, replica: Replica) -> None:
    async def ask() -> None:
        async with client(replica.endpoint) as peer:
            peer.add("private", "mine", max_tokens=20_000)
            async with client(replica.endpoint) as other:
                # Nobody can abort, or take the id of, what is not theirs.
                other.send(Kind.ABORT, encode_ids(["mine", "unknown"]))
                other.add("private", "mine")
                await other.done()
                assert [refusal.code for refusal in other.refusals] == ["internal_error"]
            assert replica.host.live_requests == 1

    stack.run(ask())
    stack.settle()


def test_reports_tell_whose_tokens_are_outstanding(stack: Stack, replica: Replica) -> None:
    async def ask() -> tuple[Load, Load]:
        async with client(replica.endpoint) as peer:
            assert not peer.loads or peer.loads[0].foreign_tokens == 0
            peer.add("private", max_tokens=20_000)
            async with client(replica.endpoint) as other:
                while len(other.loads) < 2 or len(peer.loads) < 2:
                    await asyncio.sleep(0.05)
                return peer.loads[-1], other.loads[-1]

    own, other = stack.run(ask())
    assert own.foreign_tokens == 0
    assert other.foreign_tokens == 8
    assert other.running == 1
    assert other.decode_tps > 0
    assert other.kv_usage > 0
