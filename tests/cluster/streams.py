"""Many streaming clients at once."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx

from tests.cluster.fleet import Fleet


@dataclass(slots=True)
class Stream:
    """What one client has seen so far."""

    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None
    tokens: int = 0
    text: str = ""
    error: dict[str, Any] | None = None
    finish: str | None = None
    broken: str | None = None
    """What went wrong below HTTP; a well-behaved service leaves it empty."""

    @property
    def whole(self) -> bool:
        return self.status == 200 and self.finish is not None and self.error is None


class Streams:
    """Clients on a thread of their own, each with one streaming chat request.

    Args:
        fleet: whom to ask.
        count: how many clients.
        body: the request of each.
        zone: the zone that they ask for.
        path: the call, under /v1/.
        leave_after: after how many events each leaves, in turn: 0 leaves as soon as the request is
            sent, -1 stays.
    """

    def __init__(
        self,
        fleet: Fleet,
        count: int,
        body: Mapping[str, Any],
        zone: str | None = None,
        leave_after: tuple[int, ...] = (),
        path: str = "chat/completions",
    ) -> None:
        self.all = [Stream() for _ in range(count)]
        self._url = f"{fleet.url}/v1/{path}"
        self._body = dict(body) | {"stream": True}
        self._headers = {"authorization": f"Bearer {fleet.key}"}
        if zone:
            self._headers["x-tidegate-zone"] = zone
        self._leave_after = leave_after
        self._loop = asyncio.new_event_loop()
        self._gone = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="streams")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        if args[0] is not None:
            self.leave()
        self._thread.join()

    def leave(self) -> None:
        """Closes the connection of every client that is still reading."""
        with contextlib.suppress(RuntimeError):  # all have their answers
            self._loop.call_soon_threadsafe(self._gone.set)

    def join(self, timeout_s: float) -> None:
        """Waits until every client has its answer.

        Raises:
            TimeoutError: some have not; they are disconnected.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.leave()
            raise TimeoutError(f"unfinished: {[s for s in self.all if not s.finish][:3]}")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=300, limits=limits, headers=self._headers) as client:
            tasks = [
                asyncio.ensure_future(self._one(client, stream, number))
                for number, stream in enumerate(self.all)
            ]
            gone = asyncio.ensure_future(self._gone.wait())
            done = asyncio.gather(*tasks, return_exceptions=True)
            ends: list[asyncio.Future[Any]] = [done, gone]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            for task in tasks:
                task.cancel()
            for outcome in await done:
                if isinstance(outcome, Exception):
                    raise outcome

    async def _one(self, client: httpx.AsyncClient, stream: Stream, number: int) -> None:
        leave_after = (
            self._leave_after[number % len(self._leave_after)] if self._leave_after else -1
        )
        if leave_after == 0:
            await self._hang_up()
            return
        events = 0
        try:
            async with client.stream("POST", self._url, json=self._body) as answer:
                stream.status, stream.headers = answer.status_code, answer.headers
                if answer.status_code != 200:
                    stream.error = json.loads(await answer.aread())["error"]
                    return
                async for line in answer.aiter_lines():
                    if line.startswith("data: {"):
                        _take(stream, json.loads(line.removeprefix("data: ")))
                        events += 1
                        if events == leave_after:
                            return
        except httpx.HTTPError as error:
            stream.broken = repr(error)

    async def _hang_up(self) -> None:
        """Sends a request and leaves without waiting for anything."""
        url = httpx.URL(self._url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        content = json.dumps(self._body).encode()
        key = f"authorization: {self._headers['authorization']}\r\n"
        head = f"POST {url.path} HTTP/1.1\r\nhost: x\r\n{key}content-length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def _take(stream: Stream, event: dict[str, Any]) -> None:
    if "error" in event:
        stream.error = event["error"]
        return
    for choice in event["choices"]:
        text = choice["delta"].get("content") if "delta" in choice else choice["text"]
        stream.tokens += bool(text)
        stream.text += text or ""
        stream.finish = choice["finish_reason"] or stream.finish
