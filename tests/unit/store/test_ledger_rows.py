import asyncio
import contextlib
from dataclasses import replace

import msgspec
import pytest
from sqlalchemy import func, select

from app.admission.exchange import Account, Settlement
from app.store import ledger
from app.store.database import Database
from app.store.ledger import BucketRow, Fenced, SpendingRow, TickRow
from app.store.tables import usage

SETTLEMENT = Settlement(
    id="s1",
    request_id="r1",
    at=100.25,
    account=Account("acme", "ada", "k1"),
    model="small",
    pool="p",
    zone="public",
    route="chat",
    size_class="small",
    tier="standard",
    prompt_tokens=10,
    output_tokens=2**40,
    micros=2**45,
    outcome="finished",
    batch_tenants=("umbrella",),
)


async def count_usage(database: Database) -> int:
    async with database.read() as conn:
        found = await conn.execute(select(func.count()).select_from(usage))
        return int(found.scalar_one())


async def test_a_new_ledger_fences_the_one_before(database: Database) -> None:
    async with database.begin() as conn:
        with pytest.raises(Fenced, match="shard 3 is at epoch None"):
            await ledger.check_epoch(conn, 3, 1)
        assert await ledger.claim_shard(conn, 3) == 1
        assert await ledger.claim_shard(conn, 4) == 1
        await ledger.check_epoch(conn, 3, 1)
    async with database.begin() as conn:
        assert await ledger.claim_shard(conn, 3) == 2
        await ledger.check_epoch(conn, 3, 2)
        await ledger.check_epoch(conn, 4, 1)
        with pytest.raises(Fenced, match="shard 3 is at epoch 2, this ledger at 1"):
            await ledger.check_epoch(conn, 3, 1)


async def test_nobody_takes_over_in_the_middle_of_a_transaction(
    database: Database, store_url: str
) -> None:
    async with database.begin() as conn:
        await ledger.claim_shard(conn, 0)
    taken = asyncio.Event()

    async def take_over() -> None:
        async with Database(store_url) as other, other.begin() as conn:
            assert await ledger.claim_shard(conn, 0) == 2
            taken.set()

    async with database.begin() as conn:
        await ledger.check_epoch(conn, 0, 1)
        task = asyncio.create_task(take_over())
        await asyncio.sleep(0.2)
        assert not taken.is_set()
        await ledger.write_buckets(conn, [BucketRow("rule", "acme", "", 1.0, 1.0)])
    await task
    async with database.begin() as conn:
        with pytest.raises(Fenced):
            await ledger.check_epoch(conn, 0, 1)
        assert await ledger.load_buckets(conn, [("rule", "acme", "")])


async def test_buckets(database: Database) -> None:
    rows = [BucketRow("minute", "acme", f"u{n}", n + 0.1, 1e9 + n / 7) for n in range(600)]
    async with database.begin() as conn:
        await ledger.write_buckets(conn, [])
        await ledger.write_buckets(conn, rows)
        changed = replace(rows[0], level=-3.5)
        await ledger.write_buckets(conn, [changed, rows[1]])
    async with database.begin() as conn:
        names = [(row.rule, row.tenant, row.user) for row in rows]
        found = await ledger.load_buckets(conn, [*names, ("minute", "acme", "missing")])
        assert sorted(found, key=lambda row: row.at) == [changed, *rows[1:]]
        assert await ledger.load_buckets(conn, []) == []
        assert await ledger.delete_buckets(conn, rows[500].at) == 500
        assert len(await ledger.load_buckets(conn, names)) == 100


