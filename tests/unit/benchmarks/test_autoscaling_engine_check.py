from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import SimulationError
from autoscaling.simulator.terms import Requests, Slo
from benchmarks.autoscaling import engine_check_compare as compare
from benchmarks.autoscaling.engine_check_compare import Figures, Step
from benchmarks.autoscaling.engine_check_report import NAME, markdown, write

STEPS = [
    Step(64, 1, 0.010, 0.005),
    Step(256, 1, 0.030, 0.004),
    Step(1024, 1, 0.120, 0.006),
    Step(256, 4, 0.120, 0.006),
    Step(256, 8, 0.240, 0.008),
    Step(1024, 8, 0.960, 0.010),
]
"""A made-up engine: 4 ms a step alone, 6 ms with four, 8 ms with eight."""
SLOS = (Slo(0.18, 0.006), Slo(10.0, 10.0))


def one_by_one(count: int, prompt: int = 256, output: int = 11) -> Requests:
    """Requests of which none meets another."""
    sizes = (np.full(count, prompt, np.int32), np.full(count, output, np.int32))
    return Requests(np.arange(0.0, 10.0 * count, 10.0, dtype=np.float64), *sizes)


class TestRequests:
    def test_the_same_seed_draws_the_same_and_another_does_not(self) -> None:
        first, again, other = (compare.arrivals([seed], 5.0, 60.0) for seed in (1, 1, 2))
        assert np.array_equal(first.arrival_s, again.arrival_s)
        assert np.array_equal(first.prompt, again.prompt)
        assert not np.array_equal(first.prompt[:50], other.prompt[:50])

    def test_arrivals_are_as_many_as_the_rate_says_and_in_order(self) -> None:
        found = compare.arrivals([1], 5.0, 1000.0)
        assert len(found) == pytest.approx(5000, rel=0.05)
        assert np.all(np.diff(found.arrival_s) >= 0)
        assert found.arrival_s[0] >= 0
        assert found.arrival_s[-1] < 1000.0

    def test_lengths_keep_to_their_range_and_fill_it_evenly(self) -> None:
        prompt, output = compare.lengths(np.random.default_rng(1), 100)
        for found, (least, most) in ((prompt, compare.PROMPTS), (output, compare.OUTPUTS)):
            assert least <= found.min() < 1.1 * least
            assert most >= found.max() > 0.9 * most
            assert np.median(found) == pytest.approx((least * most) ** 0.5, rel=0.05)


class TestServiceModel:
    def test_step_times_are_those_of_the_length_with_most_batches_and_lines_between(self) -> None:
        model = compare.service_model(STEPS)
        assert model.max_seqs == compare.MAX_SEQS
        assert model.itl_s[1:] == pytest.approx(
            [0.004, 0.00467, 0.00533, 0.006, 0.0065, 0.007, 0.0075, 0.008], rel=1e-3
        )

    def test_prompts_are_those_that_were_read_alone(self) -> None:
        model = compare.service_model(STEPS)
        assert model.prefill_tokens == (64, 256, 1024)
        assert model.prefill_s == pytest.approx((0.010, 0.030, 0.120))

    def test_too_few_measurements_are_refused(self) -> None:
        with pytest.raises(SimulationError, match="too few batch sizes"):
            compare.service_model(STEPS[:3])

    def test_promises_are_multiples_of_what_is_alone(self) -> None:
        found = compare.promises(compare.service_model(STEPS))
        assert [slo.ttft_s for slo in found] == pytest.approx([0.18, 0.24, 0.36])
        assert [slo.itl_s for slo in found] == pytest.approx([0.006, 0.008, 0.012])


class TestSimulated:
    def test_requests_alone_take_what_was_measured_alone(self) -> None:
        figures, ttft, itl = compare.simulated(
            compare.service_model(STEPS), one_by_one(20), (Slo(0.031, 0.0041), Slo(0.029, 1.0))
        )
        assert figures.ttft_p50 == figures.ttft_p95 == pytest.approx(0.030, rel=0.01)
        assert figures.itl_p50 == figures.itl_p95 == pytest.approx(0.004, rel=0.01)
        assert figures.kept == (1.0, 0.0)
        assert ttft.count == itl.count == figures.requests == 20

    def test_requests_that_do_not_fit_are_an_error(self) -> None:
        with pytest.raises(SimulationError, match="0 of 3 requests"):
            compare.simulated(compare.service_model(STEPS), one_by_one(3, prompt=20_000), SLOS)

    def test_ends_of_a_backlog_are_all_there_and_in_order(self) -> None:
        found = compare.ends(compare.service_model(STEPS), compare.backlog([1], 30))
        assert len(found) == 30
        assert np.all(np.diff(found) >= 0)
        assert compare.carried(found) > 0


