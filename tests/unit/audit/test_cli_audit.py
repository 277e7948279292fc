"""The command against a real HTTP server and real files."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from app.audit import verify as verifying
from app.audit.chain import Entry
from app.audit.lines import Item, encode, plain
from app.audit.signing import load_signing_key
from app.cli import audit as command
from tests.unit.audit.logs import KEY, OTHER_KEY, chain, entries

runner = CliRunner()


class Service:
    """What the command takes for a service."""

    def __init__(self) -> None:
        self.items: list[Item] = chain(7)
        self.seen: list[tuple[str, str]] = []
        self.cut_short = False
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.seen.append((self.path, self.headers.get("authorization", "")))
                service.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path)
        status = 200
        if handler.headers.get("authorization") != "Bearer tg-admin":
            status = 403
            body = b'{"error": {"message": "operators may not", "code": "role_forbidden"}}'
        elif path.path == "/admin/v1/audit/export":
            body = "".join(encode(item) + "\n" for item in self.items).encode()
        else:
            query = {name: values[0] for name, values in parse_qs(path.query).items()}
            start = int(query.get("after", "c:0").split(":")[1])
            found = [each for each in entries(self.items) if each.sequence > start]
            page = found[: min(2, int(query["limit"]))]
            document: dict[str, object] = {"entries": [plain(each) for each in page], "next": None}
            if len(found) > len(page):
                document["next"] = f"{page[-1].chain}:{page[-1].sequence}"
            body = json.dumps(document).encode()
        handler.send_response(status)
        handler.send_header("content-length", str(len(body) + 100 * self.cut_short))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = self.cut_short


@pytest.fixture
def service() -> Iterator[Service]:
    started = Service()
    yield started
    started.close()


def run(*arguments: str, service: Service | None = None) -> Result:
    if service is not None:
        arguments = (*arguments, "--url", service.url, "--key", "tg-admin")
    return runner.invoke(command.app, arguments, env={"COLUMNS": "200"})


def written(path: Path, items: list[Item]) -> str:
    path.write_text("".join(encode(item) + "\n" for item in items))
    return str(path)


def test_a_running_service_is_verified(service: Service) -> None:
    result = run("verify", "--public-key", KEY.public.hex(), service=service)
    assert result.exit_code == 0, result.output
    assert "The log is whole: 7 entries" in result.output
    assert KEY.public.hex() in result.output
    assert "Nothing says" not in result.output


def test_a_key_that_nobody_vouches_for_is_named(service: Service) -> None:
    result = run("verify", service=service)
    assert result.exit_code == 0
    assert "Nothing says that this key is the ledger's" in result.output


def test_the_first_break_is_named_and_the_exit_code_is_1(service: Service) -> None:
    service.items = [item for item in service.items if item.sequence != 4]
    result = run("verify", service=service)
    assert result.exit_code == 1
    assert "The log is broken, first at ledger-0:4: entry 4 is missing." in result.output
    result = run("verify", "--json", service=service)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["whole"] is False
    assert document["pinned"] is False
    assert document["breaks"][0] == {
        "kind": "missing",
        "chain": "ledger-0",
        "sequence": 4,
        "message": "entry 4 is missing",
    }


def test_an_export_is_verified_from_its_file(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    assert run("export", "--output", str(file), service=service).exit_code == 0
    assert [each.name for each in tmp_path.iterdir()] == ["audit.jsonl"]
    assert run("export", service=service).stdout == file.read_text()
    assert run("verify", "--file", str(file), "--public-key", KEY.public.hex()).exit_code == 0
    result = run("verify", "--file", str(file), "--public-key", OTHER_KEY.public.hex())
    assert result.exit_code == 1
    assert "not one of those given" in result.output


def test_an_answer_that_breaks_off_is_no_whole_log(service: Service, tmp_path: Path) -> None:
    service.cut_short = True
    for arguments in (["verify"], ["export", "-o", str(tmp_path / "audit.jsonl")]):
        result = run(*arguments, service=service)
        assert result.exit_code == 2
        assert "cannot be reached" in result.output
    assert not list(tmp_path.iterdir())


def test_what_was_seen_has_to_stay(tmp_path: Path) -> None:
    seen = str(tmp_path / "seen.json")
    log = chain(7)
    first = run("verify", "--file", written(tmp_path / "1", log[:6]), "--remember", seen)
    assert first.exit_code == 0, first.output
    # It goes on: fine, and remembered.
    assert run("verify", "--file", written(tmp_path / "2", log), "--remember", seen).exit_code == 0
    cut = run("verify", "--file", written(tmp_path / "3", log[:6]), "--remember", seen)
    assert cut.exit_code == 1
    assert "entry 7 is missing, but it was seen earlier" in cut.output
    forged = written(tmp_path / "4", chain(7, key=OTHER_KEY))
    assert run("verify", "--file", forged).exit_code == 0
    other = run("verify", "--file", forged, "--remember", seen)
    assert other.exit_code == 1
    assert OTHER_KEY.public.hex() in other.output
    # What is broken is not remembered.
    assert run("verify", "--file", written(tmp_path / "5", log), "--remember", seen).exit_code == 0


@pytest.mark.parametrize("text", ["", "{}", '{"public_keys":["zz"],"chains":{}}', "[1]"])
def test_a_memory_that_is_damaged_is_no_empty_memory(tmp_path: Path, text: str) -> None:
    file, seen = tmp_path / "log", tmp_path / "seen.json"
    seen.write_text(text)
    result = run("verify", "--file", written(file, chain(2)), "--remember", str(seen))
    assert result.exit_code == 2
    assert "is not what --remember has written" in result.output
    assert seen.read_text() == text


def test_junk_and_nothing_are_no_logs(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for junk in (b"", b"\n\n", b"\x00\xff" * 500_000, b'{"error": {"message": "gone"}}\n'):
        file.write_bytes(junk)
        result = run("verify", "--file", str(file))
        assert result.exit_code == 1, junk[:20]
        assert "The log is broken" in result.output
    result = run("verify", "--file", str(tmp_path / "none"))
    assert result.exit_code == 2


def test_a_log_cannot_command_the_terminal(tmp_path: Path) -> None:
    first = chain(1)[0]
    assert isinstance(first, Entry)
    odd = Entry("\x1b[2J[bold]", 5, "i", 1.0, "k", "t", "s", "{}", bytes(32), bytes(32))
    result = run("verify", "--file", written(tmp_path / "log", [first, odd]))
    assert result.exit_code == 1
    assert "\x1b[2J" not in result.output
    assert "[bold]" in result.output


@pytest.mark.parametrize("text", ["xyz", "00", KEY.public.hex() + "00"])
def test_keys_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    file = written(tmp_path / "log", chain(2))
    result = run("verify", "--file", file, "--public-key", text)
    assert result.exit_code == 2
    assert "--public-key" in result.output


def test_entries_are_listed_page_by_page(service: Service) -> None:
    result = run("list", "--tenant", "acme", "--limit", "5", service=service)
    assert result.exit_code == 0, result.output
    assert "ledger-0:5" in result.output
    assert "ledger-0:6" not in result.output
    assert "request_id req-5, zone public" in result.output
    assert "There may be more" in result.output
    assert all("tenant=acme" in path for path, _ in service.seen)
    found = json.loads(run("list", "--json", service=service).stdout)
    assert [each["sequence"] for each in found["entries"]] == list(range(1, 8))


def test_who_may_not_is_told_so(service: Service) -> None:
    result = runner.invoke(command.app, ["verify", "--url", service.url, "--key", "tg-other"])
    assert result.exit_code == 1
    assert "operators may not (role_forbidden)" in result.output


def test_the_public_key_is_printed_and_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEGATE_AUDIT_KEY", raising=False)
    result = run("key", "--data-dir", str(tmp_path))
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())
    made = load_signing_key(tmp_path, {})
    assert run("key", "--data-dir", str(tmp_path)).stdout.strip() == made.public.hex()
    (tmp_path / "audit.key").chmod(0o644)
    result = run("key", "--data-dir", str(tmp_path))
    assert result.exit_code == 2
    assert "chmod 600" in result.output


def test_every_command_shows_examples() -> None:
    for name in ("verify", "export", "list", "key"):
        assert f"tidegate audit {name}" in run(name, "--help").output


def test_the_defaults_agree() -> None:
    assert command.MAX_UNSIGNED == verifying.MAX_UNSIGNED
