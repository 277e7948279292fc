from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.autoscaling.blocks import Draws, blocks, interval
from benchmarks.autoscaling.frontier import Point, bounded, matched
from benchmarks.autoscaling.grid import Cell, World
from benchmarks.autoscaling.rows import row
from tests.unit.benchmarks.autoscaling_samples import outcome, run

WORLD = World("m-large")


def cell(alignment: int = 0, arm: str = "tidegate") -> Cell:
    return Cell(WORLD, arm, 0, 1.0, alignment, "test")


def point(headroom: float, misses: float, cost: float) -> Point:
    return Point(headroom, np.array([misses]), np.array([cost]))


class TestBlocks:
    def test_row_0_is_the_data_as_it_is(self) -> None:
        held = blocks([run(cell(0)), run(cell(1), cost=300.0)])
        draws = Draws(2, 7)
        exact = 1e6 * held.cost.sum() / held.tokens.sum()
        assert draws.cost(held)[0] == pytest.approx(exact)
        assert draws.misses(held)[0] == pytest.approx(1 - held.met.sum() / held.requests.sum())

    def test_an_interval_is_around_its_estimate_and_the_same_again(self) -> None:
        held = blocks([run(cell(index)) for index in range(5)])
        first, again = (interval(Draws(5, 7).cost(held)) for _ in range(2))
        assert first == again
        assert first.low < first.value < first.high

    def test_days_on_which_more_ends_than_arrives_miss_nothing_and_no_less(self) -> None:
        held = blocks([run(cell(0), missed=0.0)])
        late = replace(held, met=held.met + 5)
        assert Draws(1, 7).misses(late).min() == 0.0

    def test_paired_draws_leave_no_noise_between_proportional_policies(self) -> None:
        ours = blocks([run(cell(index)) for index in range(5)])
        theirs = replace(ours, cost=ours.cost * 1.25)
        draws = Draws(5, 7)
        found = interval(draws.cost(ours) / draws.cost(theirs) - 1)
        assert found.low == pytest.approx(-0.2)
        assert found.high == pytest.approx(-0.2)

    def test_a_difference_that_turns_round_by_day_is_within_noise(self) -> None:
        ours = blocks([run(cell(index)) for index in range(5)])
        tilt = np.where(np.arange(7) % 2, 1.3, 0.75)
        theirs = replace(ours, cost=ours.cost * tilt)
        found = interval(Draws(5, 7).cost(ours) / Draws(5, 7).cost(theirs) - 1)
        assert found.low < 0 < found.high

    def test_what_often_cannot_be_told_has_no_interval(self) -> None:
        drawn = np.array([1.0, *[1.0] * 90, *[np.nan] * 10])
        assert not interval(drawn).known
        assert interval(drawn).value == 1.0

    @pytest.mark.parametrize("runs", [[], [run(cell(0)), run(cell(0))]])
    def test_blocks_of_nothing_or_of_one_alignment_twice_are_refused(self, runs: list) -> None:  # type: ignore[type-arg]
        with pytest.raises(ValueError, match="each alignment"):
            blocks(runs)

    def test_only_takes_the_alignments_in_the_order_asked(self) -> None:
        held = blocks([run(cell(0)), run(cell(1), cost=300.0)])
        assert held.only([1]).cost.sum() == pytest.approx(held.cost[1].sum())


class TestMatched:
    def test_the_cost_is_interpolated_over_the_logarithm_of_misses(self) -> None:
        found = matched([point(1.0, 0.1, 1.0), point(1.2, 0.001, 2.0)], target=0.99)
        assert found[0] == pytest.approx(1.5)

    def test_the_order_of_points_does_not_matter(self) -> None:
        points = [point(1.4, 0.0005, 2.4), point(1.0, 0.1, 1.0), point(1.2, 0.001, 2.0)]
        assert matched(points)[0] == pytest.approx(matched(points[::-1])[0])

    def test_a_policy_that_never_keeps_the_target_has_no_cost_at_it(self) -> None:
        assert np.isnan(matched([point(1.0, 0.1, 1.0), point(3.0, 0.02, 3.0)])[0])

    def test_above_the_target_everywhere_the_cheapest_is_an_upper_bound(self) -> None:
        points = [point(1.0, 0.001, 1.0), point(1.2, 0.0001, 2.0)]
        assert matched(points)[0] == 1.0
        assert bounded(points)
        assert not bounded([*points, point(0.8, 0.1, 0.5)])

    def test_no_misses_at_all_are_no_error(self) -> None:
        assert 1.0 < matched([point(1.0, 0.02, 1.0), point(1.2, 0.0, 2.0)])[0] < 2.0

    @given(
        st.lists(
            st.tuples(st.floats(1e-5, 0.5), st.floats(0.1, 10.0)),
            min_size=1,
            max_size=6,
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_it_is_never_dearer_than_a_headroom_that_keeps_the_target(
        self, pairs: list[tuple[float, float]]
    ) -> None:
        points = [point(1 + place / 10, *pair) for place, pair in enumerate(pairs)]
        keeping = [cost for misses, cost in pairs if misses <= 0.01]
        found = matched(points)[0]
        if keeping:
            assert found <= min(keeping) + 1e-9
            assert found >= min(cost for _, cost in pairs) - 1e-9
        else:
            assert np.isnan(found)


class TestRow:
    def test_figures_are_ratios_of_sums(self) -> None:
        found = row([run(cell(0), missed=0.0), run(cell(1), missed=0.02)], gpus=4)
        assert found["attainment"] == pytest.approx(0.99, abs=1e-3)
        assert found["gpu_hours"] == pytest.approx(4 * 3 * 7)
        assert found["spot_share"] == pytest.approx(2 / 3)
        assert found["retried_a_preemption"] == 2.0
        assert found["scale_events_an_hour"] == pytest.approx(70 / 168)
        assert found["shortfall_min_a_day"] == pytest.approx(1.0)

    def test_without_preemptions_nothing_is_said_of_them(self) -> None:
        calm = replace(run(cell(0)), outcome=replace(outcome(), preemptions=0))
        assert row([calm], gpus=1)["lost_a_preemption"] is None
