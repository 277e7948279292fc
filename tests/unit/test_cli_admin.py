"""The admin's commands over HTTP: routes, keys, operations and store are the service's own."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection
from typer.testing import CliRunner, Result

from app.admin.operations import Administration
from app.admission.exchange import Account, Settlement
from app.api.admin import resolve
from app.audit.events import AuditEvent
from app.audit.log import AuditLog
from app.audit.signing import SigningKey
from app.cli import app
from app.config import load_config
from app.errors import TidegateError
from app.security.authenticator import Authenticator
from app.security.directory import Directory, Snapshot, encode
from app.security.identity import Identity, Role
from app.security.keys import KeyRecord, admin_record
from app.security.paths import authorise, path_of
from app.store import keys, ledger, people
from app.store.database import Database
from app.store.migrate import migrate

ROOT = Path(__file__).parents[2]
PEPPER = bytes(32)
ADMIN_KEY = "the-first-admin-key-of-this-test-0123456789"
T = TypeVar("T")


class Service:
    """What the gateway and the ledger do with admin calls, in one process."""

    def __init__(self, url: str) -> None:
        self.database = Database(url)
        self.log = AuditLog("ledger-0", SigningKey(bytes(32)), checkpoint_every=2, checkpoint_s=60)
        self.administration = Administration(
            self.database,
            load_config(ROOT / "serve_config.yaml"),
            PEPPER,
            clock=time.time,
            append_audit=self.append,
        )

    async def append(self, conn: AsyncConnection, events: Sequence[AuditEvent]) -> None:
        subjects = {}
        for event in events:
            if found := await people.find_user(conn, event.tenant, event.user):
                subjects[event.tenant, event.user] = found.subject
        await self.log.append(conn, events, subjects, time.time())

    async def identify(self, authorization: str | None) -> Identity:
        async with self.database.read() as conn:
            version, rows = await keys.changed_since(conn, 0)
        records = tuple(
            KeyRecord(
                row.id, row.digest, row.tenant, row.user, tuple(map(Role, row.roles)), row.zone,
                expires_at=row.expires_at, revoked_at=row.revoked_at,
            )
            for row in rows
        )  # fmt: skip
        admin = admin_record(PEPPER, ADMIN_KEY, "confidential")
        directory = Directory()
        directory.apply(encode(Snapshot(PEPPER, version, (*records, admin))))
        return Authenticator(directory).identify(authorization, time.time())

    async def answer(
        self, method: str, target: str, authorization: str | None, body: bytes
    ) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        try:
            path = path_of({"path": unquote(path), "raw_path": path.encode()})
            caller = await self.identify(authorization)
            authorise(caller, method, path)
            call = resolve(method, path, query, json.loads(body) if body else None)
            answer = await self.administration.call(call.name, call.params, caller)
            if not call.lines:
                return call.status, json.dumps(answer).encode()
            lines: list[dict[str, Any]] = answer["lines"]
            while answer["next"] is not None:
                params = {**call.params, "after": answer["next"]}
                answer = await self.administration.call(call.name, params, caller)
                lines += answer["lines"]
            return call.status, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        except TidegateError as error:
            return error.status, json.dumps(error.body()).encode()

    async def settle(self) -> None:
        async with self.database.begin() as conn:
            subject = await people.ensure_user(conn, "acme", "ada", time.time())
            settlement = Settlement(
                id="1", request_id="r", at=time.time() - 60, account=Account("acme", "ada", "k"),
                model="demo", pool="p", zone="public", route="/v1/completions",
                size_class="small", tier="standard", prompt_tokens=1000, output_tokens=500,
                micros=1_250_000, outcome="finished",
            )  # fmt: skip
            await ledger.add_settlements(conn, [(settlement, subject)])


class Stage:
    """A running service, and the command with its address and key."""

    def __init__(self, url: str, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.url = url
        self.run_there = run
        self.service: Service

    def run(self, *args: str, key: str | None = ADMIN_KEY, **options: Any) -> Result:
        env = {"COLUMNS": "200", "TIDEGATE_URL": self.url, "TIDEGATE_API_KEY": key}
        return CliRunner().invoke(app, args, env=env, **options)

    def ok(self, *args: str, **options: Any) -> str:
        result = self.run(*args, **options)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.ok(*args, "--json"))
        return document


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/tidegate.db"
    asyncio.run(migrate(url))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    service = Service(url)
    run(service.database.start())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked = (self.command, self.path, self.headers.get("authorization"), body)
            status, data = run(service.answer(*asked))
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        stage = Stage(f"http://127.0.0.1:{server.server_address[1]}", run)
        stage.service = service
        yield stage
        server.shutdown()
        serving.join()
    run(service.database.close())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


COMMANDS = [
    ("key",), ("key", "create"), ("key", "list"), ("key", "show"), ("key", "revoke"),
    ("key", "rotate"), ("tenant",), ("tenant", "create"), ("tenant", "list"), ("tenant", "set"),
    ("user",), ("user", "create"), ("user", "list"), ("user", "forget"), ("limit",),
    ("limit", "set"), ("limit", "list"), ("limit", "delete"), ("budget",), ("budget", "set"),
    ("budget", "list"), ("budget", "delete"), ("usage",),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert "\n    tidegate " in result.stdout or "$(tidegate" in result.stdout


def test_from_the_admin_key_to_a_tenants_key(stage: Stage) -> None:
    result = stage.run("key", "create", "acme", "ada", "--zone", "private", "--expires", "90d")
    assert result.exit_code == 0
    key = result.stdout.strip()
    # Nothing but the key on stdout, so that a variable can take it.
    assert re.fullmatch(r"tg-[a-z2-7]{16}-[\w-]{43}", key)
    assert "shown this once" in result.stderr
    assert key[20:] not in result.stderr
    table = stage.ok("key", "list", "--tenant", "acme")
    for word in ("Keys", "active", "acme", "ada", "private", "developer", "standard, batch"):
        assert word in table
    assert key[20:] not in table
    refused = stage.run("key", "list", key=key)
    assert refused.exit_code == 1
    assert "role_forbidden" in refused.stderr


def test_keys(stage: Stage) -> None:
    made = stage.json(
        "key", "create", "acme", "olga", "--zone", "public", "--role", "operator", "--role",
        "developer", "--model", "demo", "--tier", "batch",
    )  # fmt: skip
    assert (made["roles"], made["models"]) == (["operator", "developer"], ["demo"])
    assert made["tiers"] == ["batch"]
    own = stage.run("key", "list", "--json", key=made["key"])
    assert [key["id"] for key in json.loads(own.stdout)["keys"]] == [made["id"]]
    rotated = stage.run("key", "rotate", made["id"], "--overlap", "30m")
    assert rotated.stdout.startswith("tg-")
    assert f"{made['id']} works until" in rotated.stderr
    assert stage.json("key", "show", made["id"])["expires_at"] < time.time() + 1801
    assert "revoked since" in stage.ok("key", "revoke", made["id"])
    assert "revoked_api_key" in stage.run("key", "list", key=made["key"]).stderr
    assert made["id"] not in stage.ok("key", "list")
    assert made["id"] in stage.ok("key", "list", "--revoked")
    assert "revoked" in stage.ok("key", "show", made["id"])
    assert stage.json("key", "revoke", made["id"])["state"] == "revoked"


def test_more_keys_than_a_page(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {stage.ok("key", "create", "acme", "ada", "--zone", "public")[3:19] for _ in range(4)}
    monkeypatch.setattr("app.cli.client.PAGE", 3)
    assert {key["id"] for key in stage.json("key", "list")["keys"]} == made
    assert len(stage.json("key", "list", "--limit", "2")["keys"]) == 2


def test_tenants_and_users(stage: Stage) -> None:
    assert "weight 2" in stage.ok("tenant", "create", "acme", "--weight", "2")
    assert stage.json("tenant", "create", "beta")["weight"] == 1
    assert "weight 0.5" in stage.ok("tenant", "set", "acme", "--weight", "0.5")
    assert stage.json("tenant", "set", "acme", "--weight", "3")["weight"] == 3
    assert "acme" in stage.ok("tenant", "list")
    assert [row["tenant"] for row in stage.json("tenant", "list")["tenants"]] == ["acme", "beta"]
    stage.ok("user", "create", "acme", "ada+x@acme.example")
    stage.ok("user", "create", "acme", "bob", "--json")
    assert "ada+x@acme.example" in stage.ok("user", "list", "acme")
    kept = stage.run("user", "forget", "acme", "bob", input="n\n")
    assert kept.exit_code == 1
    assert len(stage.json("user", "list", "acme")["users"]) == 2
    assert "0 keys revoked" in stage.ok("user", "forget", "acme", "bob", input="y\n")
    stage.json("user", "forget", "acme", "ada+x@acme.example", "--yes")
    assert stage.json("user", "list", "acme")["users"] == []


def test_limits_and_budgets(stage: Stage) -> None:
    key = stage.ok("key", "create", "acme", "ada", "--zone", "public")[3:19]
    text = stage.ok("limit", "set", "acme", "tenant_tokens_per_minute", "200000")
    assert text == "tenant_tokens_per_minute of acme is 200,000.\n"
    stage.json("limit", "set", "acme", "user_large_requests", "4", "--user", "ada")
    table = stage.ok("limit", "list", "--tenant", "acme")
    for word in ("200,000", "10,000", "ada", "all others", "user_large_requests"):
        assert word in table
    assert len(stage.json("limit", "list")["limits"]) == 2
    text = stage.ok("limit", "delete", "acme", "user_large_requests", "--user", "ada")
    assert text == "user_large_requests of ada of acme is the configuration's again.\n"
    stage.json("limit", "delete", "acme", "tenant_tokens_per_minute")
    text = stage.ok("budget", "set", "acme", "month", "1500", "--policy", "degrade")
    assert text == "acme may use $1,500.00 a month; then: degrade.\n"
    made = stage.json("budget", "set", "acme", "day", "$0.5", "--of-key", key, "--alert", "0.5")
    assert (made["micros"], made["key"], made["alert"]) == (500_000, key, 0.5)
    table = stage.ok("budget", "list")
    for word in ("$1,500.00", "$0.50", "80%", "50%", key, "degrade"):
        assert word in table
    assert "again" in stage.ok("budget", "delete", "acme", "day", "--of-key", key)
    stage.json("budget", "delete", "acme", "month")
    assert stage.json("budget", "list", "--tenant", "acme")["budgets"] == []


def test_usage(stage: Stage) -> None:
    stage.run_there(stage.service.settle())
    table = stage.ok("usage", "--by", "tenant,model", "--since", "7d")
    for word in ("Usage from", "acme", "demo", "1,000", "500", "$1.25"):
        assert word in table
    table = stage.ok("usage", "--by", "user", "--tenant", "acme", "--interval", "hour")
    assert "ada" in table
    [row] = stage.json("usage", "--by", "user", "--tenant", "acme")["rows"]
    assert (row["user"], row["micros"]) == ("ada", 1_250_000)
    assert stage.json("usage", "--until", "2027-01-31", "--since", "2027-01-30")["rows"] == []


def test_the_log_can_be_read_and_verified(stage: Stage) -> None:
    for user in ("ada", "bob", "eve"):
        stage.ok("key", "create", "acme", user, "--zone", "public")
    assert "key_created" in stage.ok("audit", "list")
    assert len(stage.json("audit", "list", "--limit", "1")["entries"]) == 1
    stage.ok("audit", "export", "--output", "log.jsonl")
    stage.ok("audit", "verify", "--file", "log.jsonl")
    result = stage.run("audit", "verify")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("key", "create", "acme", "ada", "--zone", "public", "--expires", "soon"), "90d"),
        (("key", "rotate", "abc", "--overlap", "long"), "30m"),
        (("budget", "set", "acme", "day", "much"), "25 or 0.50"),
        (("budget", "set", "acme", "day", "0.0000001"), "25 or 0.50"),
        (("usage", "--since", "7"), "24h"),
        (("usage", "--since", "9999-99-99"), "24h"),
    ],
)
def test_what_cannot_be_read_is_shown_how(args: tuple[str, ...], words: str) -> None:
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 2
    assert words in result.stderr
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("key", "create", "acme", "ada", "--zone", "publik"), "did you mean 'public'?"),
        (("key", "revoke", "2b7qmx4tzr6kvhwd"), "there is no key"),
        (("key", "show", "../../v1/models"), "not_found"),
        (("limit", "set", "nobody", "user_large_requests", "4"), "there is no tenant 'nobody'"),
        (("limit", "set", "acme", "tpm", "4"), "must be one of user_tokens_per_minute"),
        (("budget", "set", "nobody", "year", "1"), "must be one of day, month"),
        (("usage", "--by", "colour"), "must be one of tenant"),
        (("user", "forget", "nobody", "x", "--yes"), "there is no tenant"),
    ],
)
def test_errors_of_the_service_are_shown(stage: Stage, args: tuple[str, ...], words: str) -> None:
    result = stage.run(*args)
    assert result.exit_code == 1
    assert words in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_without_a_key(stage: Stage) -> None:
    result = stage.run("key", "list", key=None)
    assert result.exit_code == 1
    assert "Give one by --key or TIDEGATE_API_KEY." in result.stderr
    assert "invalid_api_key" in stage.run("key", "list", key="tg-wrong").stderr


def test_the_admin_key_of_a_service_in_this_directory_is_found(stage: Stage) -> None:
    file = Path(".tidegate/admin.key")
    file.parent.mkdir()
    file.write_text(f"{ADMIN_KEY}\n")
    assert stage.run("tenant", "list", key=None).exit_code == 0
    # A key that was given counts alone.
    assert stage.run("tenant", "list", key="tg-wrong").exit_code == 1
    file.write_bytes(b"\xff")
    result = stage.run("tenant", "list", key=None)
    assert "admin.key cannot be read" in result.stderr


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8000", True), ("http://localhost", True), ("https://[::1]:1/", True),
        ("http://gateway.example", False), ("http://127.0.0.1@gateway.example", False),
        ("http://localhost.example", False), ("http://10.0.0.1", False), ("nonsense", False),
    ],
)  # fmt: skip
def test_no_other_machine_is_shown_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, here: bool
) -> None:
    from app.cli.client import connect

    monkeypatch.chdir(tmp_path)
    Path(".tidegate").mkdir()
    Path(".tidegate/admin.key").write_text(ADMIN_KEY)
    with connect(url, None) as client:
        assert ("authorization" in client.headers) is here
