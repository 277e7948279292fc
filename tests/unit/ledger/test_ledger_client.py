import asyncio
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.admission.exchange import Account
from app.audit.events import AuditEvent, EventKind
from app.errors import (
    BudgetExhausted,
    InvalidRequest,
    LedgerUnavailable,
    RateLimited,
    RequestTooLarge,
    TooManyLarge,
)
from app.security.directory import Directory
from app.store.tables import audit, usage, users
from app.usage.journal import Journal
from deployments.ledger_client import JOURNAL_DIRECTORY
from deployments.ledger_messages import shard_of
from tests.unit.ledger.stack import (
    ADA,
    ADMIN,
    event,
    fleet_config,
    gateway,
    rows,
    settlement,
    shard,
    until,
)


async def test_a_request_is_admitted_settled_and_stored(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config) as endpoint:
        async with gateway(config, endpoint) as side:
            client = side.client
            admitted = await client.reserve(
                ADA, 100, 0, large=False, zone="public", request_id="s1"
            )
            assert admitted.limit == 10_000
            assert 9_000 <= admitted.remaining <= 15_000
            client.settle(settlement("s1", 60))
            client.record(event("e1"))
            assert await client.settled(settlement("s1", 60))
            await until(lambda: not client.undelivered)
            assert side.journal.outstanding == 0
        assert not list((data_dir / JOURNAL_DIRECTORY).iterdir())
    found = await rows(
        store_url,
        select(usage.c.id, usage.c.prompt_tokens, usage.c.subject, users.c.name).join(
            users, users.c.subject == usage.c.subject
        ),
    )
    assert [(row.id, row.prompt_tokens, row.name) for row in found] == [("s1", 60, "ada")]
    kinds = [row.kind for row in await rows(store_url, select(audit.c.kind))]
    assert kinds == [EventKind.LEDGER, EventKind.ADMITTED]


async def test_a_hot_key_asks_no_round_trip_a_request(store_url: str, data_dir: Path) -> None:
    config = fleet_config(
        store_url,
        data_dir,
        limits={
            "user_tokens_per_minute": 10**7,
            "user_tokens_per_hour": 10**8,
            "tenant_tokens_per_minute": 10**8,
        },
    )
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        loop = asyncio.get_running_loop()
        slow = 0
        for number in range(400):
            begin = loop.time()
            await side.client.reserve(
                ADA, 50, 0, large=False, zone="public", request_id=f"s{number}"
            )
            slow += loop.time() - begin > 0.001
            side.client.settle(settlement(f"s{number}", 40))
            await asyncio.sleep(0.0005)
        assert slow < 80
        await until(lambda: not side.client.undelivered)
    assert (await rows(store_url, select(func.count()).select_from(usage)))[0][0] == 400


async def test_limits_say_what_was_met_and_when_to_come_back(
    store_url: str, data_dir: Path
) -> None:
    config = fleet_config(store_url, data_dir, budgets={"tenant_day": 1_000_000})
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        reserve = side.client.reserve
        with pytest.raises(RequestTooLarge) as too_large:
            await reserve(ADA, 20_000, 0, large=False, zone="public", request_id="a")
        assert "User 'ada' of tenant 'acme' may use 10,000 tokens a minute" in str(too_large.value)
        assert too_large.value.retry_after_s is None
        await reserve(ADA, 14_000, 0, large=False, zone="public", request_id="b")
        with pytest.raises(RateLimited) as limited:
            await reserve(ADA, 4_000, 0, large=False, zone="public", request_id="c")
        error = limited.value
        assert error.rule == "user_tokens_per_minute"
        assert error.limit == 10_000
        assert error.used is not None
        assert error.used >= 14_000
        assert error.retry_after_s is not None
        assert 5 < error.retry_after_s < 60
        bob = Account("acme", "bob", "k2")
        await reserve(bob, 100, 0, large=True, zone="public", request_id="d")
        with pytest.raises(TooManyLarge, match="1 request of the size classes large and xl"):
            await reserve(bob, 100, 0, large=True, zone="public", request_id="e")
        side.client.release("d")
        with pytest.raises(BudgetExhausted, match=r"may spend \$1\.00 a day"):
            await reserve(bob, 100, 1_000_001, large=False, zone="public", request_id="f")
        await until_admitted(side.client.reserve, bob)


async def until_admitted(reserve: object, account: Account) -> None:
    async with asyncio.timeout(10):
        number = 0
        while True:
            number += 1
            try:
                await reserve(  # type: ignore[operator]
                    account, 100, 0, large=True, zone="public", request_id=f"again-{number}"
                )
            except TooManyLarge:
                await asyncio.sleep(0.1)
            else:
                return


