"""``tidegate plan``, run as a user would."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from app.cli.plan import app
from app.cli.planning.profile_file import parse_profile
from app.cli.planning.reading import fleet_profile
from app.errors import ConfigError
from autoscaling.optimizer.candidates import Aim
from autoscaling.optimizer.solving import cheapest

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "zones": {"public": {"isolation": "medium"}, "secret": {"isolation": "maximum"}},
    "gpus": {"a": {"on_demand": {"price": 2.0, "most": 8}, "spot": {"price": 0.9, "most": 8}}},
    "engines": [
        {
            "name": "ea",
            "model": "m",
            "gpu": "a",
            "points": [
                {
                    "ttft_s": 0.5,
                    "itl_s": 0.05,
                    "prefill_tokens_per_s": 4000,
                    "decode_tokens_per_s": 1000,
                }
            ],
        }
    ],
    "streams": [
        {
            "name": "chat",
            "tenant": "acme",
            "model": "m",
            "zone": "public",
            "most_spot": 0.5,
            "sizes": {
                "small": {
                    "prompt_tokens_per_s": {"mean": 1000, "peak": 4000},
                    "output_tokens_per_s": {"mean": 500, "peak": 2000},
                }
            },
        }
    ],
    "hosted": {"m": {"prompt": 0.5, "output": 1.5}},
}


def changed(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(SMALL))
    return document | changes


def written(folder: Path, document: object) -> Path:
    file = folder / "profile.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return file


def plan(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})


def test_a_fleet_is_printed_and_written(tmp_path: Path) -> None:
    out = tmp_path / "made" / "here"
    result = plan(written(tmp_path, SMALL), "--out", out)
    assert result.exit_code == 0, result.output
    # Three replicas' work, times 1.1: half of it on demand, the rest on spot that is 0.8 there.
    found = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    (pool,) = found["plan"]["pools"]
    assert (pool["on_demand_replicas"], pool["spot_replicas"]) == ([2], [2])
    assert found["plan"]["dollars_month"] == pytest.approx((2 * 2.0 + 2 * 0.9) * 730)
    assert found["plan"]["utilisation"] == pytest.approx(0.75 / 4)
    assert "The cheapest fleet: $4,234 a month" in result.output
    assert (out / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    result = plan(written(tmp_path, SMALL), "--json")
    found = json.loads(result.stdout)
    assert {"plan", "isolation", "frontier", "hosted", "on_demand_only", "notes"} <= set(found)
    assert [each["step"] for each in found["isolation"]] == [
        "none",
        "as asked",
        "high",
        "apart",
        "maximum",
    ]


def test_what_costs_nothing_is_drawn_too(tmp_path: Path) -> None:
    free = {"a": {"on_demand": {"price": 0.0}}}
    document = changed(gpus=free, hosted={"m": {"prompt": 0.0, "output": 0.0}})
    result = plan(written(tmp_path, document), "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "plan.png").stat().st_size > 10_000


def test_two_runs_give_the_same_to_the_byte(tmp_path: Path) -> None:
    file = written(tmp_path, SMALL)
    for name in ("one", "two"):
        assert plan(file, "--out", tmp_path / name).exit_code == 0
    for name in ("plan.json", "plan.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_example_is_valid_and_has_a_fleet() -> None:
    file = parse_profile((ROOT / "examples" / "fleet-profile.yaml").read_bytes())
    fleet = cheapest(fleet_profile(file), Aim())
    assert {name for pool in fleet.pools for name in pool.streams} >= {"claims", "completion"}
    assert fleet.gap < 1e-5


def test_a_fleet_that_cannot_be_names_the_limit(tmp_path: Path) -> None:
    gpus = {"a": {"on_demand": {"price": 2.0, "most": 1}}}
    result = plan(written(tmp_path, changed(gpus=gpus)))
    assert result.exit_code == 1
    assert "gpus.a.on_demand.most is 1 and 4 GPUs are needed: raise it by 3" in result.stderr
    assert not result.stdout


def test_a_file_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    result = plan(tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr


def test_every_mistake_in_a_profile_is_named_with_its_place(tmp_path: Path) -> None:
    document = changed(peak_hours=30.0, budget=3)
    document["gpus"]["a"]["spot"]["survival"] = 0
    document["engines"][0]["points"][0]["itl_s"] = -0.1
    result = plan(written(tmp_path, document))
    assert result.exit_code == 1
    for path in ("peak_hours", "budget", "gpus.a.spot.survival", "engines[0].points[0].itl_s"):
        assert path in result.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hosted": {"n": {"prompt": 1.0, "output": 1.0}}}, "there is no 'n' in this profile"),
        ({"peak_hours": 12.0}, "12 hours a day at the peak of 4000 tokens/s are a mean of 2000"),
        ({"engines": SMALL["engines"] * 2}, "two are called 'ea'"),
        ({"streams": []}, "streams"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_profile(yaml.safe_dump(changed(**change)))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ({"mean": 5, "peak": 4}, "`peak` of 4 is below `mean` of 5"),
        ({"mean": -1, "peak": 4}, "mean"),
        ({"mean": float("nan"), "peak": 4}, "mean"),
        ({"mean": "5", "peak": 9}, "mean"),
    ],
)
def test_rates_that_are_none_are_refused(rate: dict[str, Any], words: str) -> None:
    document = changed()
    document["streams"][0]["sizes"]["small"]["prompt_tokens_per_s"] = rate
    with pytest.raises(ConfigError) as caught:
        parse_profile(yaml.safe_dump(document))
    assert words in str(caught.value)
    assert "streams[0].sizes.small.prompt_tokens_per_s" in str(caught.value)


@pytest.mark.parametrize("text", ["", "a: [", "zones: {}\nzones: {}", "- 1", "\x00"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_profile(text)


def recorded(folder: Path, tenant: str = "acme") -> Path:
    """An hour: every second a request of 100 + 50 tokens, and every 10 s one of 900 + 300."""
    rows = ["time,tenant,prompt_tokens,output_tokens"]
    for second in range(3600):
        rows.append(f"{1_800_000_000 + second},{tenant},100,50")
        if second % 10 == 0:
            rows.append(f"{1_800_000_000 + second},{tenant},900,300")
    file = folder / "requests.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def without_sizes() -> dict[str, Any]:
    document = changed()
    del document["streams"][0]["sizes"]
    return document


def test_recorded_demand_is_split_by_size_class(tmp_path: Path) -> None:
    file = written(tmp_path, without_sizes())
    result = plan(file, "--demand", recorded(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    (pool,) = json.loads(result.stdout)["plan"]["pools"]
    assert pool["streams"] == ["chat/small", "chat/medium"]
    # 100 + 90 prompt and 50 + 30 output tokens a second, times 1.1.
    assert pool["load_replicas"] == [pytest.approx((190 / 4000 + 80 / 1000) * 1.1, rel=1e-3)]


def test_recorded_demand_of_nobody_in_the_profile_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, without_sizes())
    result = plan(file, "--demand", recorded(tmp_path, "stranger"))
    assert result.exit_code == 1
    assert "nothing was recorded of the tenant 'acme'" in result.stderr
    assert "none without `sizes` is of 'stranger'" in result.stderr


def test_a_stream_without_demand_asks_for_it(tmp_path: Path) -> None:
    result = plan(written(tmp_path, without_sizes()))
    assert result.exit_code == 1
    assert "say its tokens a second by size class, or give recorded --demand" in result.stderr


def test_broken_recorded_demand_names_its_line(tmp_path: Path) -> None:
    csv = tmp_path / "requests.csv"
    csv.write_text("time,tenant,prompt_tokens,output_tokens\n1800000000,a,-5,1\n", encoding="utf-8")
    result = plan(written(tmp_path, without_sizes()), "--demand", csv)
    assert result.exit_code == 1
    assert "line 2" in result.stderr


def test_requests_that_no_size_class_takes_are_refused(tmp_path: Path) -> None:
    csv = tmp_path / "requests.csv"
    rows = "time,tenant,prompt_tokens,output_tokens\n1800000000,acme,40000,1\n"
    csv.write_text(rows, encoding="utf-8")
    result = plan(written(tmp_path, without_sizes()), "--demand", csv)
    assert result.exit_code == 1
    assert "1 requests have more than 32,768 tokens" in result.stderr


def test_the_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    file = written(tmp_path, SMALL)
    result = plan(file, "--out", file / "below")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_pools_that_routing_cannot_tell_apart_are_said(tmp_path: Path) -> None:
    document = changed()
    other = document["streams"][0] | {"name": "own", "tenant": "other", "shared": False}
    document["streams"].append(other)
    result = plan(written(tmp_path, document))
    assert "give one of them a zone of its own" in result.stderr
