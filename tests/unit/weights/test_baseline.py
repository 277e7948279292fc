import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.weights import AnomalyConfig
from app.errors import LoadingAnomaly
from app.weights.baseline import (
    KEPT,
    LEAST_S,
    Against,
    Anomaly,
    Baselines,
    Stage,
    StageRecord,
    judge,
    judge_memory,
    robust_z,
)
from deployments.staging import StagedStart, resident_memory

CONFIG = AnomalyConfig(z_score=6.0, least_starts=8)
STOP = AnomalyConfig(action="stop", z_score=6.0, least_starts=8)
seconds = st.floats(0.0, 1e5)
histories = st.lists(seconds, min_size=8, max_size=KEPT)


def weights(took: float, moved: int = 0) -> StageRecord:
    return StageRecord(Stage.WEIGHTS, took, moved)


def of(values: list[float]) -> list[StageRecord]:
    return [weights(value) for value in values]


@given(histories, seconds)
def test_nothing_up_to_the_median_is_an_anomaly(known: list[float], value: float) -> None:
    found = judge(weights(value), of(known), CONFIG)
    middle = sorted(known)[len(known) // 2]
    if value <= sorted(known)[(len(known) - 1) // 2]:
        assert found is None
    if found is not None:
        assert value > middle
        assert found.score > CONFIG.z_score


@given(histories, seconds, seconds)
def test_slower_is_never_less_of_an_anomaly(known: list[float], one: float, two: float) -> None:
    slow, slower = sorted((one, two))
    if judge(weights(slow), of(known), CONFIG) is not None:
        assert judge(weights(slower), of(known), CONFIG) is not None


@given(histories, seconds)
def test_the_order_of_the_known_ones_is_of_no_account(known: list[float], value: float) -> None:
    shuffled = random.Random(1).sample(known, len(known))
    assert robust_z(value, known) == robust_z(value, shuffled)


@given(st.floats(1.0, 1e4), st.lists(st.floats(0, 1e9), max_size=7))
def test_a_minority_cannot_hide_what_is_slow(usual: float, planted: list[float]) -> None:
    """Eight ordinary starts and up to seven that somebody made: the median is an ordinary one."""
    known = [usual] * 8 + planted
    # The deviations' median is 0 as well, so what counts is the floor.
    limit = usual + CONFIG.z_score * max(0.05 * usual, LEAST_S) / 0.6745
    assert judge(weights(limit * 1.01), of(known), CONFIG) is not None
    assert judge(weights(limit * 0.99), of(known), CONFIG) is None


@given(st.lists(seconds, max_size=7), seconds)
def test_few_starts_say_nothing(known: list[float], value: float) -> None:
    assert judge(weights(value), of(known), CONFIG) is None


def test_the_score_is_in_standard_deviations() -> None:
    rng = random.Random(7)
    known = [rng.gauss(100, 10) for _ in range(20_000)]
    score, middle = robust_z(130, known)
    assert math.isclose(score, 3, rel_tol=0.05)
    assert math.isclose(middle, 100, rel_tol=0.01)


def test_fetches_are_compared_with_fetches() -> None:
    cached = [StageRecord(Stage.FETCH, 0.001)] * 20
    loaded = [StageRecord(Stage.FETCH, 60.0, 1 << 30)] * 8
    fetched = StageRecord(Stage.FETCH, 61.0, 1 << 30)
    assert judge(fetched, cached, CONFIG) is None
    assert judge(fetched, cached + loaded, CONFIG) is None
    slow = judge(StageRecord(Stage.FETCH, 90.0, 1 << 30), cached + loaded, CONFIG)
    assert slow is not None
    assert slow.usual == 60.0
    assert judge(StageRecord(Stage.FETCH, 500.0), cached + loaded, CONFIG) is None


def test_the_last_ones_of_each_stage_count() -> None:
    known = Baselines(of([1.0] * 8))
    for _ in range(KEPT):
        known.add(weights(100.0))
    known.add(StageRecord(Stage.VERIFY, 1.0))
    assert len(known.history(Stage.WEIGHTS)) == KEPT
    assert known.judge(weights(100.0), CONFIG) is None
    assert len(known.history(Stage.VERIFY)) == 1


def test_rows_that_another_version_has_written() -> None:
    rows = [
        weights(2.0).row(),
        {"stage": "unheard-of", "seconds": 1},
        {"stage": "fetch", "seconds": 3},
    ]
    known = Baselines.read(rows)
    assert known.history(Stage.WEIGHTS) == (weights(2.0),)
    assert known.history(Stage.FETCH) == (StageRecord(Stage.FETCH, 3.0),)


@pytest.mark.parametrize(
    ("resident", "budget", "over"),
    [(110, 100, False), (111, 100, True), (10**12, None, False), (10**12, 0, False)],
)
def test_memory(resident: int, budget: int | None, over: bool) -> None:
    found = judge_memory(Stage.MEMORY, resident, budget, CONFIG)
    assert (found is not None) == over


def test_messages_name_the_way_out() -> None:
    slow = judge(weights(100.0), of([1.0] * 8), CONFIG)
    assert slow is not None
    assert "took 100.00 s, and usually takes 1.00 s" in slow.message
    assert "weights.anomalies.action" in slow.message
    fat = judge_memory(Stage.MEMORY, 3 << 30, 1 << 30, CONFIG)
    assert fat is not None
    assert "3,072 MiB" in fat.message
    assert "resources.memory" in fat.message
    assert fat.detail()["against"] == "budget"


class Measured:
    """A start whose clock and memory are set by the test."""

    def __init__(self, config: AnomalyConfig, known: Baselines | None = None) -> None:
        self.now, self.resident = 0.0, 100
        self.seen: list[tuple[str, int, int]] = []
        self.anomalies: list[Anomaly] = []
        self.start = StagedStart(
            config,
            known,
            memory_budget=1000,
            on_progress=lambda *args: self.seen.append(args),
            on_anomaly=self.anomalies.append,
            clock=lambda: self.now,
            resident=lambda: self.resident,
        )

    def go(self, stage: Stage, took: float, memory: int = 0) -> None:
        with self.start.stage(stage) as moved:
            self.now += took
            self.resident += memory
            moved.progress(5, 10)


def test_a_start_is_measured() -> None:
    measured = Measured(CONFIG)
    measured.go(Stage.FETCH, 2.0)
    measured.go(Stage.WEIGHTS, 3.0, memory=50)
    assert measured.start.rows("demo", "1x GPU", 9.0) == [
        {
            "model": "demo",
            "hardware": "1x GPU",
            "at": 9.0,
            "stage": stage,
            "seconds": took,
            "bytes": 5,
            "memory": memory,
        }
        for stage, took, memory in (("fetch", 2.0, 0), ("weights", 3.0, 50))
    ]
    assert measured.seen == [
        ("fetch", 0, 0),
        ("fetch", 5, 10),
        ("weights", 0, 0),
        ("weights", 5, 10),
    ]


def test_shadow_goes_on() -> None:
    measured = Measured(CONFIG, Baselines(of([1.0] * 8)))
    measured.go(Stage.WEIGHTS, 50.0)
    measured.go(Stage.MEMORY, 1.0, memory=1001)
    assert [each.against for each in measured.anomalies] == [Against.BASELINE, Against.BUDGET]
    assert measured.start.anomalies == measured.anomalies
    assert len(measured.start.records) == 2


def test_stop_ends_the_start_after_it_was_told() -> None:
    measured = Measured(STOP, Baselines(of([1.0] * 8)))
    measured.go(Stage.FETCH, 50.0)
    with pytest.raises(LoadingAnomaly, match="usually takes") as caught:
        measured.go(Stage.WEIGHTS, 50.0)
    assert caught.value.stage == "weights"
    assert len(measured.anomalies) == 1


def test_off_looks_at_nothing() -> None:
    measured = Measured(AnomalyConfig(action="off"), Baselines(of([1.0] * 8)))
    measured.go(Stage.WEIGHTS, 50.0, memory=9999)
    assert measured.anomalies == []


def test_a_stage_that_fails_is_not_recorded() -> None:
    measured = Measured(STOP)
    with pytest.raises(OSError), measured.start.stage(Stage.FETCH):
        raise OSError
    assert measured.start.records == []


def test_this_node() -> None:
    assert resident_memory() > 10 << 20
