from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoscaling.demand.terms import Series
from autoscaling.forecast.fitting import FitJob, FitResult
from autoscaling.forecast.settings import ForecastSettings
from autoscaling.simulator.terms import Floats
from benchmarks.autoscaling.arms import ARMS, OURS
from benchmarks.autoscaling.brackets import lines, missing
from benchmarks.autoscaling.fit_cache import FitCache, digest_of, shelved_arima, shelved_prophet
from benchmarks.autoscaling.grid import LADDER, Cell, Plan, World
from benchmarks.autoscaling.playing import Failed, Player
from benchmarks.autoscaling.run_log import Run, RunLog
from benchmarks.autoscaling.shelf import Shelf
from benchmarks.autoscaling.stages import trials, tunings
from tests.unit.benchmarks.autoscaling_samples import run

PLAN = Plan(
    series=("m-large",), leads_s=(180.0,), side_leads_s=(60.0,), notices_s=(), discounts=(),
    injections=("crowd",), alignments=2, sweep_alignments=1, sweep=(1,), tuning_alignments=2,
    other_alignments=1, ablation_alignments=1, side_alignments=1,
)  # fmt: skip
NEEDED = {OURS: 0.9, "static-peak": 1.4, "skyserve": 99.0}


class Here(Executor):
    """Plays at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except ValueError as error:
            future.set_exception(error)
        return future


def synthetic(cell: Cell) -> Run:
    """Keeps the target from a headroom of the arm's own; the second setting is cheaper."""
    keeps = cell.headroom >= NEEDED.get(cell.arm, 1.1)
    cost = 100 * cell.headroom * (0.9 if cell.variant == 1 else 1.0)
    return run(cell, cost=cost, missed=0.004 if keeps else 0.1 - 0.02 * cell.headroom)


class TestPlayer:
    def player(self, path: Path, played: Counter[Cell]) -> Player:
        def play(cell: Cell) -> Run:
            played[cell] += 1
            return synthetic(cell)

        return Player(play, RunLog(path / "runs.jsonl", {}), Here())

    def test_each_policy_is_frozen_at_the_least_headroom_that_keeps_the_target(
        self, tmp_path: Path
    ) -> None:
        frozen = self.player(tmp_path, Counter()).tune(PLAN)
        assert set(frozen) == {(one.world, one.arm) for one in tunings(PLAN)}
        home = PLAN.main_worlds()[0]
        assert frozen[home, OURS].headroom == 0.9
        assert frozen[home, "static-peak"].headroom == 1.4
        assert frozen[home, "dynamo-sky"].variant == 1
        assert not frozen[home, "skyserve"].met
        assert frozen[home, "skyserve"].rung == len(LADDER) - 1

    def test_a_second_time_nothing_is_played_and_the_same_is_chosen(self, tmp_path: Path) -> None:
        played: Counter[Cell] = Counter()
        frozen = self.player(tmp_path, played).tune(PLAN)
        assert set(played.values()) == {1}
        again: Counter[Cell] = Counter()
        assert self.player(tmp_path, again).tune(PLAN) == frozen
        assert not again

    def test_an_interrupted_test_goes_on_where_it_was(self, tmp_path: Path) -> None:
        frozen = self.player(tmp_path, Counter()).tune(PLAN)
        cells = trials(PLAN, frozen)
        self.player(tmp_path, Counter()).play(cells[:5])
        rest: Counter[Cell] = Counter()
        self.player(tmp_path, rest).play(cells)
        assert set(rest) == set(cells[5:])

    def test_what_fails_is_named_and_the_rest_is_done(self, tmp_path: Path) -> None:
        cells = [Cell(World("m-large"), OURS, 0, 1.0, index, "test") for index in range(3)]

        def play(cell: Cell) -> Run:
            if cell.alignment == 1:
                raise ValueError("no such thing")
            return synthetic(cell)

        log = RunLog(tmp_path / "runs.jsonl", {})
        with pytest.raises(Failed, match=r"tidegate at headroom 1 in m-l.*alignment 1.*no such"):
            Player(play, log, Here()).play(cells)
        assert {one.cell.alignment for one in log} == {0, 2}

    def test_frontiers_are_played_on_until_they_have_the_target_between_two(
        self, tmp_path: Path
    ) -> None:
        frozen = self.player(tmp_path, Counter()).tune(PLAN)
        played: Counter[Cell] = Counter()
        player = self.player(tmp_path, played)
        player.bracket(lines(PLAN, frozen))
        assert set(played.values()) == {1}
        heads = {cell.headroom for cell in played if cell.arm == OURS}
        assert {0.8, 0.9} <= heads
        log = RunLog(tmp_path / "runs.jsonl", {})
        assert not any(missing(line, log.get) for line in lines(PLAN, frozen))
        again: Counter[Cell] = Counter()
        self.player(tmp_path, again).bracket(lines(PLAN, frozen))
        assert not again

    def test_a_frontier_whose_cells_fail_ends_and_is_named(self, tmp_path: Path) -> None:
        frozen = self.player(tmp_path, Counter()).tune(PLAN)

        def play(cell: Cell) -> Run:
            if cell.arm == "skyserve":
                raise ValueError("no such thing")
            return synthetic(cell)

        log = RunLog(tmp_path / "runs.jsonl", {})
        with pytest.raises(Failed, match="skyserve at"):
            Player(play, log, Here()).bracket(lines(PLAN, frozen))
        others = [line for line in lines(PLAN, frozen) if line.arm != "skyserve"]
        assert not any(missing(line, log.get) for line in others)

    def test_every_arm_has_a_headroom_to_begin_with(self) -> None:
        assert all(arm.begin in LADDER for arm in ARMS.values())


