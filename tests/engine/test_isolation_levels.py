"""Isolation levels on real engines: who shares a cache, a batch, a memory with whom."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from vllm.sampling_params import StructuredOutputsParams

from app.admission.isolation import BatchWatch
from app.errors import EngineLost, IsolationViolated
from benchmarks.isolation.engine import LoneEngine
from deployments.isolation import claim_of
from tests.engine.stack import side_by_side

PREFIX = list(range(100, 292))  # six blocks of 32 tokens


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """These engines are apart from the stack's."""


@pytest.fixture(scope="module", autouse=True)
def beside_the_stack() -> Iterator[None]:
    with side_by_side():
        yield


@pytest.fixture(scope="module")
def medium() -> Iterator[LoneEngine]:
    with LoneEngine("medium") as engine:
        yield engine


@pytest.fixture(scope="module")
def high() -> Iterator[LoneEngine]:
    with LoneEngine("high") as engine:
        yield engine


@pytest.fixture(scope="module")
def maximum() -> Iterator[LoneEngine]:
    with LoneEngine("maximum", {"hold_s": 0.2}) as engine:
        yield engine


def hits(engine: LoneEngine, start: int, first: tuple[str, str], second: tuple[str, str]) -> int:
    """Tokens of a prompt that the second found in the cache after the first had sent it."""
    prompt = [start, *PREFIX, 7]
    engine.send(prompt, first[0], user=first[1], max_tokens=1).wait()
    cached = engine.send(prompt, second[0], user=second[1], max_tokens=1).wait().cached_tokens
    assert cached is not None
    return cached


