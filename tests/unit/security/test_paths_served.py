"""What a real server makes of addresses, and what becomes of them then."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from app.errors import TidegateError
from app.security.identity import Identity, Role
from app.security.paths import authorise, is_open, path_of

NOBODY = Identity("acme", "ada", "public", roles=frozenset({Role.DEVELOPER}))
ADMIN = Identity("acme", "ada", "public", roles=frozenset({Role.ADMIN}))


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    headers = dict(scope["headers"])
    try:
        path = path_of(scope)
        if not is_open(path):
            authorise(ADMIN if headers.get(b"x-admin") else NOBODY, scope["method"], path)
        status = 200
    except TidegateError as error:
        status = error.status
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(params=["h11", "httptools"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=request.param, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


async def status(port: int, target: str, *headers: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"GET {target} HTTP/1.1", *(headers or ("host: tidegate",)), "connection: close"]
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
    answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def test_plain_addresses_are_decided_by_role(port: int) -> None:
    assert await status(port, "/livez") == 200
    assert await status(port, "/v1/models?x=%2F") == 200
    assert await status(port, "/admin/v1/keys") == 403
    assert await status(port, "/admin/v1/keys", "host: a", "x-admin: 1") == 200
    user = "/admin/v1/tenants/acme/users/ada%40acme.example"
    assert await status(port, user, "host: a", "x-admin: 1") == 200


OTHER_SPELLINGS = [
    "/admin%2Fv1%2Fkeys",
    "/%61dmin/v1/keys",
    "/livez/../admin/v1/keys",
    "/livez/%2e%2e/admin/v1/keys",
    "//admin/v1/keys",
    "/admin/v1/keys/",
    "/admin/v1//keys",
    "/admin/v1/keys%00",
    "/admin/v1/keys;/livez",
    "/admin/v1/keys%3f/livez",
    "/ADMIN/v1/keys",
    "/livez%00",
    "/livez/",
    "/v1/models/",
]


async def test_other_spellings_are_not_served(port: int) -> None:
    for target in OTHER_SPELLINGS:
        for headers in [(), ("host: a", "x-admin: 1")]:
            assert await status(port, target, *headers) in {400, 404}, target


async def test_headers_do_not_move_a_request(port: int) -> None:
    for header in [
        "host: tidegate/livez?",
        "host: tidegate:80/livez#",
        "x-forwarded-host: a/livez",
        "x-forwarded-prefix: /livez",
        "x-original-url: /livez",
        "x-rewrite-url: /livez",
        "x-forwarded-uri: /livez",
        "x-http-method-override: HEAD",
    ]:
        headers = [header] if header.startswith("host:") else ["host: a", header]
        assert await status(port, "/admin/v1/keys", *headers) in {400, 403}, header


async def test_a_whole_address_counts_by_its_path(port: int) -> None:
    assert await status(port, "http://tidegate/livez") in {200, 400, 404}
    assert await status(port, "http://livez/admin/v1/keys") in {400, 403, 404}