class TestCarried:
    def test_only_ends_between_full_batches_count(self) -> None:
        steady = np.array([place / 4 for place in range(1, 31)], np.float64)
        assert compare.carried(steady) == pytest.approx(4.0)
        late = steady.copy()
        late[-8:] += 100.0
        assert compare.carried(late[::-1]) == pytest.approx(4.0)

    def test_a_short_backlog_is_refused(self) -> None:
        with pytest.raises(ValueError, match="24 requests or more, not 23"):
            compare.carried(np.zeros(23))
        with pytest.raises(ValueError, match="all at once"):
            compare.carried(np.ones(24))


class TestFigures:
    def test_both_times_of_a_promise_must_be_kept(self) -> None:
        ttft, itl = np.array([0.1, 0.1, 0.3, 0.3]), np.array([0.005, 0.02, 0.005, 0.02])
        found = compare.measured(ttft, itl, (Slo(0.2, 0.01), Slo(0.2, 1.0), Slo(1.0, 1.0)))
        assert found.kept == (0.25, 0.5, 1.0)
        assert found.ttft_p50 == pytest.approx(0.1, rel=0.01)
        assert found.ttft_p95 == pytest.approx(0.3, rel=0.01)

    def test_no_requests_have_no_figures(self) -> None:
        with pytest.raises(ValueError, match="1 or more"):
            compare.measured(np.zeros(0), np.zeros(0), SLOS)

    def test_errors_are_of_the_simulator_against_the_engine(self) -> None:
        engine = Figures(10, 0.1, 0.2, 0.01, 0.02, (0.9, 1.0))
        model = Figures(10, 0.11, 0.1, 0.01, 0.04, (1.0, 0.95))
        found = compare.errors(model, engine)
        assert [found[name] for name in compare.TIMES] == pytest.approx([0.1, -0.5, 0.0, 1.0])
        assert found["kept"] == pytest.approx([0.1, -0.05])

    def test_rounds_are_as_far_apart_as_their_ends(self) -> None:
        rounds = [Figures(10, time, 0.2, 0.01, 0.02, ()) for time in (0.1, 0.13, 0.12)]
        found = compare.spread(rounds)
        assert found is not None
        assert found["ttft_p50"] == pytest.approx(0.3)
        assert found["itl_p95"] == 0.0
        assert compare.spread(rounds[:1]) is None

    def test_length_shows_in_a_full_batch(self) -> None:
        assert compare.grows(STEPS, 8) == [(256, 0.008), (1024, 0.010)]
        with pytest.raises(ValueError, match="twice"):
            compare.grows([*STEPS, STEPS[-1]], 8)


def document(rounds: int) -> dict[str, Any]:
    """As the command makes it, of times that nobody measured."""
    engine = Figures(10, 0.1, 0.2, 0.01, 0.02, (0.9, 1.0))
    model = Figures(10, 0.12, 0.2, 0.01, 0.02, (0.8, 1.0))
    load = {
        "share": 0.3,
        "rate": 1.5,
        "measured": asdict(engine),
        "simulated": asdict(model),
        "errors": compare.errors(model, engine),
        "spread": compare.spread([engine] * rounds),
        "quantiles": {
            "share": [0.25, 0.75],
            "ttft_measured": [0.1, 0.2],
            "ttft_simulated": [0.1, 0.2],
            "itl_measured": [0.01, 0.02],
            "itl_simulated": [0.01, 0.02],
        },
        "rounds": [{"late_s": [0.001], "foreign_cpu": 0.05}] * rounds,
    }
    return {
        "about": {"seed": "1"},
        "steps": [asdict(each) for each in STEPS],
        "lengths": {"prompt": compare.PROMPTS, "output": compare.OUTPUTS},
        "full_batch_by_prompt": compare.grows(STEPS, 8),
        "promises": [asdict(slo) for slo in SLOS],
        "backlog": {"requests": 72, "measured": 4.0, "simulated": 5.0},
        "loads": [load],
    }


class TestReport:
    def test_the_page_says_the_errors(self) -> None:
        text = markdown(document(2))
        assert "At 38% of what the engine carries: TTFT p50 +20%; TTFT p95 +0.0%" in text
        assert "The largest error of a time is 20% (TTFT p50 at 38%)" in text
        assert "within a promise 10.0 points" in text
        assert "a full engine: +25%." in text
        assert "meant to be 30%" in text
        assert "not quiet" not in text

    def test_one_round_says_nothing_of_repeats(self) -> None:
        assert "| TTFT p50 | 100.0 | 120.0 | +20% |  |" in markdown(document(1))

    def test_files_can_be_written_again_from_the_json(self, tmp_path: Path) -> None:
        paths = write(tmp_path, document(2))
        assert [path.name for path in paths] == [f"{NAME}.{kind}" for kind in ("json", "md", "png")]
        again = json.loads(paths[0].read_text())
        assert markdown(again) == paths[1].read_text()
        assert paths[2].stat().st_size > 1000
