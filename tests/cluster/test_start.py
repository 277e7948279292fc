"""`make serve`, as it is started and stopped by hand, here with engines of several ranks."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.security.secrets import ADMIN_KEY_FILE
from tests.cluster.fleet import interrupt, until
from tests.cluster.processes import descendants, kill, left_over
from tests.cluster.settings import (
    MODEL,
    ROOT,
    base_config,
    cluster_environment,
    keep_in,
    short_folder,
)

READY_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0
NEEDED_GIB = 8.0
RANKS = {
    "public": {},
    "private": {"tensor_parallel_size": 2},
    "confidential": {"pipeline_parallel_size": 2},
}
"""What is different about each zone's engine."""
PROMPTS = ("In the beginning", "The capital of France is", "def gate(tide):", "Once there was")


@dataclass(slots=True)
class Started:
    """A service in the foreground of a terminal that nobody looks at."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    before: dict[int, str]
    lines: list[str] = field(default_factory=list)

    def printed(self, pattern: str) -> str | None:
        return next((line for line in self.lines if re.search(pattern, line)), None)


def ranked_config() -> dict[str, Any]:
    """One pool a zone, alike but for how the engine is split over processes."""
    config = base_config()
    args = config["applications"][0]["args"]
    (small,) = (pool for pool in args["pools"] if pool["name"] == "public-small")
    args["pools"] = [
        small
        | {
            "name": zone,
            "zone": zone,
            "engine": small["engine"] | ranks,
            "resources": {"device": "cpu", "cpus": 2 if ranks else 0.25},
        }
        for zone, ranks in RANKS.items()
    ]
    args["size_classes_required"] = ["small", "medium"]
    return config


def available_gib() -> float:
    match = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert match is not None
    return int(match[1]) / 2**20


@pytest.fixture(scope="module")
def started(orphans: None) -> Iterator[Started]:
    if available_gib() < NEEDED_GIB:
        pytest.skip(f"five engine processes need {NEEDED_GIB:g} GiB of free memory")
    before = descendants()
    with short_folder() as folder:
        config = ranked_config()
        keep_in(config, folder)
        file = folder / "small.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False))
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.start", "--config", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            # Two ranks take a core each, and there may be no more than two: Ray is told of more.
            env=cluster_environment(folder) | {"RAY_OVERRIDE_RESOURCES": '{"CPU": 8}'},
            text=True,
        )
        started = Started(
            process, f"http://127.0.0.1:{config['http_options']['port']}", folder, before
        )
        reader = threading.Thread(target=_read, args=(started,))
        reader.start()
        try:
            until(
                lambda: started.printed("Ctrl-C stops it") is not None or _ended(process),
                READY_TIMEOUT_S,
            )
            assert process.poll() is None, "".join(started.lines)
            yield started
        finally:
            interrupt(process)
            try:
                process.wait(STOP_TIMEOUT_S)
            finally:
                kill(left_over(before, 15))
                reader.join()
                process.stdout.close()  # type: ignore[union-attr]


def _read(started: Started) -> None:
    assert started.process.stdout is not None
    started.lines.extend(iter(started.process.stdout.readline, ""))


def _ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None


def test_start_shows_progress_and_the_address(started: Started) -> None:
    assert started.printed(rf"ready on {started.url}") is not None
    for zone in RANKS:
        assert started.printed(rf"{zone} .*small, medium .*1 of 1") is not None


def test_printed_curl_line_answers(started: Started) -> None:
    line = started.printed(r"^curl ")
    assert line is not None
    answer = subprocess.run(line, shell=True, capture_output=True, check=True, timeout=100)
    assert re.search(r"[A-Za-z]{2,}", json.loads(answer.stdout)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("zone", ["private", "confidential"], ids=["TP=2", "PP=2"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_answers_do_not_depend_on_how_the_engine_is_split(
    started: Started, zone: str, prompt: str
) -> None:
    answers = {where: _complete(started, prompt, where) for where in ("public", zone)}
    assert answers[zone] == answers["public"] != ""


def _complete(started: Started, prompt: str, zone: str) -> str:
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 32, "temperature": 0}
    key = (started.folder / "data" / ADMIN_KEY_FILE).read_text()
    headers = {"x-tidegate-zone": zone, "authorization": f"Bearer {key.strip()}"}
    answer = httpx.post(f"{started.url}/v1/completions", json=body, headers=headers, timeout=100)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-tidegate-pool"] == zone
    text: str = answer.json()["choices"][0]["text"]
    return text


def test_second_start_on_the_same_port_says_so(started: Started, tmp_path: Path) -> None:
    port = int(started.url.rpartition(":")[2])
    config = ranked_config()
    config["http_options"]["port"] = port
    file = tmp_path / "again.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    again = subprocess.run(
        [sys.executable, "-m", "deployments.start", "--config", str(file)],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env=dict(os.environ),
        text=True,
        timeout=60,
    )
    assert again.returncode == 1
    assert f"port {port}" in again.stdout


def test_interrupt_ends_everything(started: Started) -> None:
    assert len(descendants(started.process.pid)) > 5
    interrupt(started.process)
    started.process.wait(STOP_TIMEOUT_S)
    assert left_over(started.before, 15) == {}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{started.url}/livez")
