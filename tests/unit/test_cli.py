"""The command line, against files of this repository and a service that says what it is told."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app

ROOT = Path(__file__).parents[2]
CONFIG = str(ROOT / "serve_config.yaml")
EXAMPLES = [str(file) for file in sorted((ROOT / "examples").glob("disaggregated*.yaml"))]


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, args, env={"COLUMNS": "200"} | (env or {}))


class Service:
    """Answers by path, and keeps what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, str], bytes]] = []

    def answer(self, path: str, status: int, document: object) -> None:
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.answers[path] = (status, data)

    @property
    def last_body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.asked[-1][2])
        return body


@pytest.fixture
def service() -> Iterator[Service]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            fake.asked.append((self.path, headers, self.rfile.read(length)))
            status, data = fake.answers.get(self.path, (404, b"not here"))
            self.send_response(status)
            self.send_header("x-tidegate-pool", "public-small")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = Service(f"http://127.0.0.1:{server.server_address[1]}")
        fake.answer("/v1/models", 200, {"data": [{"id": "demo"}]})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield fake
        server.shutdown()
        thread.join()


def test_starts_without_the_heavy_ones() -> None:
    code = "import sys, app.cli; print([m for m in ('ray', 'vllm', 'torch') if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("config",),
        ("config", "check"),
        ("config", "schema"),
        ("status",),
        ("chat",),
        ("profile",),
    ],
)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "\n    tidegate " in result.stdout


def test_check_shows_what_is_configured() -> None:
    result = run("config", "check", CONFIG)
    assert result.exit_code == 0, result.output
    for word in ("Models", "Zones", "Pools", "public (default)", "maximum", "public-large",
                 "large, xl", "32,768", "on-demand 1", "0.25 CPU", "is valid"):  # fmt: skip
        assert word in result.stdout


def test_check_shows_gpus_and_ranges(tmp_path: Path) -> None:
    gpu = "resources: {device: gpu, accelerator_type: H100}\n          markets: {spot: \
{min_replicas: 0, max_replicas: 4}}"
    text = Path(CONFIG).read_text().replace("resources: *resources", gpu, 1)
    text = text.replace("max_num_seqs: 4", "max_num_seqs: 4\n            tensor_parallel_size: 2")
    file = tmp_path / "gpu.yaml"
    file.write_text(text)
    result = run("config", "check", str(file))
    assert result.exit_code == 0, result.output
    assert "2 H100, TP 2 x PP 1" in result.stdout
    assert "spot 0 to 4" in result.stdout


def test_check_shows_both_sides_of_a_pool() -> None:
    result = run("config", "check", *EXAMPLES)
    assert result.exit_code == 0, result.output
    for words in ("spot 1 to 4 .* prefill: 4 H100, TP 1 x PP 4",
                  "on-demand 1 to 2 .* decode: 4 H100, TP 4 x PP 1",
                  "on-demand 1 .* prefill: 0.5 CPU, TP 1 x PP 2"):  # fmt: skip
        assert re.search(words, result.stdout)
    assert result.stdout.count("is valid") == len(EXAMPLES)


def test_check_as_json() -> None:
    result = run("config", "check", CONFIG, "--json")
    document = json.loads(result.stdout)
    assert document["valid"] is True
    assert document["config"]["pools"][0]["engine"]["kv_cache_memory"] == 64 * 2**20


