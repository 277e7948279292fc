"""Where every request comes in, over HTTP or by the Python handle: limits, context, deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

from app.api.bodies import parse
from app.api.context import Asked, RequestContext, current_request
from app.config import GatewayConfig
from app.errors import BodyTooLarge, Overloaded, RequestTimeout, TidegateError


class Opens(Protocol):
    """Who knows what an identity may ask for."""

    def open(self, asked: Asked) -> RequestContext:
        """Begins a request, or refuses its zone or its tier."""
        ...

    def refused(self, asked: Asked, error: TidegateError) -> None:
        """Takes note of how a request was turned away."""
        ...


class FrontDesk:
    """Admits requests while there is room, and bounds each one in size and time.

    Args:
        opens: makes the context of a request.
        limits: the gateway's limits.
    """

    def __init__(self, opens: Opens, limits: GatewayConfig) -> None:
        self._opens = opens
        self._limits = limits
        self._open = 0

    @property
    def open_requests(self) -> int:
        """Requests being served now."""
        return self._open

    @asynccontextmanager
    async def admit(self, asked: Asked) -> AsyncIterator[RequestContext]:
        """Holds one of the open places and gives the request's context, until its deadline.

        Raises:
            Overloaded: every place is taken.
            RequestTimeout: the deadline passed within the block.
            TidegateError: what `Opens.open` refuses, or what the block raises.
        """
        if self._open >= self._limits.max_open_requests:
            raise Overloaded(
                f"this gateway serves its most of {self._limits.max_open_requests} requests",
                retry_after_s=self._limits.retry_after_s,
            )
        self._open += 1
        try:
            context = self._opens.open(asked)
            # Not reset afterwards: each request runs in a task, so in a context, of its own.
            current_request.set(context)
            limit = asyncio.timeout_at(context.deadline)
            try:
                async with limit:
                    yield context
            except Exception:
                # vLLM's layer takes the cancellation for a client that has left, and makes an
                # error of its own of it.
                if limit.expired():
                    raise RequestTimeout(
                        f"the request took longer than {self._limits.request_timeout_s:g} s; "
                        "ask for fewer tokens"
                    ) from None
                raise
        except TidegateError as error:
            self._opens.refused(asked, error)
            raise
        finally:
            self._open -= 1

    def parse(self, body: bytes) -> dict[str, Any]:
        """The JSON object in a request's body, see `app.api.bodies.parse`.

        Raises:
            BodyTooLarge: the body is longer than the gateway takes.
        """
        self.check_size(len(body))
        return parse(body, max_messages=self._limits.max_messages, max_n=self._limits.max_n)

    def check_size(self, size: int) -> None:
        """Raises BodyTooLarge if a body of `size` bytes, or the part read so far, is too long."""
        if size > self._limits.max_body:
            raise BodyTooLarge(
                f"the body is larger than {self._limits.max_body} bytes, the most this service "
                "takes; shorten it"
            )