class TestFits:
    def job(self, **changes: Any) -> FitJob:
        series = Series(0.0, 60.0, np.arange(30, dtype=np.float64))
        return replace(FitJob("ets", ForecastSettings(), series, 1800.0, 3, id="a"), **changes)

    def test_a_fit_is_made_once_even_by_another_process(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def make(job: FitJob) -> FitResult:
            asked.append(job.id)
            return FitResult(job.model, 1800.0, 1800.0, 60.0, (1.25, 2.5, 0.1), 0.3, id=job.id)

        first = FitCache(Shelf(tmp_path / "f"), make)(self.job())
        again = FitCache(Shelf(tmp_path / "f"), make)(self.job(id="b"))
        assert asked == ["a"]
        assert again == replace(first, id="b")

    @pytest.mark.parametrize(
        "changes",
        [
            {"model": "theta"},
            {"count": 4},
            {"start": 1740.0},
            {"settings": ForecastSettings(timezone="Europe/Berlin")},
            {"series": Series(0.0, 60.0, np.arange(1, 31, dtype=np.float64))},
            {"series": Series(60.0, 60.0, np.arange(30, dtype=np.float64))},
        ],
    )
    def test_another_job_is_another_fit(self, changes: dict[str, Any]) -> None:
        assert digest_of(self.job(**changes)) != digest_of(self.job())
        assert digest_of(self.job(id="z")) == digest_of(self.job())

    def test_failures_are_remembered_as_they_are(self, tmp_path: Path) -> None:
        cache = FitCache(Shelf(tmp_path / "f"), lambda job: FitResult(job.model, 1.0, error="x"))
        assert cache(self.job()).error == cache(self.job()).error == "x"
        assert cache.made == 1

    def test_prophet_gives_the_same_numbers_again(self, tmp_path: Path) -> None:
        calls: list[int] = []

        def make(values: Any, step_s: float, count: int) -> Any:
            calls.append(count)
            return values[:count] / 3

        values: Floats = np.array(range(1, 9), dtype=np.float64)
        first, again = (shelved_prophet(Shelf(tmp_path / "f"), make)(values, 180.0, 2)
                        for _ in range(2))  # fmt: skip
        assert first.tolist() == again.tolist()
        assert calls == [2]

    def test_arima_is_fitted_only_for_a_step_that_is_not_known(self, tmp_path: Path) -> None:
        fits: list[int] = []

        def make(values: Any) -> Callable[[Any], float]:
            fits.append(len(values))
            return lambda later: float(later.sum())

        values: Floats = np.array(range(1, 9), dtype=np.float64)
        ahead = shelved_arima(Shelf(tmp_path / "f"), make)(values)
        assert fits == []
        assert ahead(values) == ahead(values) == 36.0
        assert fits == [8]
        assert shelved_arima(Shelf(tmp_path / "f"), make)(values)(values) == 36.0
        assert fits == [8]
