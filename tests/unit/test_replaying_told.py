"""How a replay is told: tables, plain data and a picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from app.cli.replaying.demand import Demand, Kind
from app.cli.replaying.options import Options
from app.cli.replaying.picture import draw
from app.cli.replaying.routing import Routed
from app.cli.replaying.run import PoolReplay, Replay, Run
from app.cli.replaying.scenarios import case
from app.cli.replaying.told import document, heading, tables
from app.config import load_config
from autoscaling.simulator.outcome import Latency, Outcome
from autoscaling.simulator.terms import Requests

ROOT = Path(__file__).parents[2]
POINTS: dict[str, list[float]] = {
    "at_s": [0.0, 10.0, 20.0],
    "on_demand": [1.0, 1.0, 2.0],
    "spot": [0.0, 1.0, 1.0],
    "coming": [1.0, 0.0, 0.0],
    "waiting": [0.0, 3.0, 0.0],
}


def run(name: str, **fields: Any) -> Run:
    shared: dict[str, Any] = {
        "begin_s": 0.0,
        "end_s": 60.0,
        "requests": 100,
        "finished": 96,
        "refused": 1,
        "lost": 3,
        "retried": 5,
        "met": 90,
        "prompt_tokens": 1_000_000,
        "output_tokens": 1_000_000,
        "ttft": Latency(0.1, 0.2, 0.3),
        "itl": Latency(0.01, 0.02, 0.03),
        "cost": {"on-demand": 6.0, "r/ra": 2.0},
        "replica_s": {"on-demand": 3600.0, "r/ra": 10_800.0},
        "ready_s": {},
        "preemptions": 2,
        "lost_to_preemption": 0,
        "retried_by_preemption": 5,
        "shortfall_s": 90.0,
        "scale_events": 4,
        "reversals": 1,
        "cold_waits": 7,
        "days": (),
        "series": {},
    }
    return Run(Outcome(policy=name, **(shared | fields)), POINTS, None)


@pytest.fixture(scope="module")
def replay() -> Replay:
    fleet = load_config(ROOT / "serve_config.yaml")
    none = np.zeros(2, np.int32)
    requests = Requests(np.array([0.0, 30.0]), np.array([10, 20], np.int32), none + 5)
    found = Demand("d.csv", 600.0, requests, ("acme", "[b]"), none, (Kind("public", "demo"),), none)
    pool = fleet.pool("public-small")
    made = case(fleet, pool, found, np.arange(2), Options(), None)
    runs = {
        "ours": run("Tidegate"),
        "skyserve": run("skyserve-like", met=99),
        "static": run("static-peak", finished=0, prompt_tokens=0, output_tokens=0),
    }
    one = PoolReplay(made, runs, {"acme": 0.75, "[b]": 0.25})
    routed = Routed({"public-small": np.arange(2)}, {})
    return Replay(found, routed, {"public-small": one, "other": one}, ("A note.",))


def printed(replay: Replay) -> list[str]:
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        for table in tables(replay):
            console.print(table)
    return [" ".join(line.split()) for line in captured.get().splitlines()]


def test_tables_have_each_figure_under_its_policy(replay: Replay) -> None:
    lines = printed(replay)
    for line in (
        "ours skyserve-like static",
        "cost $8.00 $8.00 $8.00",
        "cost of a million tokens $4.0000 $4.0000 -",
        "requests within the SLO 90.00% 99.00% 90.00%",
        "TTFT p50 / p95 / p99, s 0.1 / 0.2 / 0.3 0.1 / 0.2 / 0.3 0.1 / 0.2 / 0.3",
        "replica hours 4.0 4.0 4.0",
        "share on spot 75.0% 75.0% 75.0%",
        "requests lost or refused 3 / 1 3 / 1 3 / 1",
        "requests that met a cold start 7.00% 7.00% 7.00%",
        "too few replicas for 1.5 min 1.5 min 1.5 min",
    ):
        assert line in lines
    # Nothing runs on GPUs here.
    assert not any(line.startswith("GPU hours") for line in lines)


def test_the_fleet_is_the_sum_of_its_pools_and_tenants_share_its_cost(replay: Replay) -> None:
    lines = printed(replay)
    assert "cost $16.00 $16.00 $16.00" in lines
    assert "replica hours 8.0 8.0 8.0" in lines
    assert "acme $12.00 (75.0%) $12.00 (75.0%) $12.00 (75.0%)" in lines
    # A name is no markup.
    assert "[b] $4.00 (25.0%) $4.00 (25.0%) $4.00 (25.0%)" in lines


def test_the_document_is_json_without_numbers_that_are_none(replay: Replay) -> None:
    found = json.loads(json.dumps(document(replay), allow_nan=False))
    policies = found["pools"]["public-small"]["policies"]
    assert policies["ours"]["dollars_per_million_tokens"] == 4.0
    assert policies["static"]["dollars_per_million_tokens"] is None
    assert policies["skyserve"]["ttft"] == {"p50": 0.1, "p95": 0.2, "p99": 0.3}
    assert found["demand"]["start"] == "1970-01-01T00:10:00+00:00"
    assert found["notes"] == ["A note."]


def test_rules_of_others_are_only_like_theirs() -> None:
    assert heading("skyserve", run("skyserve-like")) == "skyserve-like"
    assert heading("ours", run("Tidegate")) == "ours"


def test_a_picture_has_a_column_for_each_policy(replay: Replay, tmp_path: Path) -> None:
    draw("public-small", replay.pools["public-small"], 600.0, tmp_path / "p.png")
    data = (tmp_path / "p.png").read_bytes()
    width = int.from_bytes(data[16:20], "big")
    assert data.startswith(b"\x89PNG")
    assert width == pytest.approx(3 * 5.4 * 130, abs=2)
