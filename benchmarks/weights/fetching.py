"""Fetching a model from S3, hashed while it is written, against `aws s3 cp`, which only writes.

::

    python -m benchmarks.weights.fetching --gib 1 --runs 5 --out fetching.json
    python -m benchmarks.weights.fetching --server moto --gib 0.25

The arms take turns. Each writes to the same disk, and what it wrote is removed before the next.
`aws s3 cp` is a process of its own each time, so it pays for its start; `--gib` makes that small.
The third arm copies and then runs `sha256sum`: what one would do without a downloader that
hashes.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from app.config.weights import S3Config
from app.weights.manifest import Manifest
from app.weights.s3 import S3Place, client
from app.weights.source import S3Source

NAME = "model.safetensors"
SOURCE = S3Source("bench", "model")
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
MOTO = """
import logging, time
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
time.sleep(86400)
"""


def main(
    gib: Annotated[float, typer.Option(help="Size of the file.")] = 1.0,
    runs: Annotated[int, typer.Option(help="Downloads of each arm.")] = 5,
    server: Annotated[str, typer.Option(help="ranges (this machine's speed) or moto.")] = "ranges",
    connections: Annotated[int, typer.Option(help="weights.s3.connections")] = 8,
    part_mib: Annotated[int, typer.Option(help="weights.s3.part, in MiB")] = 16,
    out: Annotated[Path | None, typer.Option(help="Where the figures go, as JSON.")] = None,
) -> None:
    """Measure, and print MiB/s of each arm."""
    os.environ |= CREDENTIALS
    size = int(gib * 1024**3)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = _make(root, size)
        with serving(server, root / "served") as url:
            config = S3Config(endpoint=url, connections=connections, part=part_mib * 1024**2)
            if server == "moto":
                _upload(config, root / "served" / NAME)
            arms = _arms(config, manifest)
            seconds: dict[str, list[float]] = {name: [] for name in arms}
            for _ in range(runs):
                for name in random.sample(list(arms), len(arms)):
                    seconds[name].append(_timed(arms[name], root / "into"))
    speeds = {
        name: {
            "median_mib_s": size / 1024**2 / statistics.median(took),
            "seconds": took,
        }
        for name, took in seconds.items()
    }
    for name, speed in speeds.items():
        print(f"{name}: {speed['median_mib_s']:.0f} MiB/s")
    if out is not None:
        settings = {"server": server, "bytes": size, "connections": connections}
        settings |= {"part": part_mib * 1024**2, "cpus": len(os.sched_getaffinity(0))}
        out.write_text(json.dumps({"settings": settings, "arms": speeds}, indent=2) + "\n")


def _make(root: Path, size: int) -> Manifest:
    (root / "served").mkdir()
    digest = hashlib.sha256()
    with (root / "served" / NAME).open("wb") as file:
        left = size
        while left:
            data = os.urandom(min(left, 1 << 22))
            digest.update(data)
            file.write(data)
            left -= len(data)
    return Manifest("bench", {NAME: digest.digest()}, {NAME: size}, 1)


@contextlib.contextmanager
def serving(server: str, folder: Path) -> Iterator[str]:
    """An S3 server (`moto`, or `ranges` of what is in a folder); its address."""
    command = [sys.executable, "-c", MOTO]
    if server == "ranges":
        command = [sys.executable, "-m", "benchmarks.weights.range_server", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def _upload(config: S3Config, path: Path) -> None:
    s3 = client(config)
    s3.create_bucket(Bucket=SOURCE.bucket)
    s3.upload_file(str(path), SOURCE.bucket, SOURCE.key(NAME))


def _arms(config: S3Config, manifest: Manifest) -> dict[str, Callable[[Path], None]]:
    def tidegate(into: Path) -> None:
        for name in ("files", "parts"):
            (into / name).mkdir()
        S3Place(SOURCE, config).fetch(manifest, into, lambda _size: None)

    def copy(into: Path) -> None:
        source = f"s3://{SOURCE.bucket}/{SOURCE.key(NAME)}"
        command = ["aws", "--endpoint-url", str(config.endpoint), "s3", "cp", "--no-progress"]
        subprocess.run([*command, source, str(into / NAME)], check=True, stdout=subprocess.DEVNULL)
        # What the other arm does too, before it says that a file is there.
        with (into / NAME).open("rb") as file:
            os.fsync(file.fileno())

    def copy_and_sum(into: Path) -> None:
        copy(into)
        command = ["sha256sum", str(into / NAME)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        assert done.stdout.split()[0] == manifest.files[NAME].hex()

    arms: dict[str, Callable[[Path], None]] = {"tidegate": tidegate}
    if shutil.which("aws"):
        arms |= {"aws s3 cp": copy, "aws s3 cp, sha256sum": copy_and_sum}
    return arms


def _timed(arm: Callable[[Path], None], into: Path) -> float:
    into.mkdir()
    started = time.perf_counter()
    arm(into)
    took = time.perf_counter() - started
    shutil.rmtree(into)
    return took


if __name__ == "__main__":
    typer.run(main)
