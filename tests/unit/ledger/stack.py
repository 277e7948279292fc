"""Ledgers and gateways' clients over real TCP, in this process or in others."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from app.admission.exchange import Account, Settlement
from app.audit.events import AuditEvent, EventKind
from app.config import FleetConfig, parse_config
from app.security.identity import Identity, Role
from app.store.database import Database
from app.usage.journal import Journal
from deployments.ledger_client import JOURNAL_DIRECTORY, LedgerClient
from deployments.ledger_shard import LedgerShard
from deployments.wire import Endpoint

ADMIN = Identity(
    "admin", "admin", "confidential", "admin", roles=frozenset({Role.ADMIN}), unlimited=True
)
ADA = Account("acme", "ada", "k1")


def fleet_args(store_url: str, data_dir: Path, **sections: Any) -> dict[str, Any]:
    def pool(zone: str) -> dict[str, Any]:
        return {
            "name": zone,
            "model": "demo",
            "zone": zone,
            "size_classes": ["small", "medium"],
            "engine": {"max_model_len": 2048, "kv_cache_memory": "64MiB"},
        }

    return {
        "models": [{"name": "demo", "source": "models/demo", "max_model_len": 2048}],
        "weights": {"keys": [{"id": "demo", "public_key": "models/demo.pub"}]},
        "size_classes_required": ["small", "medium"],
        "zones": {
            "public": {"isolation": "medium", "when_ledger_away": "serve"},
            "confidential": {"isolation": "maximum"},
        },
        "default_zone": "public",
        "pools": [pool("public"), pool("confidential")],
        "store": {"url": store_url, "data_dir": str(data_dir)},
        **sections,
    }


def fleet_config(store_url: str, data_dir: Path, **sections: Any) -> FleetConfig:
    return parse_config(fleet_args(store_url, data_dir, **sections))


def config_file(folder: Path, args: dict[str, Any]) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(args))
    return file


def settlement(
    number: str, tokens: int = 10, micros: int = 0, account: Account = ADA
) -> Settlement:
    return Settlement(
        id=number,
        request_id=f"req-{number}",
        at=time.time(),
        account=account,
        model="demo",
        pool="public",
        zone="public",
        route="chat",
        size_class="small",
        tier="standard",
        prompt_tokens=tokens,
        output_tokens=0,
        micros=micros,
        outcome="finished",
    )


def event(number: str, account: Account = ADA) -> AuditEvent:
    return AuditEvent(
        id=number, at=time.time(), kind=EventKind.ADMITTED, tenant=account.tenant, user=account.user
    )


class GatewaySide:
    """A client with its journal."""

    def __init__(self, config: FleetConfig, name: str) -> None:
        self.journal = Journal(Path(config.store.data_dir) / JOURNAL_DIRECTORY, name)
        self.directory: list[bytes] = []
        self.client = LedgerClient(config, name, self.journal)
        self.client.on_directory = self.directory.append

    async def start(self, *endpoints: Endpoint) -> None:
        self.journal.open()
        await self.client.start()
        for shard, endpoint in enumerate(endpoints):
            self.client.set_members(shard, {f"r{endpoint.port}": endpoint})
        if endpoints:
            await until(lambda: self.client.ready)

    async def close(self) -> None:
        await self.client.close()
        self.journal.close()


@contextlib.asynccontextmanager
async def gateway(
    config: FleetConfig, *endpoints: Endpoint, name: str = "gw-1"
) -> AsyncIterator[GatewaySide]:
    side = GatewaySide(config, name)
    await side.start(*endpoints)
    try:
        yield side
    finally:
        await side.close()


@contextlib.asynccontextmanager
async def shard(config: FleetConfig, number: int = 0) -> AsyncIterator[Endpoint]:
    ledger = LedgerShard(config, number)
    endpoint = await ledger.start("127.0.0.1")
    try:
        yield endpoint
        ledger.check()
    finally:
        await ledger.close()


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


async def rows(url: str, statement: Any) -> list[Any]:
    async with Database(url) as database, database.read() as conn:
        return list(await conn.execute(statement))
