"""How long a pool is without a replica: from nothing, from the node's cache, from standby.

::

    python -m benchmarks.weights.ready --gib 1
    python -m benchmarks.weights.ready --gib 1 --standby

The only replica of a pool that takes traffic is killed, and the time until another one does is
measured. Its model has random weights and lies in an S3 bucket, a server of
ranges on this machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.disaggregated.configs import Args, read
from benchmarks.disaggregated.service import Cluster, Service, authenticate, started, until
from benchmarks.weights.service import DEPLOYMENT, counts, one_pool

NAME = "demo"
READY_S = 400.0
_NEVER = {"enabled": False}


def main(
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path(
        "benchmarks/results"
    ),
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path("serve_config.yaml"),
    gib: Annotated[float, typer.Option(help="Size of the weights.")] = 1.0,
    runs: Annotated[int, typer.Option(help="Deaths of each kind.")] = 3,
    standby: Annotated[
        bool, typer.Option("--standby", help="Only from standby; kept beside the others.")
    ] = False,
) -> None:
    """Time to ready: cold, from the node's cache, from standby.

    [b]Example[/b]

      python -m benchmarks.weights.ready --gib 1 --runs 3 --standby
    """
    from benchmarks.weights.fetching import serving
    from benchmarks.weights.random_model import make

    authenticate()
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    args = read(config)
    with tempfile.TemporaryDirectory(prefix="tg-ready-") as folder:
        here = Path(folder)
        root = here / "bucket" / NAME
        make(root, gib, 4, Path(args["models"][0]["source"]))
        pem = _sign(root)
        with serving("ranges", root) as endpoint:
            args = _with_model(args, here, pem, endpoint)
            took: dict[str, list[float]] = {"cold": [], "cached": [], "standby": []}
            # A process speaks to one cluster only.
            if standby:
                _die_with_standby(args, root, runs, took)
            else:
                _die_cold_and_cached(args, here / "cache", root, runs, took)
    report: dict[str, Any] = {
        "taken": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"python -m benchmarks.weights.ready --gib {gib:g} --runs {runs}",
        "gib": gib,
        "seconds": {name: [round(value, 1) for value in values] for name, values in took.items()},
    }
    known = out / "weights-ready.json"
    if standby and known.is_file():
        earlier = json.loads(known.read_text())
        earlier["seconds"]["standby"] = report["seconds"]["standby"]
        earlier["command"] += "`, then with `--standby"
        report = earlier
    _write(out, report)


def _sign(root: Path) -> str:
    from app.weights.key_files import public_pem
    from app.weights.signing import sign_model

    key = ec.generate_private_key(ec.SECP256R1())
    sign_model(root, NAME, 1, key)
    return public_pem(key.public_key()).decode()


def _with_model(args: Args, here: Path, pem: str, endpoint: str) -> Args:
    changed = dict(args)
    changed["models"] = [{"name": NAME, "source": "s3://bucket/model", "max_model_len": 2048}]
    changed["weights"] = {
        "keys": [{"id": "bench", "public_key": pem}],
        "cache_dir": str(here / "cache"),
        "s3": {"endpoint": endpoint, "region": "us-east-1"},
    }
    engine = {"dtype": "bfloat16", "max_num_batched_tokens": 256, "kv_cache_memory": "128MiB"}
    changed["pools"] = [
        {**pool, "engine": {**pool["engine"], **engine}}
        for pool in args["pools"]
        if pool["name"] == "public-small"
    ]
    return changed


def _die_cold_and_cached(
    args: Args, cache: Path, root: Path, runs: int, took: dict[str, list[float]]
) -> None:
    markets = {"min_replicas": 1, "max_replicas": 1}
    with started(one_pool(args, markets, _NEVER), root, print, READY_S) as (service, cluster):
        for _ in range(runs):
            took["cold"].append(_death(service, cluster, lambda: _empty(cache)))
            took["cached"].append(_death(service, cluster))


def _die_with_standby(args: Args, root: Path, runs: int, took: dict[str, list[float]]) -> None:
    markets = {"min_replicas": 1, "max_replicas": 2, "standby_replicas": 1}
    with started(one_pool(args, markets, _NEVER), root, print, READY_S) as (service, cluster):
        for _ in range(runs):
            until(lambda: counts()["standby"] == 1, READY_S)
            took["standby"].append(_death(service, cluster))


def _death(service: Service, cluster: Cluster, after: Callable[[], None] = lambda: None) -> float:
    """Kills the replica that takes traffic; seconds until another one does."""
    from ray import serve

    handle = serve.get_deployment_handle(DEPLOYMENT, "tidegate")
    pids = cluster.pids(DEPLOYMENT)
    active = None
    while active is None:
        status = handle.status.remote().result(timeout_s=30)
        if status["phase"] == "active":
            active = int(status["pid"])
    assert active in pids
    os.kill(active, 9)
    began = time.monotonic()
    after()
    until(lambda: not service.ready(), 30)
    until(service.ready, READY_S)
    seconds = time.monotonic() - began
    print(f"{seconds:.1f} s")
    return seconds


def _empty(cache: Path) -> None:
    for entry in cache.glob("sha256-*"):
        for each in (entry, *entry.rglob("*")):
            each.chmod(0o700)
        shutil.rmtree(entry)


def _write(out: Path, report: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights-ready.json").write_text(json.dumps(report, indent=2) + "\n")
    summary = (
        "The only replica that takes traffic is killed; seconds until the pool has one again. Its "
        f"model has {report['gib']:g} GiB and lies in a bucket on this machine. Cold: nothing of "
        "it is on the node. Serve's notice of the death (up to 5 s) and, but for standby, the "
        "imports of a new process are part of it."
    )
    lines = [
        "# Time to ready",
        "",
        f"Taken {report['taken']}: `{report['command']}`",
        "",
        summary,
        "",
        "| | median | each |",
        "|---|---:|---|",
    ]
    for name, values in report["seconds"].items():
        if not values:
            continue
        each = ", ".join(f"{value:g}" for value in values)
        lines.append(f"| {name} | {statistics.median(values):.1f} | {each} |")
    (out / "weights-ready.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(main)
    app(prog_name="python -m benchmarks.weights.ready")