def idle(engine: LoneEngine) -> None:
    """Waits until the engine remembers no request."""
    deadline = time.monotonic() + 5
    while engine.host.live_requests or sum(engine.scheduler.get_request_counts()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert engine.scheduler.waiting.core.tracked == 0
    assert not engine.scheduler._claims
    assert engine.scheduler._in_flight == 0


def tenants_of_steps(engine: LoneEngine, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Will hold the tenants of each batch that is scheduled from now on."""
    steps: list[set[str]] = []
    schedule = engine.scheduler.schedule

    def recorded(*args: Any) -> Any:
        output = schedule(*args)
        requests = engine.scheduler.requests
        steps.append({claim_of(requests[key]).tenant for key in output.num_scheduled_tokens})
        return output

    monkeypatch.setattr(engine.scheduler, "schedule", recorded)
    return steps


def test_medium_shares_within_a_tenant_and_no_further(medium: LoneEngine) -> None:
    assert hits(medium, 1, ("acme", "ada"), ("acme", "ada")) == 192
    assert hits(medium, 2, ("acme", "ada"), ("acme", "bob")) == 192
    assert hits(medium, 3, ("acme", "ada"), ("rival", "ada")) == 0


def test_high_shares_with_oneself_alone(high: LoneEngine) -> None:
    assert hits(high, 1, ("acme", "ada"), ("acme", "ada")) == 192
    assert hits(high, 2, ("acme", "ada"), ("acme", "bob")) == 0
    assert hits(high, 3, ("acme", "ada"), ("rival", "ada")) == 0


def test_maximum_keeps_nothing(maximum: LoneEngine) -> None:
    assert hits(maximum, 1, ("acme", "ada"), ("acme", "ada")) == 0
    assert hits(maximum, 2, ("acme", "ada"), ("rival", "ada")) == 0


def test_a_salt_from_outside_is_overwritten_even_if_it_is_the_right_one(
    medium: LoneEngine,
) -> None:
    prompt = [9, *PREFIX, 7]
    medium.send(prompt, "acme", max_tokens=1).wait()
    salts = medium.scheduler.salts
    assert salts is not None
    stolen = salts.of("lone", "acme", "ada")
    assert medium.send(prompt, "rival", max_tokens=1, salt=stolen).wait().cached_tokens == 0
    assert medium.send(prompt, "acme", max_tokens=1, salt="mine").wait().cached_tokens == 192


def test_tenants_share_batches_below_maximum_and_it_is_reported(medium: LoneEngine) -> None:
    answers = [
        medium.send([50 + n] * 20, f"t{n % 3}", max_tokens=32, user=f"u{n}") for n in range(6)
    ]
    everyone = {"t0", "t1", "t2"}
    assert all(answer.wait().batch_tenants == everyone for answer in answers)
    alone = medium.send([60] * 20, "t0").wait()
    assert alone.batch_tenants == {"t0"}
    idle(medium)


def test_maximum_never_batches_two_tenants(
    maximum: LoneEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tenants_of_steps(maximum, monkeypatch)
    before = maximum.scheduler.erasures
    answers = [
        maximum.send([70 + n] * 20, f"t{n % 4}", max_tokens=4 + n % 9, user=f"u{n % 2}")
        for n in range(48)
    ]
    for answer in answers:
        answer.wait()
        assert answer.batch_tenants == {answer.tenant}
        assert len(answer.tokens) == 4 + answers.index(answer) % 9
    assert {len(step) for step in steps if step} == {1}
    turns = [step for step in steps if step]
    switches = sum(first != second for first, second in pairwise(turns))
    assert switches >= 3
    assert maximum.scheduler.erasures - before >= switches
    idle(maximum)


def caches(engine: LoneEngine) -> list[Any]:
    caches: list[Any] = engine.host._core.model_executor.driver_worker.worker.model_runner.kv_caches
    return caches


def test_nothing_of_a_tenant_is_left_when_the_next_one_starts(
    maximum: LoneEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    maximum.send([11] * 100, "acme").wait()
    idle(maximum)
    assert any(cache.count_nonzero() for cache in caches(maximum))
    left: list[int] = []
    erase = maximum.scheduler.erase

    def observed() -> None:
        erase()
        left.append(sum(int(cache.count_nonzero()) for cache in caches(maximum)))
        usage = maximum.scheduler.get_kv_cache_usage()
        assert usage == 0

    monkeypatch.setattr(maximum.scheduler, "erase", observed)
    maximum.send([12] * 100, "acme").wait()
    assert left == []
    maximum.send([11] * 100, "rival").wait()
    assert left == [0]


def test_a_holder_gives_way_in_time(maximum: LoneEngine) -> None:
    stop = threading.Event()
    started: list[float] = []

    def again(_: object) -> None:
        if not stop.is_set():
            keep_on()

    def keep_on() -> None:
        answer = maximum.send([13] * 20, "noisy", max_tokens=16, on_end=again)
        started.append(answer.sent_at)

    for _ in range(24):
        keep_on()
    time.sleep(0.3)
    quiet = maximum.send([14] * 20, "quiet", max_tokens=1).wait()
    stop.set()
    # 0.2 s of holding on, the end of a batch of 16 tokens each, one step; and a crowded machine.
    assert quiet.ttft < 2.0
    assert quiet.batch_tenants == {"quiet"}
    deadline = time.monotonic() + 20
    while maximum.host.live_requests:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    idle(maximum)


def test_an_unfinished_grammar_does_not_keep_the_engine_from_others(maximum: LoneEngine) -> None:
    maximum.send([15] * 20, "acme", max_tokens=1).wait()
    blocked = threading.Event()
    manager = maximum.scheduler.structured_output_manager
    with mock.patch.object(manager, "grammar_init", side_effect=lambda _: blocked.set()):
        never = maximum.send(
            [16] * 20, "slow", params={"structured_outputs": StructuredOutputsParams(regex="a+")}
        )
        assert blocked.wait(5)
    assert maximum.send([17] * 20, "other", max_tokens=1).wait(10).batch_tenants == {"other"}
    assert not never.done.is_set()
    maximum.cancel(never)
    idle(maximum)


@pytest.mark.parametrize(("level", "most"), [("medium", 4), ("maximum", 3)])
def test_headroom_is_real(level: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"kv_cache_memory": "8MiB", "max_model_len": 2000}
    with LoneEngine(level, engine=small) as engine:
        headroom = engine.scheduler._headroom.limit * engine.scheduler.rules.headroom
        assert headroom == pytest.approx(2000)
        running: list[int] = []
        schedule = engine.scheduler.schedule

        def counted(*args: Any) -> Any:
            output = schedule(*args)
            running.append(len(engine.scheduler.running))
            return output

        monkeypatch.setattr(engine.scheduler, "schedule", counted)
        # 13 blocks of 32 tokens each, though only 208 tokens come of it.
        answers = [
            engine.send([20 + n] * 200, "acme", max_tokens=8, expected=200) for n in range(8)
        ]
        for answer in answers:
            answer.wait()
        assert max(running) == most
        alone = engine.send([5] * 1900, "acme", max_tokens=100).wait()
        assert len(alone.tokens) == 100
        idle(engine)


def test_preempted_requests_go_on_and_say_the_same() -> None:
    small = {"kv_cache_memory": "4MiB", "max_model_len": 512}
    prompts = [[200 + n] * 100 for n in range(6)]
    with LoneEngine("high", engine=small) as engine:
        alone = [engine.send(p, "acme", max_tokens=150).wait().tokens for p in prompts]
        preemptions = 0
        preempt = engine.scheduler._preempt_request

        def counted(*args: Any, **kwargs: Any) -> None:
            nonlocal preemptions
            preemptions += 1
            preempt(*args, **kwargs)

        with mock.patch.object(engine.scheduler, "_preempt_request", counted):
            # Expected to be short, they start together, and outgrow the cache.
            answers = [
                engine.send(p, f"t{n % 3}", max_tokens=150, expected=1)
                for n, p in enumerate(prompts)
            ]
            together = [answer.wait().tokens for answer in answers]
        assert preemptions
        assert together == alone
        idle(engine)


def test_cancelled_requests_leave_nothing(medium: LoneEngine, maximum: LoneEngine) -> None:
    for engine in (medium, maximum):
        answers = [engine.send([30 + n] * 50, f"t{n % 3}", max_tokens=500) for n in range(20)]
        time.sleep(0.2)
        for answer in answers:
            engine.cancel(answer)
        idle(engine)
        assert engine.send([3] * 10, "t0", max_tokens=2).wait().finish_reason == "length"


def test_a_request_of_another_zone_is_refused_and_reported(medium: LoneEngine) -> None:
    refused = medium.send([1, 2, 3], "acme", zone="elsewhere").wait()
    assert refused.finish_reason == "zone_mismatch"
    [alert] = medium.alerts
    assert (alert.zone, alert.code, alert.fatal) == ("lone", "zone_mismatch", False)
    assert "elsewhere" not in alert.message
    assert medium.send([1, 2, 3], "acme").wait().finish_reason == "length"


def salt_taken_away(engine: LoneEngine) -> None:
    add = engine.scheduler.add_request

    def tampered(request: Any) -> None:
        add(request)
        request.cache_salt = None

    engine.scheduler.add_request = tampered  # type: ignore[method-assign]


def gate_left_open(engine: LoneEngine) -> None:
    waiting = engine.scheduler.waiting
    shut = waiting.open
    waiting.open = lambda now, **_: shut(now)  # type: ignore[method-assign]


def claim_lost(engine: LoneEngine) -> None:
    add = engine.scheduler.add_request

    def tampered(request: Any) -> None:
        del request.tidegate_claim
        add(request)

    engine.scheduler.add_request = tampered  # type: ignore[method-assign]


def never_erased(engine: LoneEngine) -> None:
    pool = engine.scheduler.kv_cache_manager.block_pool
    engine.scheduler._in_flight = 0
    pool.get_new_blocks(1)


@pytest.mark.parametrize(
    ("level", "tamper", "message"),
    [
        ("medium", salt_taken_away, "cache salt"),
        ("high", claim_lost, "whose it is"),
        ("maximum", gate_left_open, "another's"),
        ("maximum", never_erased, "still in use"),
    ],
)
def test_a_violation_stops_the_engine(
    level: str, tamper: Callable[[LoneEngine], None], message: str
) -> None:
    with LoneEngine(level) as engine:
        first = engine.send([1] * 20, "acme", max_tokens=2).wait()
        assert first.finish_reason == "length"
        tamper(engine)
        victims = [engine.send([2] * 20, f"t{n}", max_tokens=50) for n in range(2)]
        assert engine.lost.wait(10)
        assert not any(victim.finish_reason == "length" for victim in victims)
        [alert] = engine.alerts
        assert (alert.code, alert.fatal) == ("isolation_violated", True)
        assert re.search(message, alert.message)
        with pytest.raises(EngineLost, match="IsolationViolated"):
            engine.host.check()


def test_maximum_does_not_start_with_a_prefix_cache() -> None:
    def cached(config: Any) -> None:
        config.cache_config.enable_prefix_caching = True

    with (
        pytest.raises(IsolationViolated, match="prefix cache must be off"),
        LoneEngine("maximum", change=cached),
    ):
        pass


def test_an_engine_without_a_policy_does_not_start() -> None:
    with (
        pytest.raises(IsolationViolated, match="says nothing about isolation"),
        LoneEngine("medium", change=lambda config: config.additional_config.clear()),
    ):
        pass


def test_every_step_is_looked_at(medium: LoneEngine) -> None:
    seen: list[int] = []
    look = BatchWatch.look

    def counted(self: BatchWatch, batch: Any) -> None:
        batch = list(batch)
        seen.append(len(batch))
        look(self, batch)

    with mock.patch.object(BatchWatch, "look", counted):
        medium.send([1] * 20, "acme", max_tokens=10).wait()
    assert seen == [1] * 10
