"""A load that repeats, a spot node that is taken away, and a forecaster that is killed."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
import ray

from tests.cluster.fleet import Fleet, until
from tests.cluster.settings import SMALL_POOL, base_config, foresight, short_folder
from tests.cluster.streams import Streams
from tests.metadata_service import MetadataServer

POOL = SMALL_POOL
ON_DEMAND, SPOT = f"{POOL}--on-demand", f"{POOL}--spot"
PERIOD_S = 50.0
BUSY_S = 20.0
LEARNED_AFTER = 3
LEARNING_TIMEOUT_S = 600
NOTICE_S = 40.0


@pytest.fixture(scope="module")
def metadata() -> Iterator[MetadataServer]:
    with MetadataServer() as service:
        yield service


@pytest.fixture(scope="module")
def foreseeing(orphans: None, metadata: MetadataServer) -> Iterator[Fleet]:
    with (
        short_folder() as folder,
        Fleet(foresight(base_config(), metadata.url, PERIOD_S), folder, orderly=False) as fleet,
    ):
        yield fleet


@dataclass(slots=True)
class Tide:
    """A load that comes and goes with the clock: about 75 output tokens a second while it is busy.

    Args:
        fleet: whom to ask.
    """

    fleet: Fleet
    failures: list[str] = field(default_factory=list)
    answers: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads.append(threading.Thread(target=self._run, name="tide"))
        self._threads[0].start()
        return self

    def __exit__(self, *args: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            if time.time() % PERIOD_S < BUSY_S:
                thread = threading.Thread(target=self._ask)
                self._threads.append(thread)
                thread.start()

    def _ask(self) -> None:
        body = self.fleet.chat("Tell me of the sea.", max_tokens=75, ignore_eos=True)
        answer = self.fleet.post(body)
        if answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 75:
            self.answers += 1
        else:
            self.failures.append(answer.text)


def pools(fleet: Fleet) -> dict[str, Any]:
    """The keeper's counts, by deployment."""
    status = fleet.deployment("keeper").status.remote().result(timeout_s=20)
    found: dict[str, Any] = status["pools"]
    return found


def active(fleet: Fleet) -> int:
    counts = pools(fleet)
    return int(counts[ON_DEMAND]["active"]) + int(counts[SPOT]["active"])


def plan(fleet: Fleet) -> dict[str, Any]:
    answer = fleet.deployment("forecaster").view.remote("plan", POOL)
    found: dict[str, Any] = answer.result(timeout_s=30)["groups"][POOL]
    return found


@pytest.mark.timeout(LEARNING_TIMEOUT_S)
def test_a_load_that_repeats_finds_its_replicas_ready(foreseeing: Fleet) -> None:
    seen: list[tuple[float, int, str]] = []
    with Tide(foreseeing) as tide:
        begun = math.ceil(time.time() / PERIOD_S) * PERIOD_S
        while time.time() < begun + (LEARNED_AFTER + 1) * PERIOD_S + 1:
            reason = plan(foreseeing).get("reason", "")
            seen.append((round(time.time() - begun, 1), active(foreseeing), reason))
            time.sleep(0.5)
    assert not tide.failures
    assert tide.answers > 3 * BUSY_S
    last = LEARNED_AFTER * PERIOD_S
    quiet = [count for at, count, _ in seen if last + BUSY_S <= at < last + PERIOD_S - 5]
    ahead = [count for at, count, _ in seen if last + PERIOD_S - 1 <= at < last + PERIOD_S]
    story = "\n".join(f"{at:6.1f} s: {count} active; {reason}" for at, count, reason in seen)
    assert min(quiet) == 2, story
    assert ahead[-1:] == [3], story


def test_the_forecast_and_the_plan_explain_themselves(foreseeing: Fleet) -> None:
    # The first call has a handle made, which takes seconds on two cores.
    until(lambda: foreseeing.http.get("/admin/v1/plan").status_code == 200, 60)
    answer = foreseeing.http.get("/admin/v1/forecast", params={"pool": POOL})
    assert answer.status_code == 200, answer.text
    side = answer.json()["groups"][POOL]["sides"]["decode"]
    near = side["horizons"][0]["tokens_per_s"]
    assert 0 <= near["p50"] <= near["p90"] <= near["p95"] <= near["p99"]
    assert {each["name"] for each in side["horizons"][0]["members"]} >= {"last_value"}
    planned = foreseeing.http.get("/admin/v1/plan").json()["groups"][POOL]
    assert f"{planned['replicas']} replicas" in planned["reason"]
    assert planned["capacity"]["measured"]
    assert {term["name"] for term in planned["terms"]} >= {"forecast", "reactive", "minimum"}
    assert planned["placement"]["probability"] > 0


def test_without_a_forecaster_nothing_changes_for_clients(foreseeing: Fleet) -> None:
    [replica] = foreseeing.replicas("forecaster")
    body = foreseeing.chat("Tell me of the sea.", max_tokens=300, ignore_eos=True)
    with Streams(foreseeing, 6, body) as streams:
        until(lambda: all(stream.tokens > 10 for stream in streams.all), 60, every_s=0.02)
        os.kill(replica["pid"], signal.SIGKILL)
        # Routes that need it say so; everything else goes on.
        assert foreseeing.http.get("/admin/v1/plan").status_code in {200, 503}
        assert foreseeing.post(foreseeing.chat()).status_code == 200
        streams.join(120)
    assert all(stream.whole for stream in streams.all), streams.all
    assert len({stream.text for stream in streams.all}) == 1
    until(lambda: foreseeing.http.get("/admin/v1/plan").status_code == 200, 60)
    # It has not begun anew: what it had learned was in the store.
    horizons = foreseeing.http.get("/admin/v1/forecast", params={"pool": POOL}).json()
    assert horizons["groups"][POOL]["sides"]["decode"]["horizons"], horizons


def test_a_preempted_node_is_drained_and_no_stream_is_lost(
    foreseeing: Fleet, metadata: MetadataServer
) -> None:
    until(lambda: pools(foreseeing)[SPOT]["active"] == 1, 60)
    [replica] = foreseeing.replicas(SPOT)
    body = foreseeing.chat("Tell me of the sea.", max_tokens=600, ignore_eos=True)
    calm = foreseeing.post(body).json()["choices"][0]["message"]["content"]
    with Streams(foreseeing, 6, body) as streams:
        until(lambda: all(stream.tokens > 10 for stream in streams.all), 60, every_s=0.02)
        assert foreseeing.engine_status(SPOT)["live_requests"] > 0
        metadata.preempt(in_s=NOTICE_S)
        noticed = time.monotonic()
        until(lambda: pools(foreseeing)[ON_DEMAND]["active"] == 2, NOTICE_S, every_s=0.1)
        until(lambda: _draining(replica["node_id"]), NOTICE_S, every_s=0.1)
        took = time.monotonic() - noticed
        streams.join(200)
    assert took < NOTICE_S
    assert all(stream.whole for stream in streams.all), streams.all
    assert {stream.text for stream in streams.all} == {calm}
    until(lambda: pools(foreseeing)[SPOT]["active"] == 0, 60)
    # On-demand goes on standing in for it.
    assert plan(foreseeing)["asks"][ON_DEMAND] == 2
    assert pools(foreseeing)[ON_DEMAND]["active"] == 2


def _draining(node_id: str) -> bool:
    """Whether Ray knows that a node goes, or has gone."""
    from ray._raylet import GcsClient

    gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
    going = {each.hex() if isinstance(each, bytes) else each for each in gcs.get_draining_nodes()}
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    return node_id in going or node_id not in alive
