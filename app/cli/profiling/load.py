"""Sends loads to a running service, and keeps the time of every token."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.cli.profiling.arrivals import Load, arrivals, residents
from app.cli.profiling.judge import Answer
from app.cli.profiling.prompts import Shape, Words
from app.cli.profiling.replies import ServiceRefused, events, refusal, take

if TYPE_CHECKING:
    import httpx

_TICK_S = 0.1
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests are to land."""

    pool: str
    zone: str
    model: str


class LoadGenerator:
    """Sends requests to one pool.

    Args:
        client: of the service, with the key.
        target: where they are to land.
        words: what prompts are made of.
        rng: what arrival times are drawn from.
    """

    def __init__(
        self, client: "httpx.AsyncClient", target: Target, words: Words, rng: random.Random
    ) -> None:
        self._client = client
        self._target = target
        self._words = words
        self._rng = rng

    async def calibrate(self) -> None:
        """Learns how many tokens words come to; connects.

        Raises:
            ServiceRefused: the service does not serve such requests.
        """
        counts = []
        for words in (8, 72):
            answer = Answer(0.0)
            await self._exchange(answer, self._words.words(words), 1, time.monotonic())
            if answer.failed is not None:
                raise ServiceRefused(f"a request of {words} words got an error: {answer.failed}")
            counts.append((words, answer.prompt_tokens))
        self._words.learn(counts[0], counts[1])

    async def run(
        self,
        load: Load,
        shape: Shape,
        replicas: int,
        hopeless: Callable[[list[Answer], float], bool],
    ) -> tuple[list[Answer], float]:
        """Sends a load, and gives up what then still runs.

        Args:
            load: what one replica is to get.
            shape: the length of each request.
            replicas: how many share the load.
            hopeless: whether to stop early, from the answers so far and the seconds since it began.

        Returns:
            The answers, and the seconds that it took.

        Raises:
            ServiceRefused: the service refuses such requests, or is not there.
        """
        answers: list[Answer] = []
        begun = time.monotonic()
        send = self._open if load.rate else self._closed
        tasks: set[asyncio.Task[None]] = set()
        sending = asyncio.create_task(send(load, shape, replicas, answers, tasks, begun))
        tasks.add(sending)
        try:
            while not sending.done():
                await asyncio.wait([sending], timeout=_TICK_S)
                for task in [each for each in tasks if each.done()]:
                    task.result()
                    tasks.discard(task)
                if hopeless(answers, time.monotonic() - begun):
                    break
            took = time.monotonic() - begun
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return answers, took

    async def _open(
        self,
        load: Load,
        shape: Shape,
        replicas: int,
        answers: list[Answer],
        tasks: set[asyncio.Task[None]],
        begun: float,
    ) -> None:
        """Requests that come when they are due, answered or not."""
        there = round(load.at_once * replicas)
        if there:
            for left in residents(there, shape.output):
                self._send(Answer(0.0, resident=True), shape.prompt, left, answers, tasks, begun)
        for due in arrivals(load.rate * replicas, load.seconds, self._rng):
            await asyncio.sleep(max(0.0, begun + due - time.monotonic()))
            self._send(Answer(due), shape.prompt, shape.output, answers, tasks, begun)
        await asyncio.sleep(max(0.0, begun + load.seconds - time.monotonic()))

    async def _closed(
        self,
        load: Load,
        shape: Shape,
        replicas: int,
        answers: list[Answer],
        tasks: set[asyncio.Task[None]],
        begun: float,
    ) -> None:
        """So many requests at a time, a new one for each that is answered."""
        at_once = 1 if load.at_once <= 1 else round(load.at_once * replicas)
        running: set[asyncio.Task[None]] = set()
        ended = 0
        while True:
            now = time.monotonic() - begun
            for task in [each for each in running if each.done()]:
                running.discard(task)
                ended += 1
            enough = now >= load.seconds and ended >= load.least
            if enough or now >= max(4 * load.seconds, _PATIENCE_S):
                return
            while len(running) < at_once:
                answer = Answer(time.monotonic() - begun)
                running.add(self._send(answer, shape.prompt, shape.output, answers, tasks, begun))
            left = load.seconds - now if ended >= load.least else _TICK_S
            await asyncio.wait(running, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED)

    def _send(
        self,
        answer: Answer,
        prompt: int,
        output: int,
        answers: list[Answer],
        tasks: set[asyncio.Task[None]],
        begun: float,
    ) -> asyncio.Task[None]:
        answers.append(answer)
        work = self._exchange(answer, self._words.text(prompt), output, begun)
        task = asyncio.create_task(work)
        tasks.add(task)
        return task

    async def _exchange(self, answer: Answer, prompt: str, output: int, begun: float) -> None:
        """One request, into its answer."""
        import httpx

        body = {
            "model": self._target.model,
            "prompt": prompt,
            "max_tokens": output,
            "ignore_eos": True,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
        headers = {"x-tidegate-zone": self._target.zone}
        try:
            async with self._client.stream(
                "POST", "/v1/completions", json=body, headers=headers
            ) as response:
                if response.status_code != 200:
                    await response.aread()
                    answer.failed = refusal(response)
                    return
                pool = response.headers.get("x-tidegate-pool", "none")
                answer.elsewhere = None if pool == self._target.pool else pool
                async for event in events(response):
                    take(answer, event, time.monotonic() - begun)
        except httpx.ConnectError as error:
            raise ServiceRefused(str(error) or "no connection", reachable=False) from None
        except httpx.HTTPError as error:
            answer.failed = type(error).__name__
