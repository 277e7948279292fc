from dataclasses import replace

import pytest

from app.errors import Conflict
from app.store import audit
from app.store.audit import AuditRow, CheckpointRow
from app.store.database import Database


def entry(sequence: int, chain: str = "shard-0", **changes: object) -> AuditRow:
    row = AuditRow(
        chain=chain,
        sequence=sequence,
        id=f"{chain}-{sequence}",
        at=100.0 + sequence,
        kind="admitted",
        tenant="acme",
        subject="0" * 32,
        body='{"é":1}',
        previous=bytes([sequence - 1]) * 32,
        hash=bytes([sequence]) * 32,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def checkpoint(sequence: int, chain: str = "shard-0") -> CheckpointRow:
    return CheckpointRow(
        chain=chain,
        sequence=sequence,
        at=1.0,
        hash=bytes([sequence]) * 32,
        public_key=b"p" * 32,
        signature=b"s" * 64,
    )


async def test_entries_come_back_as_they_were_in_pages(database: Database) -> None:
    rows = [entry(n) for n in range(1, 6)]
    async with database.begin() as conn:
        await audit.append(conn, [])
        assert await audit.last(conn, "shard-0") is None
        await audit.append(conn, rows)
        await audit.append(conn, [entry(1, "shard-1")])
    async with database.read() as conn:
        assert await audit.page(conn, "shard-0") == rows
        assert await audit.page(conn, "shard-0", after=1, limit=2) == rows[1:3]
        assert await audit.page(conn, "shard-0", after=1, up_to=2) == rows[1:2]
        assert await audit.last(conn, "shard-0") == rows[-1]
        assert await audit.known(conn, [rows[0].id, "else", "shard-1-1"]) == {
            rows[0].id,
            "shard-1-1",
        }
        assert await audit.known(conn, []) == set()


@pytest.mark.parametrize("second", [entry(1, id="else"), entry(2, id="shard-0-1")])
async def test_a_place_and_an_id_are_taken_once(database: Database, second: AuditRow) -> None:
    async with database.begin() as conn:
        await audit.append(conn, [entry(1)])
    with pytest.raises(Conflict):
        async with database.begin() as conn:
            await audit.append(conn, [second])


async def test_search(database: Database) -> None:
    rows = [
        entry(1, "a"),
        entry(2, "a", tenant="umbrella", at=50.0),
        entry(3, "a", kind="refused"),
        entry(1, "b", subject="1" * 32),
        entry(2, "b"),
    ]
    async with database.begin() as conn:
        await audit.append(conn, rows)
    async with database.read() as conn:
        for found, which in (
            (await audit.search(conn), [0, 1, 2, 3, 4]),
            (await audit.search(conn, limit=2), [0, 1]),
            (await audit.search(conn, after=("a", 2)), [2, 3, 4]),
            (await audit.search(conn, after=("a", 3), limit=1), [3]),
            (await audit.search(conn, tenant="umbrella"), [1]),
            (await audit.search(conn, subject="1" * 32), [3]),
            (await audit.search(conn, kind="refused"), [2]),
            (await audit.search(conn, since=101.0, until=102.0), [0, 3]),
        ):
            assert found == [rows[n] for n in which]


async def test_cutting_stops_before_the_first_entry_that_is_kept(database: Database) -> None:
    async with database.begin() as conn:
        # The third is older than the second: events come from several clocks.
        ages = [10.0, 30.0, 20.0, 40.0]
        await audit.append(conn, [entry(n + 1, at=at) for n, at in enumerate(ages)])
        for before, sequence in ((10.0, None), (11.0, 1), (25.0, 1), (35.0, 3), (99.0, 4)):
            found = await audit.last_before(conn, "shard-0", before)
            assert (found and found.sequence) == sequence
        assert await audit.last_before(conn, "else", 99.0) is None
        assert await audit.delete_up_to(conn, "shard-0", 3) == 3
        assert [row.sequence for row in await audit.page(conn, "shard-0")] == [4]


async def test_checkpoints(database: Database) -> None:
    async with database.begin() as conn:
        assert await audit.last_checkpoint(conn, "shard-0") is None
        for sequence in (2, 4, 6):
            await audit.add_checkpoint(conn, checkpoint(sequence))
        await audit.append(conn, [entry(1, "shard-1")])
        assert await audit.chains(conn) == ["shard-0", "shard-1"]
        pruned = replace(checkpoint(4), pruned=True, signature=b"t" * 64)
        assert await audit.replace_checkpoint(conn, pruned)
        assert not await audit.replace_checkpoint(conn, checkpoint(5))
        kept = [checkpoint(2), pruned, checkpoint(6)]
        assert await audit.list_checkpoints(conn, "shard-0") == kept
        assert await audit.list_checkpoints(conn, "shard-0", after=2, limit=1) == [pruned]
        assert await audit.last_checkpoint(conn, "shard-0") == checkpoint(6)
        assert await audit.delete_checkpoints(conn, "shard-0", 4) == 1
        assert await audit.list_checkpoints(conn, "shard-0") == kept[1:]
    with pytest.raises(Conflict):
        async with database.begin() as conn:
            await audit.add_checkpoint(conn, checkpoint(6))