async def test_spending(database: Database) -> None:
    day = SpendingRow("acme", "", "day", "2026-11-21", 2**53, False)
    month = SpendingRow("acme", "k1", "month", "2026-11-01", 5, True)
    async with database.begin() as conn:
        await ledger.write_spending(conn, [day, month])
        names = [(row.tenant, row.key, row.period, row.start) for row in (day, month)]
        assert set(await ledger.load_spending(conn, names)) == {day, month}
        changed = replace(day, micros=6, alerted=True)
        await ledger.write_spending(conn, [changed])
        assert await ledger.load_spending(conn, names[:1]) == [changed]
        assert await ledger.delete_spending(conn, "2026-11-02") == 1
        assert await ledger.load_spending(conn, names) == [changed]


async def test_ticks(database: Database) -> None:
    rows = [TickRow(f"g{n}", n, 100.0 + n) for n in range(3)]
    async with database.begin() as conn:
        await ledger.write_ticks(conn, 0, rows)
        await ledger.write_ticks(conn, 1, rows[:1])
        changed = replace(rows[0], sequence=9, at=200.0)
        await ledger.write_ticks(conn, 0, [changed])
        assert set(await ledger.load_ticks(conn, 0)) == {changed, *rows[1:]}
        assert await ledger.load_ticks(conn, 0, ["g1", "missing"]) == [rows[1]]
        assert await ledger.load_ticks(conn, 0, []) == []
        assert await ledger.delete_ticks(conn, 0, 102.5) == 2
        assert await ledger.load_ticks(conn, 0) == [changed]
        assert await ledger.load_ticks(conn, 1) == rows[:1]


async def test_a_settlement_counts_once(database: Database) -> None:
    other = msgspec.structs.replace(SETTLEMENT, id="s2")
    async with database.begin() as conn:
        twice = [(SETTLEMENT, "x"), (SETTLEMENT, "x")]
        assert await ledger.add_settlements(conn, twice) == {"s1"}
        assert await ledger.add_settlements(conn, []) == set()
    async with database.begin() as conn:
        both = [(SETTLEMENT, "x"), (other, "x")]
        assert await ledger.add_settlements(conn, both) == {"s2"}
    assert await count_usage(database) == 2
    async with database.read() as conn:
        stored = (await conn.execute(select(usage).where(usage.c.id == "s1"))).mappings().one()
    assert stored == {
        "id": "s1",
        "at": 100.25,
        "request_id": "r1",
        "tenant": "acme",
        "subject": "x",
        "key": "k1",
        "model": "small",
        "pool": "p",
        "zone": "public",
        "route": "chat",
        "size_class": "small",
        "tier": "standard",
        "prompt_tokens": 10,
        "output_tokens": 2**40,
        "micros": 2**45,
        "outcome": "finished",
    }


async def test_two_ledgers_with_the_same_settlements_count_each_once(
    database: Database, store_url: str
) -> None:
    """Shards may be told twice after a change of their number."""
    many = [(msgspec.structs.replace(SETTLEMENT, id=f"s{n}"), "x") for n in range(300)]

    async def add(one: Database) -> set[str]:
        async with one.begin() as conn:
            return await ledger.add_settlements(conn, many)

    async with Database(store_url) as other:
        new = await asyncio.gather(add(database), add(other))
    assert sum(map(len, new)) == 300
    assert await count_usage(database) == 300


async def test_strange_text_does_not_stop_usage(database: Database) -> None:
    strange = msgspec.structs.replace(
        SETTLEMENT,
        request_id="nul\0" + "x" * 1000,
        account=Account("acme", "\ud800", "k" * 1000),
        model="\udfff",
        outcome="y" * 1000,
        prompt_tokens=2**70,
        micros=2**63,
    )
    async with database.begin() as conn:
        assert await ledger.add_settlements(conn, [(strange, "x")]) == {"s1"}
        assert await ledger.add_settlements(conn, [(strange, "x")]) == set()


async def test_a_rolled_back_settlement_is_new_again(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.begin() as conn:
            await ledger.add_settlements(conn, [(SETTLEMENT, "x")])
            raise ZeroDivisionError
    async with database.begin() as conn:
        assert await ledger.add_settlements(conn, [(SETTLEMENT, "x")]) == {"s1"}
