"""A made-up trace against a warm pool: who waits, and for what."""

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from autoscaling.simulated_serve import Times
from autoscaling.warm_pool import PoolSettings
from benchmarks.weights.replay import main
from benchmarks.weights.replay_report import markdown
from benchmarks.weights.replayed_hour import Replay, Request, Speed, compare, read_trace

SPEED = Speed(prompt_tokens_s=1000.0, token_s=0.05)
TRACE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:50.0000000,100,10
"""


def burst(at: float, requests: int) -> list[Request]:
    return [Request(at + number * 0.1, 500, 100) for number in range(requests)]


def test_a_trace_is_read_from_its_first_line_on(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    requests = read_trace(path, length_s=60)
    assert [(request.prompt, request.output) for request in requests] == [(374, 44), (396, 109)]
    assert requests[0].at == 0
    assert requests[1].at == pytest.approx(4.314579)
    assert SPEED.lasts(requests[0]) == pytest.approx(0.374 + 2.2)


def test_nobody_waits_where_there_is_room() -> None:
    outcome = Replay(PoolSettings(1, 2, 0, 10_000), Times(60, 2), SPEED).run(burst(5, 3))
    assert (outcome.requests, outcome.waited, outcome.waited_for_start) == (3, 0, 0)
    assert outcome.started == 0


def test_a_burst_waits_for_starts_but_not_with_standby() -> None:
    requests = [request for at in range(0, 120, 4) for request in burst(at, 6)]
    outcomes = compare(
        requests,
        PoolSettings(1, 6, 3, 3000),
        cold_s=60,
        cached_s=20,
        standby_s=1,
        speed=SPEED,
    )
    shares = {name: outcome.share for name, outcome in outcomes.items()}
    assert shares["no standby, cold"] > shares["no standby, cached"] > 0.1
    assert shares["standby, cold"] < 0.25 * shares["no standby, cold"]
    assert all(outcome.requests == len(requests) for outcome in outcomes.values())
    assert all(len(outcome.waits) == outcome.waited for outcome in outcomes.values())
    figures = {name: outcome.figures() for name, outcome in outcomes.items()}
    assert "MISSED" not in markdown({}, figures)
    figures["standby, cold"]["share_waited_for_start"] = 0.01
    assert "MISSED (standby, cold), met (standby, cached)" in markdown({}, figures)


def test_what_leads_in_is_not_counted() -> None:
    requests = burst(0, 20) + burst(200, 2)
    outcome = Replay(PoolSettings(1, 1, 0, 1000), Times(10, 1), SPEED).run(requests, lead_in_s=100)
    assert outcome.requests == 2


def test_the_same_twice() -> None:
    requests = burst(0, 40)
    runs = [
        Replay(PoolSettings(1, 4, 1, 2000), Times(15, 1), SPEED).run(requests).figures()
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_the_command_writes_its_results(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(TRACE)
    app = Typer()
    app.command()(main)
    arguments = f"--traces {path} --cold 5 --cached 3 --wake 1 --lead-in 0 --out {tmp_path}"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    arms = json.loads((tmp_path / "weights-replay.json").read_text())["arms"]
    assert {arm["requests"] for arm in arms.values()} == {3}
    assert str(tmp_path) not in (tmp_path / "weights-replay.md").read_text()
    assert (tmp_path / "weights-replay.png").stat().st_size > 10_000