def test_check_of_several_as_json(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("applications: []")
    result = run("config", "check", CONFIG, str(wrong), "--json")
    assert result.exit_code == 1
    reports = {report["file"]: report["valid"] for report in json.loads(result.stdout)}
    assert reports == {CONFIG: True, str(wrong): False}


@pytest.mark.parametrize("as_json", [False, True])
def test_check_names_every_mistake(tmp_path: Path, as_json: bool) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(
        Path(CONFIG)
        .read_text()
        .replace("default_zone: public", "default_zone: publik")
        .replace("size_classes: [large, xl]", "size_classes: [large]", 1)
        .replace("kv_cache_memory: 64MiB", "# none")
    )
    result = run("config", "check", str(file), *(["--json"] if as_json else []))
    assert result.exit_code == 1
    expected = {
        "applications[0].args.default_zone": "did you mean 'public'?",
        "applications[0].args.pools[0].engine.kv_cache_memory": "64MiB",
    }
    if as_json:
        errors = json.loads(result.stdout)["errors"]
        found = {error["path"]: error["message"] for error in errors}
    else:
        assert "2 errors" in result.stderr
        lines = [line.strip().split(": ", 1) for line in result.stderr.splitlines()[1:]]
        found = dict(lines)
        assert result.stdout == ""
    assert set(found) == set(expected)
    for path, message in expected.items():
        assert message in found[path]


def test_check_of_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.yaml"):
        result = run("config", "check", str(path))
        assert result.exit_code == 2
        assert "cannot be read" in result.stderr


def test_schema() -> None:
    schema = json.loads(run("config", "schema").stdout)
    assert "pools" in schema["properties"]


STATE = {
    "status": "starting",
    "pools": [
        {"pool": "a", "zone": "public", "market": "spot", "ready": 1, "wanted": 2,
         "outstanding_tokens": 1234, "breaker": "half-open"},
    ],
}  # fmt: skip


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_status(service: Service, status: int, code: int) -> None:
    service.answer("/readyz", status, STATE)
    result = run("status", "--url", service.url)
    assert result.exit_code == code
    for word in ("1 of 2", "1,234", "half-open", "starting"):
        assert word in result.stdout
    result = run("status", "--json", env={"TIDEGATE_URL": service.url})
    assert result.exit_code == code
    assert json.loads(result.stdout) == STATE


def test_status_of_something_else(service: Service) -> None:
    result = run("status", "--url", service.url)
    assert result.exit_code == 1
    assert "is something else listening there?" in result.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense", "http://[", "ftp://127.0.0.1"])
@pytest.mark.parametrize("command", [("status",), ("chat", "hello")])
def test_nobody_there(url: str, command: tuple[str, ...]) -> None:
    result = run(*command, "--url", url)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert isinstance(result.exception, SystemExit)


def test_chat(service: Service) -> None:
    answer = {"choices": [{"message": {"content": "Hello\x1b[2J [bold]you[/bold]."}}]}
    service.answer("/v1/chat/completions", 200, answer)
    result = run(
        "chat", "Hi", "--url", service.url, "--zone", "private", "--max-tokens", "7", "--key", "k"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == "Hello[2J [bold]you[/bold].\n"
    assert "pool public-small" in result.stderr
    assert service.last_body == {
        "model": "demo",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "max_tokens": 7,
    }
    headers = service.asked[-1][1]
    assert headers["x-tidegate-zone"] == "private"
    assert headers["authorization"] == "Bearer k"


def test_chat_in_a_stream(service: Service) -> None:
    events: list[Any] = [
        {"choices": [{"delta": {"content": text}}]} for text in ("Hel", "lo", None)
    ]
    events.append({"choices": [], "usage": {}})
    stream = b": warm-up\n\n" + b"".join(b"data: %s\n\n" % json.dumps(e).encode() for e in events)
    service.answer("/v1/chat/completions", 200, stream + b"data: [DONE]\n\n")
    result = run("chat", "Hi", "--stream", "--model", "other", "--url", service.url)
    assert result.exit_code == 0, result.output
    assert result.stdout == "Hello\n"
    assert service.last_body["model"] == "other"


def test_chat_that_breaks_off(service: Service) -> None:
    first = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n'
    stream = first + b'data: {"error":{"message":"Gone."}}\n\n'
    service.answer("/v1/chat/completions", 200, stream)
    result = run("chat", "Hi", "--stream", "--url", service.url)
    assert result.exit_code == 1
    assert result.stdout == "Hel\n"
    assert result.stderr == "Gone.\n"


def test_chat_calls_a_tool(service: Service) -> None:
    message = {"content": None, "tool_calls": [{"id": "1"}]}
    service.answer("/v1/chat/completions", 200, {"choices": [{"message": message}]})
    assert json.loads(run("chat", "Hi", "--url", service.url).stdout) == message


def test_errors_of_the_service_are_shown(service: Service) -> None:
    error = {"error": {"message": "Not for you.", "code": "zone_forbidden"}}
    service.answer("/v1/chat/completions", 403, error)
    result = run("chat", "Hi", "--url", service.url)
    assert result.exit_code == 1
    assert result.stderr == "Not for you. (zone_forbidden)\n"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"choices": []}', b"\xff"])
def test_answers_that_are_none(service: Service, answer: bytes) -> None:
    service.answer("/v1/chat/completions", 200, answer)
    result = run("chat", "Hi", "--url", service.url)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("option", ["--zone", "--key"])
def test_headers_are_plain(service: Service, option: str) -> None:
    result = run("chat", "Hi", "--url", service.url, option, "gehëim")
    assert result.exit_code == 2
    assert "plain letters" in result.stderr
