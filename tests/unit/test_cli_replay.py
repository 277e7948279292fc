"""``tidegate replay``, as it is typed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from app.admission.exchange import Account, Settlement
from app.cli import replay
from app.store.database import Database
from app.store.ledger import add_settlements
from app.store.migrate import migrate

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "serve_config.yaml"
HEADER = "time,tenant,prompt_tokens,output_tokens"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(replay.app, [str(each) for each in args], env={"COLUMNS": "200"})


@pytest.fixture
def demand(tmp_path: Path) -> Path:
    """Half an hour of two tenants; in the middle ten minutes have three times as many requests."""
    random = np.random.Generator(np.random.PCG64(5))
    at = np.sort(np.concatenate([random.uniform(0, 1800, 300), random.uniform(600, 1200, 300)]))
    rows = [
        f"{1_800_000_000 + second:.2f},{'acme' if number % 3 else 'globex'},{200 + number % 50},900"
        for number, second in enumerate(at.tolist())
    ]
    file = tmp_path / "demand.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    return file


@pytest.fixture
def spot_config(tmp_path: Path) -> Path:
    """The fleet of this repository with spot nodes, and without forecasts, which take seconds."""
    document: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    args = document["applications"][0]["args"]
    args["pools"][0]["markets"] = {
        "on-demand": {"min_replicas": 1, "max_replicas": 4},
        "spot": {"min_replicas": 0, "max_replicas": 4},
    }
    site = {"region": "r", "instance_type": "g6.xlarge", "on_demand_price": 1.0, "spot_price": 0.4}
    args["scaling"] = {
        "forecast": {"enabled": False},
        "lead_time": {"cold_s": 60},
        "spot": {"sites": [site | {"availability_zone": each} for each in ("ra", "rb", "rc")]},
    }
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file


def test_a_replay_prints_writes_and_draws(demand: Path, spot_config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(demand, "--config", spot_config, "--out", out)
    assert result.exit_code == 0, result.output
    for each in ("public-small: 600 requests in 0.5 h", "requests within the SLO", "share on spot"):
        assert each in result.stdout
    assert "globex" in result.stdout
    written = json.loads((out / "replay.json").read_text())
    policies = written["pools"]["public-small"]["policies"]
    assert list(policies) == ["ours", "static"]
    for outcome in policies.values():
        ended = outcome["finished"] + outcome["refused"] + outcome["lost"]
        assert ended == outcome["requests"] == 600
        assert outcome["dollars"] > 0
    assert policies["static"]["spot_share"] == 0
    assert (out / "public-small.png").read_bytes().startswith(b"\x89PNG")
    assert written["demand"]["requests"] == 600
    assert sum(written["pools"]["public-small"]["tenants"].values()) == pytest.approx(1.0)


def test_a_second_replay_gives_the_same_to_the_digit(
    demand: Path, spot_config: Path, tmp_path: Path
) -> None:
    args: list[str | Path] = [demand, "--config", spot_config, "--policy", "skyserve", "--json"]
    first = run(*args, "--out", tmp_path / "one")
    second = run(*args, "--out", tmp_path / "two")
    assert first.exit_code == 0, first.output
    assert first.stdout == second.stdout
    other = run(*args, "--seed", "2", "--out", tmp_path / "three")
    assert other.stdout != first.stdout


def test_dearer_nodes_cost_more_and_slower_starts_are_taken(
    demand: Path, spot_config: Path, tmp_path: Path
) -> None:
    def outcome(*more: str) -> dict[str, Any]:
        args: list[str | Path] = [
            "--config",
            spot_config,
            "--policy",
            "serve-tuned",
            "--json",
            "--out",
            tmp_path,
        ]
        result = run(demand, *args, *more)
        assert result.exit_code == 0, result.output
        pool: dict[str, Any] = json.loads(result.stdout)["pools"]["public-small"]
        return pool

    plain, dear = outcome(), outcome("--price", "on-demand=3", "--lead", "120")
    static, dearer = plain["policies"]["static"], dear["policies"]["static"]
    assert dearer["dollars"] == pytest.approx(3 * dearer["replica_hours"])
    assert static["dollars"] == pytest.approx(static["replica_hours"])
    assert (plain["lead_s"], dear["lead_s"]) == (60.0, 120.0)


def test_a_trace_of_spot_nodes_takes_the_place_of_generated_ones(
    demand: Path, spot_config: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "nodes.txt"
    trace.write_text("0,add,a\n0,add,b\n3600000,add,c\n")
    args: list[str | Path] = [
        demand,
        "--config",
        spot_config,
        "--policy",
        "skyserve",
        "--json",
        "--out",
        tmp_path,
    ]
    result = run(*args, "--spot-trace", trace)
    assert result.exit_code == 0, result.output
    pool = json.loads(result.stdout)["pools"]["public-small"]
    # Nothing of it is ever taken away.
    assert pool["policies"]["skyserve"]["preemptions"] == 0
    assert pool["policies"]["skyserve"]["spot_share"] > 0


def test_the_history_of_a_store_is_replayed_in_its_own_zones(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tidegate.db'}"
    rows = [("public", 300), ("private", 300), ("public", 20_000)]
    asyncio.run(_settle(url, rows * 20))
    args: list[str | Path] = ["--store", url, "--config", CONFIG, "--policy", "serve-tuned"]
    result = run(*args, "--out", tmp_path, "--pool", "public-small", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["demand"]["requests"] == 60
    assert list(document["pools"]) == ["public-small"]
    assert document["pools"]["public-small"]["policies"]["static"]["requests"] == 20
    assert "keeps when a request ended" in result.stderr


async def _settle(url: str, rows: list[tuple[str, int]]) -> None:
    await migrate(url)
    account = Account("acme", "ada", "k")
    async with Database(url) as database, database.begin() as conn:
        for number, (zone, prompt) in enumerate(rows):
            one = Settlement(
                id=f"{number}",
                request_id=f"r{number}",
                at=1_800_000_000.0 + 10 * number,
                account=account,
                model="demo",
                pool="p",
                zone=zone,
                route="chat",
                size_class="small",
                tier="standard",
                prompt_tokens=prompt,
                output_tokens=100,
                micros=0,
                outcome="finished",
            )
            await add_settlements(conn, [(one, "s")])


def test_a_replay_that_fails_leaves_no_empty_file(demand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(demand, "--config", CONFIG, "--pool", "private", "--out", out).exit_code == 1
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 2, "Give a CSV file or --store"),
        (("d.csv", "--store", "sqlite:///x.db"), 2, "one of the two"),
        (("d.csv", "--since", "1d"), 2, "--since and --until are for --store"),
        (("--store", "sqlite:///x.db", "--zone", "public"), 2, "--zone and --model are for a CSV"),
        (("--store", "mysql://x/y"), 2, "use sqlite:///FILE"),
        (("--store", "sqlite:////nowhere/x.db"), 2, "there is no store at /nowhere/x.db"),
        (("none.csv",), 2, "none.csv cannot be read"),
        (("d.csv", "--zone", "secret"), 2, "there is no zone 'secret'; there are public, private"),
        (("d.csv", "--model", "gpt"), 2, "zone public serves demo, not 'gpt'"),
        (("d.csv", "--policy", "statik"), 1, "there is no 'statik'"),
        (("d.csv", "--pool", "private"), 1, "no request goes to pool private"),
        (("d.csv", "--price", "on-demand"), 2, "--price"),
        (("d.csv", "--price", "nowhere=1"), 1, "there is no 'nowhere'"),
        (("d.csv", "--learn", "3h"), 1, "all of it would be known beforehand"),
        (("d.csv", "--learn", "soon"), 2, "--learn: 'soon' is not a span"),
        (("d.csv", "--config", "none.yaml"), 2, "none.yaml cannot be read"),
        (("d.csv", "--out", "d.csv/out"), 2, "cannot be written to"),
    ],
)
def test_a_wrong_command_line_is_refused(
    args: tuple[str, ...],
    code: int,
    message: str,
    demand: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    demand.rename(tmp_path / "d.csv")
    config = () if "--config" in args else ("--config", CONFIG)
    result = run(*args, *config)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there is no request in it"),
        (["100,a,5,5", "10,a,5,5"], "line 3: is 90 s earlier than one before it"),
        (["100,a,-5,5"], "line 2: prompt_tokens"),
        (["1800000000000,a,5,5"], "milliseconds?"),
        (["100,a,9000,5"], "public-large is without `capacity`"),
        (["100,a,90000,5"], "1 request: no pool of zone public for demo is long enough"),
    ],
)
def test_demand_that_makes_no_sense_is_refused_with_its_line(
    rows: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "d.csv"
    file.write_text("\n".join([HEADER, *rows]) + "\n")
    result = run(file, "--config", CONFIG, "--out", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert message in " ".join(result.stderr.split())


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "d.csv"
    file.write_bytes(b"\xff\xfe\x00")
    result = run(file, "--config", CONFIG, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "is not UTF-8 text" in result.stderr


def test_the_example_is_what_the_documentation_says() -> None:
    lines = (ROOT / "examples" / "demand.csv").read_text().splitlines()
    assert lines[0] == HEADER
    tenants = {line.split(",")[1] for line in lines[1:]}
    assert tenants == {"chat", "search", "reports"}
