"""Clients that leave, and requests that take too long, leave nothing behind."""

import json
import socket
import threading
import time
from typing import Any

import httpx
import pytest

from app.api.bodies import RESERVED_HEADERS
from tests.engine.stack import LOCALHOST, Gateway, Stack

CHAT = "/v1/chat/completions"
FOREVER = {"max_tokens": 1900, "ignore_eos": True}


def ask(gateway: Gateway, body: dict[str, Any], *headers: str) -> socket.socket:
    """Sends a request on a connection of its own, which the caller closes."""
    data = json.dumps(body).encode()
    lines = [
        f"POST {CHAT} HTTP/1.1",
        "host: x",
        "content-type: application/json",
        f"content-length: {len(data)}",
        *headers,
    ]
    sock = socket.create_connection((LOCALHOST, gateway.port), timeout=30)
    sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
    return sock


def test_a_hundred_clients_leave_mid_stream(stack: Stack, gateway: Gateway) -> None:
    body = gateway.chat(stream=True, **FOREVER)
    with stack.only(gateway, {"small-a", "small-b"}):
        socks = [ask(gateway, body) for _ in range(100)]
        # The engines' batches hold 16: these have tokens, the others wait in the queue.
        for sock in socks[:8]:
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
        stack.until(lambda: gateway.service.api.desk.open_requests == 100)
        assert sum(r.host.live_requests for r in stack.replicas.values()) > 90
        for number, sock in enumerate(socks):
            if number % 2:
                # An abort instead of an orderly end.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            sock.close()
        stack.settle()
        assert gateway.post(CHAT, gateway.chat()).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_client_leaves_while_it_waits(
    stack: Stack, gateway: Gateway, stream: bool, n: int
) -> None:
    body = gateway.chat(stream=stream, n=n, temperature=1, **FOREVER)
    sock = ask(gateway, body)
    stack.until(lambda: gateway.service.fleet.links.in_flight == n)
    sock.close()
    stack.settle()


def test_no_header_keeps_a_request_alive(stack: Stack, gateway: Gateway) -> None:
    # Serve's ingress would look at this one and stop watching.
    assert b"x-request-disconnect-disabled" in RESERVED_HEADERS
    with stack.unwatched(gateway) as bare:
        for stream in (False, True):
            sock = ask(
                bare, bare.chat(stream=stream, **FOREVER), "X-Request-Disconnect-Disabled: ?1"
            )
            stack.until(lambda: gateway.service.fleet.links.in_flight == 1)
            sock.close()
            stack.settle()
        answer = bare.post(CHAT, bare.chat(), headers={"x-request-disconnect-disabled": "?1"})
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] > 0


def test_a_client_leaves_in_the_middle_of_its_body(stack: Stack, gateway: Gateway) -> None:
    for headers in ("content-length: 5000", "transfer-encoding: chunked"):
        sock = socket.create_connection((LOCALHOST, gateway.port), timeout=30)
        sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n".encode())
        sock.sendall(b'{"model": ' if "length" in headers else b'a\r\n{"model": \r\n')
        stack.until(lambda: gateway.service.api.desk.open_requests == 1)
        sock.close()
        stack.settle()
    assert gateway.post(CHAT, gateway.chat()).status_code == 200


def test_a_client_that_reads_slowly_holds_up_nobody(stack: Stack, gateway: Gateway) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect((LOCALHOST, gateway.port))
    data = json.dumps(gateway.chat(stream=True, **FOREVER)).encode()
    sock.sendall(
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
    )
    stack.until(lambda: gateway.service.fleet.links.in_flight == 1)
    started = time.monotonic()
    assert gateway.post(CHAT, gateway.chat()).status_code == 200
    assert time.monotonic() - started < 5
    sock.close()


@pytest.fixture(scope="module")
def hasty(stack: Stack) -> Gateway:
    """A gateway that gives every request half a second."""
    return stack.gateway({"gateway": {"request_timeout_s": 0.5}})


def test_a_request_that_takes_too_long(stack: Stack, hasty: Gateway) -> None:
    response = hasty.post(CHAT, hasty.chat(**FOREVER))
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "request_timeout"
    stack.settle()


def test_a_stream_that_takes_too_long(stack: Stack, hasty: Gateway) -> None:
    response = hasty.post(CHAT, hasty.chat(stream=True, **FOREVER))
    assert response.status_code == 200
    lines = [line for line in response.text.splitlines() if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2][6:])["error"]["code"] == "request_timeout"
    assert '"content":' in lines[-10]
    stack.settle()


def test_a_body_that_never_comes(stack: Stack, hasty: Gateway) -> None:
    sock = socket.create_connection((LOCALHOST, hasty.port), timeout=30)
    sock.sendall(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n".encode())
    assert sock.recv(4096).startswith(b"HTTP/1.1 504")
    sock.close()


def test_more_requests_than_a_gateway_takes(stack: Stack) -> None:
    narrow = stack.gateway({"gateway": {"max_open_requests": 2, "retry_after_s": 3}})
    threads = []
    for _ in range(2):
        body = narrow.chat(max_tokens=600, ignore_eos=True)
        threads.append(threading.Thread(target=narrow.post, args=(CHAT, body)))
        threads[-1].start()
    stack.until(lambda: narrow.service.fleet.links.in_flight == 2)
    response = narrow.post(CHAT, narrow.chat())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "overloaded"
    assert response.headers["retry-after"] == "3"
    assert narrow.http.get("/livez").status_code == 200
    for thread in threads:
        thread.join()
    assert narrow.post(CHAT, narrow.chat()).status_code == 200
    assert isinstance(response, httpx.Response)
