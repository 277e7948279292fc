"""Replicas that die before the first token, drain or are not there."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from deployments.engine_host import EngineHost
from tests.engine.stack import Gateway, Stack

CHAT = "/v1/chat/completions"
LONG = {"max_tokens": 1500, "ignore_eos": True}


class Asking(threading.Thread):
    """One request under way."""

    def __init__(self, gateway: Gateway, body: dict[str, Any]) -> None:
        super().__init__()
        self._gateway = gateway
        self._body = body
        self._answer: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        self._answer = self._gateway.post(CHAT, self._body)

    def answer(self) -> httpx.Response:
        self.join()
        assert self._answer is not None
        return self._answer


def waiting(gateway: Gateway, name: str) -> Callable[[], bool]:
    return lambda: len(gateway.service.fleet.links._links[name].flights) > 0


def under_way(gateway: Gateway, name: str) -> Callable[[], bool]:
    links = gateway.service.fleet.links._links
    return lambda: any(flight.tokens > 3 for flight in links[name].flights.values())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_before_the_first_token_another_one_answers(
    stack: Stack, gateway: Gateway, stream: bool, n: int
) -> None:
    sampling = {"temperature": 0.9, "seed": 4} if n > 1 else {"temperature": 0}
    body = gateway.chat(stream=stream, n=n, max_tokens=20, **sampling)
    expected = gateway.post(CHAT, body)
    host = stack.replicas["small-a"].host
    with stack.only(gateway, {"small-a"}):
        host.deaf = True
        asking = Asking(gateway, body)
        stack.until(waiting(gateway, "small-a"))
        stack.members(gateway, {"small-a", "small-b"})
        stack.call(host.hang_up)
        answer = asking.answer()
        host.deaf = False
    assert answer.status_code == 200
    assert contents(answer) == contents(expected)
    stack.until(lambda: "small-a" in gateway.connected())


def contents(answer: httpx.Response) -> dict[int, str]:
    """The text of each choice, streamed or not."""
    if "json" in answer.headers["content-type"]:
        return {c["index"]: c["message"]["content"] for c in answer.json()["choices"]}
    texts: dict[int, str] = {}
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                text = choice["delta"].get("content") or ""
                texts[choice["index"]] = texts.get(choice["index"], "") + text
    return texts


def test_a_draining_replica_finishes_and_takes_no_more(stack: Stack, gateway: Gateway) -> None:
    host = stack.replicas["small-a"].host
    with stack.only(gateway, {"small-a"}):
        asking = Asking(gateway, gateway.chat(max_tokens=150, ignore_eos=True))
        stack.until(under_way(gateway, "small-a"))
        with stack.draining("small-a", 60):
            stack.until(lambda: gateway.connected() == set())
            stack.members(gateway, {"small-a", "small-b"}, connected={"small-b"})
            for _ in range(3):
                assert gateway.post(CHAT, gateway.chat()).status_code == 200
            assert asking.answer().status_code == 200
        assert host.live_requests == 0


def test_a_replica_that_leaves_keeps_its_requests(stack: Stack, gateway: Gateway) -> None:
    with stack.only(gateway, {"small-a"}):
        asking = Asking(gateway, gateway.chat(max_tokens=150, ignore_eos=True))
        stack.until(under_way(gateway, "small-a"))
        stack.members(gateway, {"small-b"})
        answer = asking.answer()
        assert answer.status_code == 200
        assert answer.json()["usage"]["completion_tokens"] == 150
        stack.until(lambda: "small-a" not in gateway.service.fleet.links._links)


@pytest.fixture(scope="module")
def impatient(stack: Stack) -> Gateway:
    """A gateway that waits half a second for a replica, and knows none."""
    return stack.gateway({"routing": {"capacity_wait_s": 0.5}}, replicas=set())


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_replica_there_is_no_capacity(impatient: Gateway, stream: bool) -> None:
    started = time.monotonic()
    answer = impatient.post(CHAT, impatient.chat(stream=stream))
    assert 0.4 < time.monotonic() - started < 5
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_capacity"
    assert int(answer.headers["retry-after"]) >= 1


def test_a_request_waits_for_a_replica(stack: Stack, gateway: Gateway) -> None:
    with stack.only(gateway, set()):
        asking = Asking(gateway, gateway.chat())
        stack.until(lambda: gateway.service.api.desk.open_requests == 1)
        time.sleep(0.3)
        stack.members(gateway, {"small-b"})
        assert asking.answer().status_code == 200


def test_a_request_spills_to_a_larger_class_of_its_zone(stack: Stack, gateway: Gateway) -> None:
    with stack.only(gateway, {"large", "private"}):
        answer = gateway.post(CHAT, gateway.chat())
        assert answer.status_code == 200
        assert answer.headers["x-tidegate-pool"] == "public-large"
        assert answer.headers["x-tidegate-size-class"] == "small"


def test_a_request_never_spills_to_another_zone(stack: Stack, impatient: Gateway) -> None:
    stack.members(impatient, {"private"})
    assert impatient.post(CHAT, impatient.chat()).status_code == 503
    stack.members(impatient, {"small-a", "large"})
    answer = impatient.post(CHAT, impatient.chat(), headers={"x-tidegate-zone": "private"})
    assert answer.status_code == 503
    stack.members(impatient, set())


def test_ready_when_every_pool_has_its_replicas(stack: Stack, gateway: Gateway) -> None:
    assert gateway.http.get("/readyz").status_code == 200
    with stack.only(gateway, {"small-a", "small-b", "large"}):
        answer = gateway.http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "starting"


def test_a_silent_replica_counts_as_lost(stack: Stack) -> None:
    gateway = stack.gateway({"routing": {"silence_s": 3}}, replicas={"small-a"})
    host, links = stack.replicas["small-a"].host, gateway.service.fleet.links._links
    stack.until(lambda: gateway.connected() == {"small-a"})
    heard = links["small-a"].connection
    time.sleep(3.5)
    assert links["small-a"].connection is heard
    assert host._reporter is not None
    stack.call(host._reporter.cancel)
    try:
        stack.until(lambda: links["small-a"].connection not in {None, heard}, 10)
    finally:
        stack.run(resume_reports(host))
    stack.members(gateway, set())


async def resume_reports(host: EngineHost) -> None:
    host._reporter = asyncio.get_running_loop().create_task(host._report_forever())
