"""Gateways that ask for keys, with a ledger of their own, beside the stack's engines."""

import contextlib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from app.config import FleetConfig
from app.security.secrets import ADMIN_KEY_FILE
from deployments.admission import Admission, open_admission
from deployments.ledger_client import LedgerClient
from deployments.ledger_shard import LedgerShard
from deployments.membership import Members
from deployments.service import GatewayService
from deployments.wire import Endpoint
from tests.engine.stack import (
    ARGS,
    LOCALHOST,
    REPLICAS,
    Gateway,
    Stack,
    configured,
    until_disconnected,
)


@dataclass(slots=True)
class Keyed:
    """A ledger and the gateways that ask it.

    Args:
        stack: the engines.
        config: as the gateways have it.
        shard: the ledger.
        endpoint: where it listens.
    """

    stack: Stack
    config: FleetConfig
    shard: LedgerShard
    endpoint: Endpoint
    gateways: list[Gateway] = field(default_factory=list)
    admissions: list[tuple[Admission, LedgerClient]] = field(default_factory=list)

    @property
    def admin_key(self) -> str:
        """The first admin key."""
        return (Path(self.config.store.data_dir) / ADMIN_KEY_FILE).read_text().strip()

    @property
    def admin(self) -> httpx.Client:
        """The first gateway, as the admin sees it."""
        return self.client(self.admin_key)

    def client(self, key: str | None, gateway: int = 0) -> httpx.Client:
        """A gateway, as the holder of a key sees it."""
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        url = f"http://{LOCALHOST}:{self.gateways[gateway].port}"
        return httpx.Client(base_url=url, headers=headers, timeout=110)

    def key(self, tenant: str, user: str = "ada", zone: str = "private", **more: Any) -> str:
        """Makes a key by the admin route, and waits until every gateway knows it."""
        body = {"tenant": tenant, "user": user, "zone": zone} | more
        with self.admin as admin:
            answer = admin.post("/admin/v1/keys", json=body)
        assert answer.status_code == 201, answer.text
        key: str = answer.json()["key"]
        for number in range(len(self.gateways)):
            self.until_status(key, 200, number)
        return key

    def until_status(self, key: str, status: int, gateway: int = 0) -> None:
        """Waits until a gateway answers a key with this status."""
        with self.client(key, gateway) as client:
            for _ in range(200):
                if client.get("/v1/models").status_code == status:
                    return
        raise AssertionError(f"gateway {gateway} never answered {status}")

    def stop_ledger(self) -> None:
        """Ends the ledger; gateways lose their streams to it."""
        self.stack.run(self.shard.close())
        self._tell({})

    def start_ledger(self) -> None:
        """Starts another one on the same store."""
        self.shard = self.stack.call(lambda: LedgerShard(self.config, 0))
        self.endpoint = self.stack.run(self.shard.start(LOCALHOST))
        self._tell({"another": self.endpoint})

    def _tell(self, members: Members) -> None:
        for _, ledger in self.admissions:
            self.stack.call(partial(ledger.set_members, 0, members))

    async def open_gateway(self) -> None:
        """Starts a gateway; on the stack's loop."""
        admission, ledger = await open_admission(self.config)
        assert ledger is not None
        ledger.set_members(0, {"ledger": self.endpoint})
        self.admissions.append((admission, ledger))
        service = GatewayService(self.config, admission)
        await service.start()
        service.set_classifiers({"classifier": self.stack.classifier._endpoint})
        port = await self.stack._listen(until_disconnected(service.api))
        self.gateways.append(Gateway(service, port, self.config, self.stack.replicas))


@contextlib.contextmanager
def keyed(
    stack: Stack, folder: Path, changes: Mapping[str, Any] | None = None, gateways: int = 1
) -> Iterator[Keyed]:
    """A ledger and gateways, and their end.

    Args:
        stack: the engines and the classifier.
        folder: for the store and the secrets.
        changes: sections of the configuration that are different.
        gateways: how many.
    """
    args = deepcopy(ARGS)
    args["access"] = {"keys": "required"}
    args["store"] = {"url": f"sqlite:///{folder}/store.db", "data_dir": str(folder)}
    args |= changes or {}
    config = configured(args)
    shard = stack.call(lambda: LedgerShard(config, 0))
    fleet = Keyed(stack, config, shard, stack.run(shard.start(LOCALHOST)))
    try:
        for _ in range(gateways):
            stack.run(fleet.open_gateway())
            stack.members(fleet.gateways[-1], set(REPLICAS))
        for gateway in fleet.gateways:
            stack.until(lambda gateway=gateway: gateway.service.readiness()[0], 10)  # type: ignore[misc]
        stack.gateways += fleet.gateways
        yield fleet
        stack.settle()
    finally:
        for gateway in fleet.gateways:
            gateway.close()
            if gateway in stack.gateways:
                stack.gateways.remove(gateway)
            stack.call(gateway.service.fleet.links.close)
            stack.call(lambda gateway=gateway: gateway.service.set_classifiers({}))  # type: ignore[misc]
        for admission, _ in fleet.admissions:
            stack.run(admission.close())
        stack.run(fleet.shard.close())
