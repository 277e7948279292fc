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

from app.api.admin import Call, resolve, takes_body
from app.api.bodies import RESERVED_HEADERS, json_object
from app.api.context import Asked, RequestContext
from app.api.desk import FrontDesk, Opens
from app.api.document import openapi_document
from app.api.presence import while_present
from app.config import GatewayConfig
from app.errors import (
    BodyTooLarge,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    RequestTimeout,
    TidegateError,
)
from app.security.authenticator import authorization_of
from app.security.identity import PRIORITY_HEADER, Identity
from app.security.paths import authorise, is_open, no_route, path_of
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
ADMIN = "/admin/v1/"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNWATCHED = b"x-request-disconnect-disabled"
_JSON = (b"content-type", b"application/json")
_MOST_ADMIN_BODY = 64 * 1024
_ADMIN_S = 300.0
_JSON_LINES = (b"content-type", b"application/jsonl")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")

log = structlog.get_logger(__name__)


class Service(Opens, Protocol):
    """What stands behind the routes: the gateway."""

    async def identify(self, authorization: str | None) -> Identity:
        """Who shows this `Authorization` header, or the error that says why nobody."""
        ...

    async def administer(self, call: Call, identity: Identity) -> dict[str, Any]:
        """Serves one call of the admin routes."""
        ...

    async def generate(
        self, body: dict[str, Any], context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """Serves the call that the context names: whole JSON, or server-sent events."""
        ...

    def models(self, identity: Identity) -> dict[str, Any]:
        """The answer to `/v1/models`: what the identity may ask."""
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
            path, method = path_of(scope), scope["method"]
            if is_open(path):
                _allow(method, path, "GET", "HEAD")
                await self._health(path, reply)
                return
            identity = await self._service.identify(authorization_of(scope["headers"]))
            authorise(identity, method, path)
            if path in GENERATING:
                _allow(method, path, "POST")
                asked = _asked(request_id, identity, GENERATING[path], scope["headers"])
                await self._generate(asked, headers, receive, reply)
            elif path in READING:
                _allow(method, path, "GET", "HEAD")
                await self._read(path, identity, reply)
            elif path.startswith(ADMIN):
                await self._in_time(self._administer(scope, headers, identity, receive, reply))
            else:
                raise no_route(path)
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

    async def _health(self, path: str, reply: "Reply") -> None:
        if path == "/livez":
            await reply.json(200, b'{"status":"alive"}')
        else:
            ready, state = self._service.readiness()
            await reply.json(200 if ready else 503, _dump(state))

    async def _read(self, path: str, identity: Identity, reply: "Reply") -> None:
        if path == "/v1/models":
            await reply.json(200, _dump(self._service.models(identity)))
        else:
            await reply.json(200, openapi_document())

    async def _administer(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        identity: Identity,
        receive: Receive,
        reply: "Reply",
    ) -> None:
        body = None
        if takes_body(scope["method"]):
            sent = await self._body(headers, receive)
            if len(sent) > _MOST_ADMIN_BODY:
                raise BodyTooLarge(f"the body is larger than {_MOST_ADMIN_BODY} bytes")
            body = json_object(sent) if sent else {}
        query = scope["query_string"].decode("latin-1")
        call = resolve(scope["method"], scope["path"], query, body)
        if call.lines:
            async with contextlib.aclosing(self._lines(call, identity)) as lines:
                await reply.lines(lines)
        else:
            answer = await self._service.administer(call, identity)
            await reply.json(call.status, _dump(answer))

    async def _in_time(self, work: Awaitable[None]) -> None:
        limit = asyncio.timeout(_ADMIN_S)
        try:
            async with limit:
                await work
        except TimeoutError:
            raise RequestTimeout(f"the call took longer than {_ADMIN_S:g} s") from None

    async def _lines(self, call: Call, identity: Identity) -> AsyncGenerator[str, None]:
        """The lines of an answer that comes in pages."""
        while True:
            page = await self._service.administer(call, identity)
            yield "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in page["lines"])
            if not page.get("next"):
                return
            call = call._replace(params=call.params | {"after": page["next"]})

    async def _generate(
        self, asked: Asked, headers: Mapping[bytes, bytes], receive: Receive, reply: "Reply"
    ) -> None:
        async with self.desk.admit(asked) as context:
            reply.context = context
            body = self.desk.parse(await self._body(headers, receive))
            answer = await self._service.generate(body, context)
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
        self._as_lines = False
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

    async def lines(self, pages: AsyncIterator[str]) -> None:
        """Sends JSON lines as they come; the status waits for the first page."""
        self._as_lines = True
        async for page in pages:
            if not self._begun:
                await self._begin(200, [_JSON_LINES, _NO_CACHE, *self._headers()])
            await self._chunk(page.encode())
        await self._send({"type": "http.response.body", "body": b""})

    async def fail(self, error: TidegateError) -> None:
        """Answers with an error: as the response, or as the end of what has begun."""
        if not self._begun:
            extra = [(k.encode(), v.encode()) for k, v in error.headers().items()]
            await self.json(error.status, _dump(error.body()), extra)
            return
        body = _dump(error.body())
        # Lines that ended well would look like all there are.
        end = body + b"\n" if self._as_lines else b"data: " + body + b"\n\ndata: [DONE]\n\n"
        await self._chunk(end)
        await self._send({"type": "http.response.body", "body": b""})

    def _raise_engine_error(self) -> None:
        # vLLM's generators turn an engine's error into an event of their own shape; the context
        # keeps the original.
        if self.context is not None and self.context.error is not None:
            raise self.context.error

    def _headers(self) -> Headers:
        headers = [(b"x-request-id", self.request_id.encode())] if self._named else []
        if self.context is not None and (allowance := self.context.allowance) is not None:
            headers += [
                (b"x-ratelimit-limit-tokens", b"%d" % allowance.limit),
                (b"x-ratelimit-remaining-tokens", b"%d" % allowance.remaining),
                (b"x-ratelimit-reset-tokens", b"%.3fs" % allowance.reset_s),
            ]
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


def _only(headers: Headers, name: str) -> str | None:
    """The value of a header that may stand there once; another server may have read another one.

    Raises:
        InvalidRequest: it stands there several times.
    """
    found = [value for key, value in headers if key == name.encode()]
    if len(found) > 1:
        raise InvalidRequest(f"{name} is given {len(found)} times; send it once", param=name)
    return found[0].decode("latin-1") if found else None


def _asked(request_id: str, identity: Identity, route: str, headers: Headers) -> Asked:
    zone, priority = _only(headers, ZONE_HEADER), _only(headers, PRIORITY_HEADER)
    return Asked(request_id, identity, route, zone or None, priority or None)


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
