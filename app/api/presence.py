"""Whether the client is still there.

Serve's ingress cancels a request whose client has left, unless the client says in a header that it
should not. Nobody may keep an engine busy after leaving, so for those requests the service watches
for itself.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Serve = Callable[[Receive], Awaitable[None]]


async def while_present(receive: Receive, serve: Serve) -> None:
    """Serves a request, and cancels that as soon as its client leaves.

    Args:
        receive: ASGI's `receive`; read from here on by nobody else.
        serve: serves the request, reading from what it is given.
    """
    # Short, so that the body comes at its reader's pace.
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)

    async def watch() -> None:
        message: dict[str, Any] = {}
        while message.get("type") != "http.disconnect":
            message = await receive()
            if message["type"] != "http.disconnect" or messages.empty():
                await messages.put(message)

    serving = asyncio.ensure_future(serve(messages.get))
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait((serving, watching), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
    finally:
        for task in (serving, watching):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        with contextlib.suppress(asyncio.CancelledError):
            await watching
