"""``tidegate profile``, against a fake service."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from app.cli import app
from app.config.scaling import CapacityConfig

ROOT = Path(__file__).parents[2]


class FakeService:
    """One replica: reads prompts one after another, and writes the tokens of eight at one pace."""

    def __init__(self) -> None:
        self.pool = "public-small"
        self.ready: Callable[[], int] = lambda: 1
        self.read_s = 0.01
        self.step_s = 0.002
        self.slots = 8
        self.refusal: tuple[int, str] | None = None
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[bytes] = []
        self.url = ""

    async def start(self) -> asyncio.Server:
        self._reading = asyncio.Lock()
        self._room = asyncio.Semaphore(self.slots)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head.lower())
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET /readyz"):
                    self._whole(writer, 200, self._state())
                elif self.refusal is not None:
                    status, code = self.refusal
                    error = {"message": "No.", "code": code}
                    self._whole(writer, status, {"error": error})
                else:
                    self.headers.append(head)
                    await self._stream(writer, json.loads(body))
                await writer.drain()
        writer.close()

    def _state(self) -> dict[str, Any]:
        pool = {"pool": "public-small", "market": "on-demand", "zone": "public", "wanted": 1}
        return {"pools": [pool | {"ready": self.ready(), "outstanding_tokens": 0}]}

    def _whole(self, writer: asyncio.StreamWriter, status: int, document: dict[str, Any]) -> None:
        data = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n" % (status, len(data)) + data)

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any]) -> None:
        self.bodies.append(body)
        prompt = 3 + 2 * len(body["prompt"].split())
        async with self._room:
            async with self._reading:
                await asyncio.sleep(self.read_s * prompt / 256)
            writer.write(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
                b"x-tidegate-pool: %s\r\n\r\n" % self.pool.encode()
            )
            for token in range(1, body["max_tokens"] + 1):
                usage = {"prompt_tokens": prompt, "completion_tokens": token}
                self._event(writer, {"choices": [{"text": "a"}], "usage": usage})
                await writer.drain()
                if token < body["max_tokens"]:
                    await asyncio.sleep(self.step_s)
        self._event(writer, {"choices": [], "usage": usage})
        writer.write(b"0\r\n\r\n")

    def _event(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        data = b"data: %s\n\n" % json.dumps(event).encode()
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))


@pytest.fixture
def fake() -> Iterator[FakeService]:
    service = FakeService()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(service.start(), loop).result(5)

    async def stop() -> None:
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    yield service
    asyncio.run_coroutine_threadsafe(stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def profile(fake: FakeService, *more: str, pool: str = "public-small") -> Result:
    config = str(ROOT / "serve_config.yaml")
    command = ["profile", pool, "--config", config, "--url", fake.url, "--key", "the-admin-key"]
    return CliRunner().invoke(app, [*command, *more], env={"COLUMNS": "200"})


def measured(fake: FakeService, out: Path) -> Result:
    """A run that has found something: on a busy machine the first ones may be too short for it."""
    for seconds in ("1.5", "3", "6"):
        fake.bodies.clear()
        result = profile(fake, "--seconds", seconds, "--out", str(out))
        if result.exit_code == 0:
            break
    assert result.exit_code == 0, result.output
    return result


def test_the_command_measures_a_service(fake: FakeService, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = measured(fake, out)
    assert "gets as much load as it bears" in result.stderr
    [line] = [line for line in result.stdout.splitlines() if line.startswith("capacity:")]
    pasted = CapacityConfig.model_validate(yaml.safe_load(line)["capacity"])
    # The fake reads 25,600 prompt tokens a second, and writes 4,000 in its eight slots; timers and
    # a busy machine take more or less of it, and never add to it.
    assert 2_000 < pasted.prefill_tokens_per_s < 27_000
    assert 100 < pasted.decode_tokens_per_s < 4_100
    document = json.loads(out.read_text())
    assert document["capacity"]["prefill_tokens_per_s"] == pasted.prefill_tokens_per_s
    assert document["sides"]["decode"]["replicas"] == 1
    assert document["sides"]["prefill"]["tried"]
    assert all(b"x-tidegate-zone: public" in head.lower() for head in fake.headers)
    assert all(b"authorization: bearer the-admin-key" in head.lower() for head in fake.headers)
    assert all(body["ignore_eos"] and body["model"] == "demo" for body in fake.bodies)
    prompts = [body["prompt"] for body in fake.bodies]
    assert len(set(prompts)) == len(prompts)


def test_figures_are_of_one_replica(fake: FakeService, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    fake.ready = lambda: 2
    measured(fake, out)
    document = json.loads(out.read_text())
    assert document["sides"]["prefill"]["replicas"] == 2
    assert document["capacity"]["prefill_tokens_per_s"] < 14_000


def test_requests_that_land_elsewhere_say_nothing(fake: FakeService) -> None:
    fake.pool = "public-large"
    result = profile(fake, "--seconds", "2")
    assert result.exit_code == 1
    assert "served by pool public-large" in result.stderr
    assert "capacity:" not in result.stdout


def test_a_promise_out_of_reach_is_said_with_its_numbers(fake: FakeService, tmp_path: Path) -> None:
    text = (ROOT / "serve_config.yaml").read_text()
    promised = "slo: {ttft_s: 0.001}\n          resources: &resources"
    text = text.replace("resources: &resources", promised, 1)
    config = tmp_path / "strict.yaml"
    config.write_text(text)
    result = profile(fake, "--seconds", "2", "--config", str(config))
    assert result.exit_code == 1
    said = r"even by one request at a time \(TTFT 0\.\d+ s, promised 0.001 s"
    assert re.search(said, result.stderr)
    assert "capacity:" not in result.stdout


def test_replicas_that_come_and_go_are_not_measured(fake: FakeService) -> None:
    counts = iter(range(1, 100_000))
    fake.ready = lambda: next(counts)
    result = profile(fake, "--seconds", "1")
    assert result.exit_code == 1
    assert "min_replicas = max_replicas" in result.stderr


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((429, "rate_limit_exceeded"), "the key's limits were hit"),
        ((401, "invalid_api_key"), "Measure with the admin key"),
        ((403, "zone_forbidden"), "Measure with the admin key"),
        ((404, "model_not_found"), "No. (model_not_found)"),
        ((503, "no_capacity"), "got an error: no_capacity"),
    ],
)
def test_refusals_are_explained(fake: FakeService, refusal: tuple[int, str], said: str) -> None:
    fake.refusal = refusal
    result = profile(fake, "--seconds", "2")
    assert result.exit_code == 1
    assert said in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_pools_and_services_that_are_not_there(fake: FakeService, tmp_path: Path) -> None:
    result = profile(fake, pool="public-smal")
    assert result.exit_code == 2
    assert "did you mean 'public-small'?" in result.stderr
    result = profile(fake, pool="private")
    assert result.exit_code == 1
    assert "does it run with this configuration?" in result.stderr
    result = profile(fake, "--out", str(tmp_path / "no" / "out.json"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
    fake.ready = lambda: 0
    assert "no replica ready" in profile(fake).stderr
    fake.url = "http://127.0.0.1:1"
    result = profile(fake)
    assert result.exit_code == 2
    assert "cannot be reached" in result.stderr


def test_help_has_examples_and_a_warning() -> None:
    result = CliRunner().invoke(app, ["profile", "--help"])
    assert result.exit_code == 0
    assert "\n    tidegate profile public-small" in result.stdout
    assert "as much load" in result.stdout
