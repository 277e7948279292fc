"""A fleet's configuration for ledgers alone, and gateways' clients to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from app.admission.exchange import Account, Settlement
from app.config import FleetConfig, parse_config
from app.usage.journal import Journal
from deployments.ledger_client import JOURNAL_DIRECTORY, LedgerClient
from deployments.wire import Endpoint

__all__ = ["Gateway", "configure", "gateway", "settlement", "until"]

ZONE = "public"


def configure(folder: Path, url: str | None = None, **sections: Any) -> tuple[FleetConfig, Path]:
    """A configuration, and the file it is in for processes of their own.

    Args:
        folder: for the store, the secrets, the journals and the file.
        url: another store than SQLite in that folder.
        sections: such as ``limits``, as in serve_config.yaml.
    """
    pool = {
        "name": "pool",
        "model": "demo",
        "zone": ZONE,
        "size_classes": ["small", "medium"],
        "engine": {"max_model_len": 2048, "kv_cache_memory": "64MiB"},
    }
    args: dict[str, Any] = {
        "models": [{"name": "demo", "source": "models/demo", "max_model_len": 2048}],
        "weights": {"keys": [{"id": "demo", "public_key": "models/demo.pub"}]},
        "size_classes_required": ["small", "medium"],
        "zones": {ZONE: {"isolation": "medium"}},
        "default_zone": ZONE,
        "pools": [pool],
        "store": {"url": url or f"sqlite:///{folder}/tidegate.db", "data_dir": str(folder)},
        **sections,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.json"
    file.write_text(json.dumps(args))
    return parse_config(args), file


class Gateway:
    """One gateway's client with its journal."""

    def __init__(self, config: FleetConfig, name: str) -> None:
        self.journal = Journal(Path(config.store.data_dir) / JOURNAL_DIRECTORY, name)
        self.client = LedgerClient(config, name, self.journal)

    def moved(self, endpoint: Endpoint) -> None:
        """The ledger listens elsewhere now."""
        self.client.set_members(0, {f"at-{endpoint.port}": endpoint})


@contextlib.asynccontextmanager
async def gateway(config: FleetConfig, endpoint: Endpoint) -> AsyncIterator[Gateway]:
    made = Gateway(config, f"gw-{secrets.token_hex(8)}")
    made.journal.open()
    await made.client.start()
    made.moved(endpoint)
    try:
        yield made
    finally:
        await made.client.close()
        made.journal.close()


async def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    """Waits until something is so.

    Raises:
        TimeoutError: it was not in time.
    """
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def settlement(request: str, account: Account, tokens: int, micros: int) -> Settlement:
    return Settlement(
        id=request,
        request_id=request,
        at=time.time(),
        account=account,
        model="demo",
        pool="pool",
        zone=ZONE,
        route="completions",
        size_class="small",
        tier="standard",
        prompt_tokens=tokens,
        output_tokens=0,
        micros=micros,
        outcome="finished",
    )
