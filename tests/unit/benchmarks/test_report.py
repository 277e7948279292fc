"""From samples to the published report."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway.cells import Cell
from benchmarks.gateway.client import Log, Record
from benchmarks.gateway.goals import Goal
from benchmarks.gateway.plot import draw
from benchmarks.gateway.report import dump, failures, outcomes, summarise, to_markdown
from benchmarks.gateway.samples import METRICS, sample_metrics

STREAMED = Cell("chatty", 200, 3, True, 2)
WHOLE = Cell("short", 32, 16, False, 2)


def sample(arm: str, cell: str, number: int, value: float, **more: Any) -> dict[str, Any]:
    return {
        "arm": arm,
        "cell": cell,
        "round": number,
        "metrics": dict.fromkeys(METRICS, value),
        "requests": 10,
        "errors": 0,
        "error_kinds": {},
        **more,
    }


SAMPLES = [
    sample("vllm", "short@32", 1, 100.0),
    sample("tidegate", "short@32", 1, 90.0),
    sample("vllm", "short@32", 2, 200.0),
    sample("tidegate", "short@32", 2, 120.0),
]
META = {"about": {"taken": "today", "rounds": 2}, "idle_cpu": {"vllm": 0.01}}


def test_metrics_of_a_stream() -> None:
    log = Log(
        records=[
            Record(started=10.0, first=10.1, ended=10.3, status=200, tokens=3),
            Record(started=10.0, first=10.2, ended=11.0, status=200, tokens=3),
        ]
    )
    log.gaps.extend([0.1, 0.1, 0.2, 0.6])
    told = sample_metrics(STREAMED, log, cpu_s=0.5)
    metrics = told["metrics"]
    assert metrics["requests_per_s"] == pytest.approx(2.0)
    assert metrics["tokens_per_s"] == pytest.approx(6.0)
    assert metrics["ttft_p50"] == pytest.approx(150)
    assert metrics["gap_p50"] == pytest.approx(150)
    assert metrics["tpot_p50"] == pytest.approx(250)
    assert metrics["e2e_p50"] == pytest.approx(650)
    assert metrics["cpu_ms_per_request"] == pytest.approx(250)
    assert told["reads_per_token"] == 1.0


def test_what_failed_is_counted_and_is_no_result() -> None:
    log = Log(
        records=[
            Record(0.0, 0.5, 1.0, 200, 16),
            Record(0.0, 0.5, 2.0, 200, 15),
            Record(0.0, 0.0, 2.0, 503, 0, "HTTP 503: b'busy'"),
        ]
    )
    told = sample_metrics(WHOLE, log, cpu_s=0.0)
    assert told["errors"] == 2
    assert told["error_kinds"] == {"15 tokens in place of 16": 1, "HTTP 503: b'busy'": 1}
    assert told["metrics"]["requests_per_s"] == pytest.approx(0.5)
    assert math.isnan(told["metrics"]["ttft_p50"])


def test_nothing_measured_is_not_zero() -> None:
    told = sample_metrics(WHOLE, Log(), cpu_s=0.0)
    assert all(map(math.isnan, told["metrics"].values()))
    assert told["errors"] == 0


def test_summary_has_medians_ratios_and_their_spread() -> None:
    own = summarise(SAMPLES)["short@32"]["tidegate"]
    assert own["median"]["requests_per_s"] == 105.0
    assert own["ratio"]["requests_per_s"] == pytest.approx(0.7)
    assert own["spread"]["requests_per_s"] == [pytest.approx(0.6), pytest.approx(0.9)]


def test_a_goal_with_an_error_on_either_side_is_missed() -> None:
    goal = Goal("short@32", "requests_per_s", True, 0.6, 0.65)
    (good,) = outcomes(SAMPLES, [goal])
    assert good.verdict == "aim"
    bad = [*SAMPLES, sample("vllm", "short@32", 3, 1.0, errors=1, error_kinds={"gone": 1})]
    (missed,) = outcomes(bad, [goal])
    assert missed.verdict == "missed"
    assert failures(bad) == ["vllm short@32 round 3: 1 of 10 requests: gone"]


def test_a_dead_arm_is_a_failure() -> None:
    dead = sample("tidegate", "short@32", 1, math.nan, requests=0, died=True)
    assert failures([dead]) == ["tidegate short@32 round 1: the arm is dead"]


def test_json_has_all_samples_and_null_for_what_is_not_told() -> None:
    document = json.loads(dump(META, [*SAMPLES, sample("ray-llm", "short@32", 1, math.nan)]))
    assert len(document["samples"]) == 5
    assert document["samples"][4]["metrics"]["e2e_p50"] is None
    assert document["summary"]["short@32"]["tidegate"]["ratio"]["requests_per_s"] == 0.7


def test_a_report_can_be_made_anew_from_its_json() -> None:
    document = json.loads(dump(META, [*SAMPLES, sample("ray-llm", "short@32", 1, math.nan)]))
    text = to_markdown(document["meta"], document["samples"])
    assert "0.70 (0.60 to 0.90)" in text
    assert "None." in text


def test_markdown_shows_failures_and_arms_that_did_not_run() -> None:
    bad = [sample("tidegate", "short@32", 1, 1.0, errors=2, error_kinds={"HTTP 500": 2})]
    text = to_markdown(META | {"arms_not_run": {"ray-llm": "no\npyarrow"}}, bad)
    assert "tidegate short@32 round 1: 2 of 10 requests: HTTP 500" in text
    assert "ray-llm was not run: no pyarrow" in text


def test_the_picture_is_drawn_also_where_values_are_missing(tmp_path: Path) -> None:
    failed = sample("ray-llm", "short@32", 1, math.nan, errors=1, error_kinds={"x": 1})
    draw(summarise([*SAMPLES, failed]), tmp_path / "x.png", "a run")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
