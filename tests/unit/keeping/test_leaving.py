"""How much time the requests of a replica get whose node goes, as it comes to know of it."""

import asyncio
from typing import Any

import pytest

from autoscaling.plan_terms import Site
from autoscaling.warm_pool import Order, Phase, Report
from deployments import attendant as attendants
from deployments.attendant import Attendant, Origin, time_to_leave
from deployments.keeping import Told
from deployments.messages import Load


class Host:
    """Stands for an engine host with requests that never end."""

    def __init__(self) -> None:
        self.given: list[tuple[str, float]] = []

    def load(self) -> Load:
        return Load(100, 2, 1, 0.5, 30.0, 20.0)

    async def drain(self, timeout_s: float) -> bool:
        self.given.append(("drain", timeout_s))
        await asyncio.sleep(timeout_s)
        return False

    async def set_aside(self, timeout_s: float) -> bool:
        self.given.append(("set aside", timeout_s))
        await asyncio.sleep(timeout_s)
        return False


class Fitness:
    async def fragmentation(self) -> float:
        return 0.0

    async def rest(self) -> None:
        """Nothing to do."""


class Keeper:
    def __init__(self) -> None:
        self.told = Told(Order.KEEP)
        self.reports: list[Report] = []

    async def ask(self, report: Report) -> Told:
        self.reports.append(report)
        return self.told


class World:
    def __init__(self) -> None:
        self.host, self.keeper = Host(), Keeper()
        parts: dict[str, Any] = {"host": self.host, "fitness": Fitness()}
        self.ended = asyncio.Event()
        self.attendant = Attendant(
            "r1",
            Origin("n1", Site("spot", "us-west-2", "us-west-2a"), start_s=12.0, cached=True),
            ask=self.keeper.ask,
            drain_s=300.0,
            on_unfit=self.unfit,
            end=self.end,
            **parts,
        )
        self.attendant.phase = Phase.ACTIVE
        self.running = asyncio.ensure_future(self.attendant.run())

    async def unfit(self, reason: str) -> None:
        raise AssertionError(reason)

    async def end(self) -> None:
        self.ended.set()

    async def rounds(self, count: int = 3) -> None:
        until = len(self.keeper.reports) + count
        async with asyncio.timeout(5):
            while len(self.keeper.reports) < until:
                await asyncio.sleep(0.005)

    def close(self) -> None:
        self.running.cancel()
        if self.attendant._acting is not None:
            self.attendant._acting.cancel()


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendants, "REPORT_S", 0.01)


@pytest.mark.usefixtures("_quick")
async def test_it_says_where_it_is_and_what_it_does() -> None:
    world = World()
    await world.rounds()
    report = world.keeper.reports[-1]
    assert (report.node, report.site.availability_zone) == ("n1", "us-west-2a")
    assert (report.prefill_tps, report.decode_tps, report.saturated) == (30.0, 20.0, True)
    assert (report.start_s, report.cached) == (12.0, True)
    world.close()


@pytest.mark.usefixtures("_quick")
async def test_requests_leave_before_the_node_does() -> None:
    world = World()
    world.keeper.told = Told(Order.DRAIN, 100.0)
    await world.rounds()
    [(what, given_s)] = world.host.given
    assert what == "drain"
    assert given_s == pytest.approx(95.0, abs=1.0)
    world.close()


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("order", [Order.DRAIN, Order.PARK])
async def test_what_was_given_more_time_is_hurried(order: Order) -> None:
    world = World()
    world.keeper.told = Told(order)
    await world.rounds()
    assert [given_s for _, given_s in world.host.given] == [300.0]
    world.keeper.told = Told(Order.KEEP, 60.0)
    await world.rounds(10)
    (_, (what, given_s)) = world.host.given
    assert what == "drain"
    assert given_s == pytest.approx(55.0, abs=1.0)
    assert world.attendant.phase is Phase.DRAINING
    world.close()


def test_there_is_never_less_than_no_time() -> None:
    assert time_to_leave(300.0, 120.0) == 115.0
    assert time_to_leave(20.0, 120.0) == 20.0
    assert time_to_leave(20.0, -3.0) == 0.0
