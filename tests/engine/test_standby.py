"""Replicas that stand by: they take nothing, are checked before they are woken, and come back."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from autoscaling.plan_terms import Site
from autoscaling.warm_pool import Order, Phase, Report
from deployments import attendant as attendants
from deployments.attendant import Attendant, Origin
from deployments.fitness import Fitness
from deployments.keeping import Told
from tests.engine.stack import Gateway, Replica, Stack

CHAT = "/v1/chat/completions"
NAME = "small-b"
PROMPT = [1, 2, 3]


class Keeper:
    """Stands for the keeper: answers reports by what it was told to."""

    def __init__(self) -> None:
        self.order = Order.KEEP
        self.leaves_in_s: float | None = None
        self.away = False
        self.reports: list[Report] = []

    async def ask(self, report: Report) -> Told:
        if self.away:
            raise ConnectionError
        self.reports.append(report)
        return Told(self.order, self.leaves_in_s)


class Attended:
    """A replica of the stack with an attendant, and what became of it."""

    def __init__(self, replica: Replica) -> None:
        self.keeper = Keeper()
        self.unfit: list[str] = []
        self.ended = False
        self.fitness = Fitness(replica.host, PROMPT, kv_cache_bytes=0, sleeps=False)
        self.attendant = Attendant(
            NAME,
            Origin("node", Site("on-demand"), start_s=1.0, cached=True),
            replica.host,
            self.fitness,
            self.keeper.ask,
            drain_s=20.0,
            on_unfit=self._unfit,
            end=self._end,
        )

    @property
    def phase(self) -> Phase:
        return self.attendant.phase

    async def _unfit(self, reason: str) -> None:
        self.unfit.append(reason)

    async def _end(self) -> None:
        self.ended = True


@contextmanager
def attended(stack: Stack, phase: Phase = Phase.STANDBY) -> Iterator[Attended]:
    """The attendant at work, faster than in production; the replica then is as it was before."""
    host = stack.replicas[NAME].host
    it = stack.call(lambda: Attended(stack.replicas[NAME]))
    if phase is Phase.STANDBY:
        stack.run(host.set_aside(5.0))
    it.attendant.phase = phase
    with mock.patch.object(attendants, "REPORT_S", 0.02):
        task = stack.call(lambda: asyncio.ensure_future(it.attendant.run()))
        try:
            yield it
        finally:
            stack.call(task.cancel)
            stack.call(host.resume)
            stack.call(host.stay)


@pytest.fixture
def pair(stack: Stack) -> Iterator[Gateway]:
    """A gateway that knows both engines of the small pool, and no other."""
    gateway = stack.gateway(replicas={"small-a", NAME})
    yield gateway
    stack.until(lambda: NAME in gateway.connected())
    stack.members(gateway, set())


def test_a_replica_on_standby_takes_nothing(stack: Stack, pair: Gateway) -> None:
    with attended(stack) as replica:
        stack.until(lambda: pair.connected() == {"small-a"})
        for _ in range(4):
            assert pair.post(CHAT, pair.chat()).status_code == 200
            assert stack.replicas[NAME].host.live_requests == 0
        replica.keeper.order = Order.WAKE
        stack.until(lambda: replica.phase is Phase.ACTIVE)
        stack.until(lambda: pair.connected() == {"small-a", NAME})
    assert replica.unfit == []


def test_a_gateway_that_comes_later_is_told(stack: Stack) -> None:
    with attended(stack):
        args = {"small-a", NAME}
        gateway = stack.gateway(replicas=set())
        stack.members(gateway, args, connected={"small-a"})
        stack.until(lambda: gateway.connected() == {"small-a"})
        assert gateway.post(CHAT, gateway.chat()).status_code == 200


def test_streams_go_on_elsewhere_when_a_replica_is_parked(stack: Stack, pair: Gateway) -> None:
    body = pair.chat("Tell me of the sea.", max_tokens=600, ignore_eos=True)
    calm = pair.post(CHAT, body).json()["choices"][0]["message"]["content"]
    texts: list[str] = []

    def ask() -> None:
        texts.append(pair.post(CHAT, body).json()["choices"][0]["message"]["content"])

    with attended(stack, Phase.ACTIVE) as replica:
        replica.attendant._drain_s = 0.5
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        stack.until(lambda: stack.replicas[NAME].host.live_requests > 0)
        replica.keeper.order = Order.PARK
        stack.until(lambda: replica.phase is Phase.STANDBY)
        replica.keeper.order = Order.KEEP
        assert stack.replicas[NAME].host.live_requests == 0
        for thread in threads:
            thread.join()
    assert texts == [calm] * 4


def test_weights_that_changed_in_memory_are_not_woken(stack: Stack) -> None:
    host = stack.replicas[NAME].host

    def flip(core: Any) -> None:
        def work(worker: Any) -> None:
            parameter = next(worker.model_runner.get_model().parameters())
            # Twice is as if nothing had been.
            parameter.data.view(-1)[7] *= -1

        core.model_executor.collective_rpc(work)

    with attended(stack) as replica:
        stack.until(lambda: replica.fitness._fingerprint is not None)
        stack.run(host.call(flip))
        replica.keeper.order = Order.WAKE
        try:
            stack.until(lambda: replica.phase is Phase.FAILED)
        finally:
            stack.run(host.call(flip))
        assert "not what was loaded" in replica.unfit[0]
        assert host._standby
        replica.keeper.order = Order.EXIT
        stack.until(lambda: replica.ended)


def test_a_replica_that_nobody_speaks_to_serves(stack: Stack) -> None:
    with mock.patch.object(attendants, "ALONE_S", 0.3), attended(stack) as replica:
        replica.keeper.away = True
        stack.until(lambda: replica.phase is Phase.ACTIVE)


def test_a_replica_that_was_told_to_stand_by_does(stack: Stack) -> None:
    with mock.patch.object(attendants, "ALONE_S", 0.3), attended(stack) as replica:
        stack.until(lambda: len(replica.keeper.reports) > 2)
        replica.keeper.away = True
        stack.run(asyncio.sleep(0.6))
        assert replica.phase is Phase.STANDBY


def test_what_it_reports(stack: Stack) -> None:
    with attended(stack) as replica:
        stack.until(lambda: len(replica.keeper.reports) > 2)
        report = replica.keeper.reports[-1]
    assert (report.replica, report.phase, report.drained) == (NAME, Phase.STANDBY, False)
    assert 0 <= report.fragmentation < 1
    assert report.outstanding_tokens == 0
    assert (report.node, report.cached, report.saturated) == ("node", True, False)


def test_a_replica_drains_and_ends(stack: Stack) -> None:
    with attended(stack, Phase.ACTIVE) as replica:
        replica.keeper.order = Order.DRAIN
        stack.until(lambda: any(report.drained for report in replica.keeper.reports))
        assert replica.phase is Phase.DRAINING
        replica.keeper.order = Order.EXIT
        stack.until(lambda: replica.ended)


def test_the_first_inference_is_a_request_like_any(stack: Stack) -> None:
    replica = stack.call(lambda: Attended(stack.replicas[NAME]))
    assert stack.run(replica.fitness.first_inference()) > 0
    tokens = stack.run(stack.replicas[NAME].host.infer(PROMPT, 5))
    assert len(tokens) == 5
    assert stack.run(stack.replicas[NAME].host.infer(PROMPT, 5)) == tokens


def test_waiting_for_a_start_is_counted(stack: Stack) -> None:
    gateway = stack.gateway(replicas=set())
    waiting = gateway.service.fleet.placing.waiting
    answers: list[int] = []
    thread = threading.Thread(
        target=lambda: answers.append(gateway.post(CHAT, gateway.chat()).status_code)
    )
    thread.start()
    stack.until(lambda: bool(waiting.demand))
    [(name, (tokens, requests))] = waiting.demand.items()
    assert (name, requests) == ("public-small--on-demand", 1)
    assert tokens > 8
    stack.members(gateway, {"small-a"})
    thread.join()
    assert answers == [200]
    assert waiting.demand == {}
    assert waiting.cold_starts == {"public-small": 1}
    assert gateway.post(CHAT, gateway.chat()).status_code == 200
    assert waiting.cold_starts == {"public-small": 1}
    stack.members(gateway, set())
