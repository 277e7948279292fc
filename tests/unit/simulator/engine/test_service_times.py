"""Service times of a replica."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import SimulationError
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Slo
from tests.unit.simulator.engine.models import engines, model, requests

MODEL = ServiceModel((0.0, 0.01, 0.02), (100, 200), (0.1, 0.3), 1000)


def test_prefill_times_are_lines_between_the_known_ones_and_beyond() -> None:
    times = MODEL.prefill_times(np.array([1, 100, 150, 200, 400], np.int32))
    assert times.tolist() == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.7])


@pytest.mark.parametrize("prompt", [1, 100, 130, 200, 450])
def test_the_engine_reads_prompts_in_those_times(prompt: int) -> None:
    for of in (MODEL, model()):
        fleet = engines(of)
        fleet.run(requests((0.0, prompt, 1)), 100.0)
        expected = of.prefill_times(np.array([prompt], np.int32))[0]
        assert fleet.tally().sum_ttft == pytest.approx(expected)


def test_rates_of_a_profile_become_steps_within_the_promise() -> None:
    made = ServiceModel.of_rates(8000, 400, Slo(2.0, 0.1), 64, 100_000)
    assert made.max_seqs == 64
    # 32 sequences in 0.08 s are 400 tokens a second; alone one takes little more than half of it.
    assert made.itl_s[32] == pytest.approx(0.08)
    assert made.itl_s[1] == pytest.approx(0.04125)
    assert made.prefill_times(np.array([8000], np.int32))[0] == pytest.approx(0.8)


def test_a_replica_of_few_places_reaches_its_rate_with_all_of_them() -> None:
    made = ServiceModel.of_rates(8000, 400, Slo(2.0, 0.1), 4, 100_000)
    assert 4 / made.itl_s[4] == pytest.approx(400)


def test_faster_is_in_proportion() -> None:
    twice = MODEL.faster(2)
    assert twice.itl_s == (0.0, 0.005, 0.01)
    assert twice.prefill_s == (0.05, 0.15)
    with pytest.raises(SimulationError, match="above 0"):
        MODEL.faster(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"itl_s": (0.0,)}, "1 to 4,096"),
        ({"itl_s": (0.0, 0.02, 0.01)}, "must not fall"),
        ({"itl_s": (0.0, float("nan"))}, "above 0"),
        ({"prefill_tokens": (200, 100)}, "ascend"),
        ({"prefill_tokens": (100,)}, "one length"),
        ({"prefill_s": (0.3, 0.1)}, "must not fall"),
        ({"prefill_s": (0.0, 0.1)}, "above 0"),
        ({"kv_tokens": 0}, "kv_tokens"),
        ({"most_waiting": -1}, "most_waiting"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        replace(MODEL, **change)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ((0.0, 1.0, 4), "prefill_tps"),
        ((1.0, float("inf"), 4), "decode_tps"),
        ((1, 1, 0), "max_seq"),
    ],
)
def test_rates_that_are_none_are_refused(rates: tuple[float, float, int], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        ServiceModel.of_rates(*rates[:2], Slo(1.0, 0.1), rates[2], 1000)
