from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks.autoscaling.arms import ARMS, MAIN, OTHERS, OURS, SIDE
from benchmarks.autoscaling.brackets import Line, lines, missing
from benchmarks.autoscaling.estimates import estimates, whole
from benchmarks.autoscaling.grid import FULL, LADDER, REDUCED, Cell, Plan, World
from benchmarks.autoscaling.playing import seconds_by_arm, tried
from benchmarks.autoscaling.run_log import Run, RunLog
from benchmarks.autoscaling.stages import Search, Tuning, trials, tunings
from benchmarks.autoscaling.tuning import Bisection, Tried, choose
from tests.unit.benchmarks.autoscaling_samples import frozen_of, outcome, run

WORLD = World("m-large")
CELL = Cell(WORLD, OURS, 0, 1.0, 0, "test")


def climb(bisection: Bisection, least: int) -> int:
    """Answers until it knows; how many it has asked for."""
    asked = 0
    while (rung := bisection.asks) is not None:
        bisection.told(rung, Tried(0.995 if rung >= least else 0.95, 1.0 + rung))
        asked += 1
    return asked


class TestBisection:
    @pytest.mark.parametrize("begin", [0, 5, 13])
    @pytest.mark.parametrize("least", range(15))
    def test_it_finds_the_lowest_rung_that_keeps_the_target(self, least: int, begin: int) -> None:
        bisection = Bisection(14, begin)
        assert climb(bisection, least) <= 9
        keeping = [rung for rung, found in bisection.tried.items() if found.attainment > 0.99]
        assert min(keeping, default=14) == least
        if least:
            assert least - 1 in bisection.tried

    def test_near_its_beginning_it_takes_few_tries(self) -> None:
        assert climb(Bisection(14, 5), 5) <= 3
        assert climb(Bisection(14, 5), 6) <= 3

    def test_a_rung_that_was_not_asked_for_is_refused(self) -> None:
        with pytest.raises(ValueError, match="was asked for"):
            Bisection(14, 5).told(6, Tried(1.0, 1.0))


class TestChoose:
    def test_the_cheapest_that_keeps_the_target_wins_over_variants(self) -> None:
        first, second = Bisection(14, 5), Bisection(14, 5)
        climb(first, 9)
        climb(second, 4)
        frozen = choose([(0, first), (1, second)])
        assert (frozen.variant, frozen.rung, frozen.met) == (1, 4, True)
        assert frozen.headroom == LADDER[4]

    def test_if_none_keeps_it_the_best_attainment_is_taken_and_said(self) -> None:
        bisection = Bisection(14, 13)
        bisection.told(13, Tried(0.97, 9.0))
        frozen = choose([(0, bisection)])
        assert (frozen.rung, frozen.met) == (13, False)


class TestSearch:
    def test_every_variant_is_searched_from_where_the_first_ended(self) -> None:
        search = Search(Tuning(WORLD, "dynamo-sky", 2), variants=3)
        seen: Counter[int] = Counter()
        while cells := search.cells():
            assert [cell.alignment for cell in cells] == [0, 1]
            variant = cells[0].variant
            seen[variant] += 1
            rung = LADDER.index(cells[0].headroom)
            search.now.told(rung, Tried(0.995 if rung >= 8 - variant else 0.9, 1.0 + rung))
        assert set(seen) == {0, 1, 2}
        assert search.frozen().variant == 2
        assert search.frozen().rung == 6


class TestPlan:
    def test_the_full_plan_has_many_alignments_of_main_policies_in_main_worlds(self) -> None:
        cells = trials(FULL, frozen_of(FULL))
        assert len(cells) == len(set(cells))
        for world in FULL.main_worlds():
            for arm in MAIN:
                count = {
                    one.alignment
                    for one in cells
                    if one.world == world and one.arm == arm and one.headroom == LADDER[6]
                }
                assert count == set(range(20 if world.lead_s == 180.0 else 8))

    def test_every_policy_is_somewhere_and_every_world_has_the_close_ones(self) -> None:
        cells = trials(FULL, frozen_of(FULL))
        assert {one.arm for one in cells} == set(ARMS)
        worlds = {*FULL.main_worlds(), *FULL.lead_worlds(), *FULL.side_worlds()}
        for arm in SIDE:
            assert {one.world for one in cells if one.arm == arm} == worlds
        assert {world.injection for world in worlds} == {"", "crowd", "blind", "regional"}
        assert {world.lead_s for world in worlds} == {60.0, 180.0, 300.0, 600.0}
        assert {world.notice_s for world in worlds} == {0.0, 30.0, 120.0}

    def test_the_reduced_form_has_both_series_and_all_main_policies(self) -> None:
        cells = trials(REDUCED, frozen_of(REDUCED))
        assert {one.world.series for one in cells} == {"m-large", "m-small"}
        assert {one.arm for one in cells} == {*MAIN, *REDUCED.others, *REDUCED.ablations}

    def test_side_worlds_have_what_was_frozen_for_the_first_lead_time(self) -> None:
        frozen = frozen_of(FULL)
        home = World("m-small", 180.0)
        frozen[home, OURS] = replace(frozen[home, OURS], rung=12)
        side = World("m-small", 180.0, injection="crowd")
        found = {one.headroom for one in trials(FULL, frozen) if one.world == side
                 and one.arm == OURS}  # fmt: skip
        assert found == {LADDER[12]}

    def test_defaults_are_not_tuned(self) -> None:
        assert "serve-default" in OTHERS
        assert all(one.arm != "serve-default" for one in tunings(FULL))

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"series": ("m-huge",)}, "series are of"),
            ({"alignments": 0}, "alignments is 1 to 200"),
            ({"alignments": 2, "sweep_alignments": 3}, "sweep_alignments"),
            ({"test_days": (7, 15)}, "test_days"),
            ({"tune_days": (0, 9)}, "after the days of tuning"),
        ],
    )
    def test_what_cannot_be_played_is_refused(self, changes: dict, said: str) -> None:  # type: ignore[type-arg]
        with pytest.raises(ValueError, match=said):
            replace(FULL, **changes)

    def test_the_estimate_follows_what_was_measured(self) -> None:
        guess = {name: arm.seconds for name, arm in ARMS.items()}
        full = whole(estimates(FULL, guess))
        assert full.runs > 800
        assert whole(estimates(FULL, {**guess, OURS: 2 * guess[OURS]})).seconds > full.seconds
        assert [one.stage for one in estimates(FULL, guess)] == [
            "tuning", "main", "others", "ablations", "leads", "sides", "sweep",
        ]  # fmt: skip

    def test_the_forms_fit_into_ten_and_sixty_five_minutes_of_two_cores(self) -> None:
        guess = {name: arm.seconds for name, arm in ARMS.items()}
        assert whole(estimates(REDUCED, guess)).seconds < 900
        assert whole(estimates(FULL, guess)).seconds <= 7800


