"""The ASGI application: routes, limits, headers and error shapes.

Plain ASGI, since this code runs on every request and every chunk of every stream.
"""

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog

from app.api.bodies import RESERVED_HEADERS
from app.api.context import RequestContext
from app.api.desk import FrontDesk, Opens
from app.api.document import openapi_document
from app.api.presence import while_present
from app.config import GatewayConfig
from app.errors import (
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TidegateError,
)
from app.security.zones import ZONE_HEADER

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

GENERATING = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "complete",
    "/v1/responses": "respond",
}
READING = frozenset({"/livez", "/readyz", "/v1/models", "/openapi.json"})

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNWATCHED = b"x-request-disconnect-disabled"
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")

log = structlog.get_logger(__name__)


class Service(Opens, Protocol):
    """What stands behind the routes: the gateway."""

    async def generate(
        self, call: str, body: dict[str, Any], context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """Serves one of `GENERATING`'s calls: whole JSON, or server-sent events."""
        ...

    def models(self) -> dict[str, Any]:
        """The answer to `/v1/models`."""
        ...

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether every pool has its least replicas, and the state of each."""
        ...


class HttpApi:
    """The service's ASGI application.

    Args:
        service: the gateway behind the routes.
        limits: body size, open requests and times.
        names_requests: whether to answer with `x-request-id`; not where the server around this
            application does so itself, as Ray Serve's does.
    """

    def __init__(
        self, service: Service, limits: GatewayConfig, *, names_requests: bool = True
    ) -> None:
        self._service = service
        self._names_requests = names_requests
        self.desk = FrontDesk(service, limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one HTTP exchange; other protocols are refused."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = {
            name: value for name, value in scope["headers"] if name not in RESERVED_HEADERS
        }
        if len(headers) < len(scope["headers"]) and _UNWATCHED in dict(scope["headers"]):
            # Serve's ingress does as this header says before it asks us.
            await while_present(receive, lambda r: self._respond(scope, headers, r, send))
        else:
            await self._respond(scope, headers, receive, send)

    async def _respond(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        request_id = _request_id(headers)
        reply = Reply(send, request_id, named=self._names_requests)
        try:
            path, method = scope["path"], scope["method"]
            if path in GENERATING:
                _allow(method, path, "POST")
                await self._generate(GENERATING[path], headers, receive, reply)
            elif path in READING:
                _allow(method, path, "GET", "HEAD")
                await self._read(path, reply)
            else:
                raise NotFound(f"there is no route {path[:200]!r}; GET /openapi.json lists them")
        except TidegateError as error:
            await reply.fail(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the last line of defence
            # The text of an unforeseen error may hold a prompt: its type and place must do.
            log.error(  # noqa: TRY400 - a traceback may hold a prompt
                "request failed",
                request_id=request_id,
                error=type(error).__name__,
                at=_place(error),
            )
            await reply.fail(
                InternalError(f"the request failed inside the gateway (request {request_id})")
            )

    async def _read(self, path: str, reply: "Reply") -> None:
        if path == "/livez":
            await reply.json(200, b'{"status":"alive"}')
        elif path == "/readyz":
            ready, state = self._service.readiness()
            await reply.json(200 if ready else 503, _dump(state))
        elif path == "/v1/models":
            await reply.json(200, _dump(self._service.models()))
        else:
            await reply.json(200, openapi_document())

    async def _generate(
        self, call: str, headers: Mapping[bytes, bytes], receive: Receive, reply: "Reply"
    ) -> None:
        zone = headers.get(ZONE_HEADER.encode())
        async with self.desk.admit(
            reply.request_id, zone.decode("latin-1") if zone else None
        ) as context:
            reply.context = context
            body = self.desk.parse(await self._body(headers, receive))
            answer = await self._service.generate(call, body, context)
            if isinstance(answer, bytes):
                await reply.json(200, answer)
            else:
                # Closed here and now if the client leaves, not when it is collected.
                async with contextlib.aclosing(answer) as events:
                    await reply.stream(events)

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit():
            self.desk.check_size(int(declared))
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise InvalidRequest("the client left before its request was whole")
            chunk = message.get("body", b"")
            size += len(chunk)
            self.desk.check_size(size)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


class Reply:
    """One response: remembers whether it has begun, so that an error takes the right form."""

    def __init__(self, send: Send, request_id: str, *, named: bool) -> None:
        self._send = send
        self._named = named
        self._begun = False
        self.request_id = request_id
        self.context: RequestContext | None = None

    async def json(self, status: int, body: bytes, extra: Headers | None = None) -> None:
        """Sends a whole JSON response."""
        headers = [_JSON, (b"content-length", str(len(body)).encode()), *self._headers()]
        await self._begin(status, headers + (extra or []))
        await self._send({"type": "http.response.body", "body": body})

    async def stream(self, events: AsyncIterator[str]) -> None:
        """Sends server-sent events; the status waits for the first token or the first error."""
        held: list[str] = []
        async for event in events:
            self._raise_engine_error()
            if self._begun:
                await self._chunk(event.encode())
                continue
            held.append(event)
            if self.context is None or self.context.started:
                await self._begin(200, [_EVENTS, _NO_CACHE, *self._headers()])
                await self._chunk("".join(held).encode())
        self._raise_engine_error()
        if not self._begun:
            await self._begin(200, [_EVENTS, _NO_CACHE, *self._headers()])
            await self._chunk("".join(held).encode())
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: TidegateError) -> None:
        """Answers with an error: as the response, or as the last event of a begun stream."""
        if not self._begun:
            extra = [(k.encode(), v.encode()) for k, v in error.headers().items()]
            await self.json(error.status, _dump(error.body()), extra)
            return
        await self._chunk(b"data: " + _dump(error.body()) + b"\n\ndata: [DONE]\n\n")
        await self._send({"type": "http.response.body", "body": b""})

    def _raise_engine_error(self) -> None:
        # vLLM's generators turn an engine's error into an event of their own shape; the context
        # keeps the original.
        if self.context is not None and self.context.error is not None:
            raise self.context.error

    def _headers(self) -> Headers:
        headers = [(b"x-request-id", self.request_id.encode())] if self._named else []
        if self.context is not None and (placed := self.context.placement) is not None:
            headers += [
                (b"x-tidegate-zone", placed.zone.encode()),
                (b"x-tidegate-pool", placed.pool.encode()),
                (b"x-tidegate-size-class", placed.size_class.encode()),
                (b"x-tidegate-overhead-ms", b"%.2f" % placed.overhead_ms),
            ]
        return headers

    async def _begin(self, status: int, headers: Headers) -> None:
        self._begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _chunk(self, body: bytes) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": True})


_NO_CACHE = (b"cache-control", b"no-cache")


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"")
    return given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _allow(method: str, path: str, *allowed: str) -> None:
    if method not in allowed:
        raise MethodNotAllowed(f"{path} takes {' or '.join(allowed)}, not {method}", allow=allowed)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}"


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
