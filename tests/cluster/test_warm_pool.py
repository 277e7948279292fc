"""Replicas on standby, replicas that die, and replicas that are replaced, under load."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.fleet import Fleet, until
from tests.cluster.settings import base_config, one_pool, short_folder
from tests.cluster.streams import Streams

POOL = "public-small--on-demand"
AGE_S = 55.0
RECYCLED_S = 150.0


def configuration() -> dict[str, Any]:
    """One pool with a replica on standby, whose replicas are replaced at a tender age."""
    markets = {"on-demand": {"min_replicas": 1, "max_replicas": 3, "standby_replicas": 1}}
    config = one_pool(base_config(), markets)
    args = config["applications"][0]["args"]
    # About 2,000 tokens a replica: the last but one of the tests asks for more than that.
    args["scaling"] = {"target_load": 0.12, "up_delay_s": 1.0}
    args["recycling"] = {"age_s": AGE_S, "jitter": 0.0, "drain_s": 20.0}
    return config


@pytest.fixture(scope="module")
def warm(orphans: None) -> Iterator[Fleet]:
    with short_folder() as folder, Fleet(configuration(), folder, orderly=False) as fleet:
        yield fleet


def counts(fleet: Fleet) -> dict[str, Any]:
    status = fleet.deployment("keeper").status.remote().result(timeout_s=20)
    pool: dict[str, Any] = status["pools"][POOL]
    return pool


def pid_of_the_active_one(fleet: Fleet) -> int:
    """The replica that takes requests; whichever is asked answers."""
    while True:
        status = fleet.engine_status(POOL)
        if status["phase"] == "active":
            pid: int = status["pid"]
            return pid


def test_one_replica_serves_and_one_stands_by(warm: Fleet) -> None:
    until(lambda: (counts(warm)["active"], counts(warm)["standby"]) == (1, 1), 90)
    # Whoever asks is served by the one that is active.
    with Streams(warm, 8, warm.chat()) as streams:
        streams.join(60)
    assert all(stream.whole for stream in streams.all)
    [state] = warm.status()["pools"]
    assert state["ready"] == 1


def test_standby_takes_the_place_of_a_replica_that_dies(warm: Fleet) -> None:
    body = warm.chat("Tell me of the sea.", max_tokens=400, ignore_eos=True)
    calm = warm.post(body).json()["choices"][0]["message"]["content"]
    victim = pid_of_the_active_one(warm)
    with Streams(warm, 4, body) as streams:
        until(lambda: all(stream.tokens > 10 for stream in streams.all), 60, every_s=0.02)
        os.kill(victim, signal.SIGKILL)
        died = time.monotonic()
        until(lambda: not warm.whole(), 20, every_s=0.05)
        until(warm.whole, 60, every_s=0.1)
        took = time.monotonic() - died
        streams.join(120)
    assert {stream.text for stream in streams.all} == {calm}
    assert all(stream.whole for stream in streams.all)
    assert counts(warm)["woken"] >= 2
    # Less than a start takes: the imports alone are half of this.
    assert took < 15


def test_load_starts_what_standby_cannot_take(warm: Fleet) -> None:
    """What the keeper plans reaches Serve's controller, and that starts a replica."""
    body = warm.chat("Tell me of the sea.", max_tokens=600, ignore_eos=True)
    with Streams(warm, 14, body) as streams:
        until(lambda: warm.details()[POOL]["target_num_replicas"] == 3, 60)
        streams.join(200)
    assert all(stream.whole for stream in streams.all), streams.all
    until(lambda: len(warm.replicas(POOL)) == 3, 120)


def test_replicas_are_replaced_and_nobody_notices(warm: Fleet) -> None:
    before = {replica["replica_id"] for replica in warm.replicas(POOL)}
    body = warm.chat("Tell me of the sea.", max_tokens=200, ignore_eos=True)
    calm = warm.post(body).json()["choices"][0]["message"]["content"]
    begun = time.monotonic()
    while counts(warm)["recycled"] == 0:
        assert time.monotonic() - begun < AGE_S + RECYCLED_S, counts(warm)
        with Streams(warm, 4, body) as streams:
            streams.join(120)
        assert all(stream.whole for stream in streams.all), streams.all
        assert {stream.text for stream in streams.all} == {calm}
    # One of them has ended, and Serve knows.
    until(lambda: not before <= {each["replica_id"] for each in warm.replicas(POOL)}, 30)
    warm.settle()