def followed(least: float, rung: int, most: int = 5) -> list[float]:
    """The headrooms of a frontier of a policy that keeps the target from some headroom on."""
    line = Line(WORLD, OURS, 0, rung, alignments=2, most=most)
    known: dict[Cell, Run] = {}
    while cells := missing(line, known.get):
        assert not known.keys() & set(cells)
        known |= {
            cell: run(cell, missed=0.002 if cell.headroom >= least else 0.03) for cell in cells
        }
    return sorted({cell.headroom for cell in known})


class TestBrackets:
    def test_a_frontier_below_the_target_goes_up_until_it_is_kept(self) -> None:
        assert followed(1.25, LADDER.index(0.9)) == [0.9, 1.0, 1.1, 1.25]

    def test_a_frontier_above_the_target_goes_down_until_it_is_missed(self) -> None:
        assert followed(0.6, LADDER.index(0.7)) == [0.55, 0.6, 0.65, 0.7]

    def test_it_ends_after_so_many_steps_and_at_the_ends_of_the_ladder(self) -> None:
        assert followed(99.0, LADDER.index(0.9), most=2) == [0.9, 1.0, 1.1]
        assert followed(99.0, len(LADDER) - 2) == list(LADDER[-2:])
        assert followed(0.0, 1) == list(LADDER[:2])

    def test_where_some_draws_miss_the_target_it_goes_on_for_an_interval(self) -> None:
        line = Line(WORLD, OURS, 0, 6, alignments=2)
        misses = {5: 0.02, 6: 0.0099, 7: 0.005}
        known: dict[Cell, Run] = {}
        while cells := missing(line, known.get):
            known |= {one: run(one, missed=misses[LADDER.index(one.headroom)]) for one in cells}
        assert {one.headroom for one in known} == set(LADDER[5:8])

    def test_defaults_and_the_oracle_that_cannot_be_had_have_none(self) -> None:
        arms = {line.arm for line in lines(FULL, frozen_of(FULL))}
        assert arms == set(MAIN) | set(OTHERS) - {"serve-default", "oracle-instant"}


class TestLog:
    terms: ClassVar[dict[str, object]] = {"code": "a", "seed": 1}

    def test_what_was_added_is_there_again(self, tmp_path: Path) -> None:
        log = RunLog(tmp_path / "runs.jsonl", self.terms)
        log.add(run(CELL))
        again = RunLog(tmp_path / "runs.jsonl", self.terms)
        found = again.get(CELL)
        assert found is not None
        assert found.outcome == run(CELL).outcome
        assert again.get(replace(CELL, alignment=1)) is None

    def test_a_line_that_was_cut_off_is_left_out_and_the_next_one_is_whole(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "runs.jsonl"
        log = RunLog(path, self.terms)
        log.add(run(CELL))
        log.add(run(replace(CELL, alignment=1)))
        path.write_bytes(path.read_bytes()[:-40])
        cut = RunLog(path, self.terms)
        assert (len(cut), cut.broken) == (1, 1)
        cut.add(run(replace(CELL, alignment=2)))
        assert len(RunLog(path, self.terms)) == 2

    def test_runs_of_other_code_are_not_taken(self, tmp_path: Path) -> None:
        RunLog(tmp_path / "runs.jsonl", self.terms).add(run(CELL))
        other = RunLog(tmp_path / "runs.jsonl", {**self.terms, "code": "b"})
        assert (len(other), other.others) == (0, 1)

    def test_a_cells_digest_does_not_follow_from_the_process(self) -> None:
        copy = Cell.from_json(json.loads(json.dumps(CELL.to_json())))
        assert copy == CELL
        assert copy.digest({"b": 1, "a": 2}) == CELL.digest({"a": 2, "b": 1})
        assert replace(CELL, headroom=1.1).digest({}) != CELL.digest({})

    def test_seconds_are_of_seven_days_and_guessed_where_unknown(self, tmp_path: Path) -> None:
        log = RunLog(tmp_path / "runs.jsonl", self.terms)
        log.add(Run(CELL, outcome(), 6.0))
        found = seconds_by_arm(log, Plan(tune_days=(4, 7), test_days=(7, 10)))
        assert found[OURS] == pytest.approx(14.0)
        assert found["skyserve"] == ARMS["skyserve"].seconds


def test_tried_is_over_all_days_of_all_runs() -> None:
    found = tried([run(CELL, missed=0.0), run(replace(CELL, alignment=1), missed=0.02)])
    assert found.attainment == pytest.approx(0.99, abs=1e-3)
    assert found.cost == pytest.approx(10.0, rel=0.02)