async def test_use_without_a_reservation_counts(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        side.client.settle(settlement("free", 10**6, account=Account("admin", "admin", "admin")))
        assert await side.client.settled(settlement("free"))
    assert len(await rows(store_url, select(usage))) == 1


async def test_admin_calls_reach_every_gateway(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    async with (
        shard(config) as endpoint,
        gateway(config, endpoint) as one,
        gateway(config, endpoint, name="gw-2") as two,
    ):
        made = await one.client.call(
            "keys.create", {"tenant": "acme", "user": "ada", "zone": "public"}, ADMIN
        )
        directory = Directory()
        await until(lambda: len(two.directory) > 1, within_s=1.0)
        for message in two.directory:
            directory.apply(message)
        entry = directory.entry(made["id"])
        assert entry is not None
        assert entry.revoked_at is None
        await two.client.call("keys.revoke", {"id": made["id"]}, ADMIN)
        await until(lambda: len(one.directory) > 2, within_s=1.0)
        directory = Directory()
        for message in one.directory:
            directory.apply(message)
        entry = directory.entry(made["id"])
        assert entry is not None
        assert entry.revoked_at is not None
        with pytest.raises(InvalidRequest, match="zone"):
            await one.client.call(
                "keys.create", {"tenant": "acme", "user": "ada", "zone": "secret"}, ADMIN
            )


async def test_changed_limits_apply_at_once(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        await side.client.call("tenants.create", {"tenant": "acme"}, ADMIN)
        params = {"tenant": "acme", "rule": "user_tokens_per_minute", "value": 100_000}
        await side.client.call("limits.set", params, ADMIN)
        admitted = await side.client.reserve(
            ADA, 50_000, 0, large=False, zone="public", request_id="s1"
        )
        assert admitted.limit in {100_000, 50_000}


async def test_tenants_are_spread_over_shards(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir, ledger={"shards": 2})
    async with (
        shard(config, 0) as first,
        shard(config, 1) as second,
        gateway(config, first, second) as side,
    ):
        accounts = [Account(f"tenant-{n}", "u", "k") for n in range(12)]
        assert {shard_of(account.tenant, 2) for account in accounts} == {0, 1}
        for account in accounts:
            await side.client.reserve(
                account, 10, 0, large=False, zone="public", request_id=f"s-{account.tenant}"
            )
            side.client.settle(settlement(f"s-{account.tenant}", account=account))
            side.client.record(event(f"e-{account.tenant}", account))
        side.client.record(AuditEvent("nobody", 1.0, EventKind.UNAUTHENTICATED))
        await until(lambda: not side.client.undelivered)
    assert len(await rows(store_url, select(usage))) == 12
    chains = [row.chain for row in await rows(store_url, select(audit.c.chain))]
    assert set(chains) == {"ledger-0", "ledger-1"}
    assert len(chains) == 2 + 12 + 1


async def test_the_zone_decides_while_the_ledger_is_away(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir, ledger={"timeout_s": 0.3})
    async with gateway(config) as side:
        with pytest.raises(LedgerUnavailable, match="confidential"):
            await side.client.reserve(ADA, 10, 0, large=False, zone="confidential", request_id="no")
        await side.client.reserve(ADA, 10, 0, large=False, zone="public", request_id="yes")
        side.client.settle(settlement("yes", 7_000))
        with pytest.raises(LedgerUnavailable):
            await side.client.call("keys.list", {}, ADMIN)
        async with shard(config) as endpoint:
            side.client.set_members(0, {"r": endpoint})
            await until(lambda: not side.client.undelivered)
            # What was used meanwhile is a debt.
            with pytest.raises(RateLimited):
                await side.client.reserve(
                    ADA, 14_000, 0, large=False, zone="confidential", request_id="more"
                )
    assert len(await rows(store_url, select(usage))) == 1


async def test_the_journal_of_a_dead_gateway_is_delivered_by_the_next(
    store_url: str, data_dir: Path
) -> None:
    config = fleet_config(store_url, data_dir)
    dead = Journal(data_dir / JOURNAL_DIRECTORY, "dead").open()
    for number in range(1200):
        dead.append(settlement(f"s{number}"))
    dead.append(event("e1"))
    dead.close()
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        await until(lambda: not (data_dir / JOURNAL_DIRECTORY / "dead").exists())
        await until(lambda: not side.client.undelivered)
    assert len(await rows(store_url, select(usage))) == 1200
    assert len(await rows(store_url, select(audit))) == 2
