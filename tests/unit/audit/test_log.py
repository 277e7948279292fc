"""The log in a real store: whole whatever fails, and found out whatever is done to the tables."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from sqlalchemy import delete, insert, literal, select, update

from app.audit.chain import Entry, Head
from app.audit.events import AuditEvent, EventKind
from app.audit.export import export, read_all, verify
from app.audit.lines import Item, decode, encode
from app.audit.log import AuditLog
from app.audit.verify import BreakKind, Report
from app.errors import Conflict
from app.store import people, usage
from app.store.database import Database
from app.store.tables import audit, checkpoints, keys, users
from tests.unit.audit.logs import KEY, OTHER_KEY, check, event, kinds

SUBJECTS = {("acme", "ada"): "subject-of-ada"}


def make_log(chain: str = "ledger-0", *, every: int = 5, seconds: float = 60.0) -> AuditLog:
    return AuditLog(chain, KEY, checkpoint_every=every, checkpoint_s=seconds)


async def append(
    database: Database, log: AuditLog, numbers: Sequence[int], now: float = 5000.0
) -> int:
    async with database.begin() as conn:
        return await log.append(conn, [event(number) for number in numbers], SUBJECTS, now)


async def verified(database: Database) -> Report:
    async with database.read() as conn:
        return await verify(conn, [KEY.public])


async def items_of(database: Database) -> list[Item]:
    async with database.read() as conn:
        return [item async for item in read_all(conn, page=3)]


async def test_entries_follow_each_other_over_transactions_and_restarts(
    database: Database,
) -> None:
    assert await append(database, make_log(), [1, 2]) == 2
    assert await append(database, make_log(), [3]) == 1
    report = await verified(database)
    assert report.whole
    (chain,) = report.chains
    assert (chain.entries, chain.signed, chain.head.sequence) == (3, 2, 3)
    async with database.read() as conn:
        rows = (await conn.execute(select(audit).order_by(audit.c.sequence))).all()
    assert [row.id for row in rows] == ["event-1", "event-2", "event-3"]
    assert {row.subject for row in rows} == {"subject-of-ada"}


async def test_an_event_that_comes_again_is_recorded_once(database: Database) -> None:
    log = make_log()
    assert await append(database, log, [1, 2, 2, 1]) == 2
    assert await append(database, log, [2, 3]) == 1
    assert await append(database, make_log("ledger-1"), [3, 4]) == 1
    assert (await verified(database)).whole


async def test_what_is_rolled_back_was_never_there(database: Database) -> None:
    log = make_log()
    await append(database, log, [1])

    async def fail() -> None:
        async with database.begin() as conn:
            await log.append(conn, [event(2)], SUBJECTS, 5000.0)
            raise Conflict("something else failed")

    with pytest.raises(Conflict):
        await fail()
    assert await append(database, log, [3]) == 1
    assert await append(database, log, [2]) == 1
    report = await verified(database)
    assert report.whole
    assert report.chains[0].entries == 3


async def test_transactions_at_once_make_one_chain(database: Database) -> None:
    # Two logs, as in a ledger that has been replaced and does not know it yet.
    logs = [make_log(), make_log()]
    await asyncio.gather(
        *(append(database, logs[number % 2], [number, 1000]) for number in range(1, 40))
    )
    report = await verified(database)
    assert report.whole
    assert report.chains[0].entries == 40


async def test_checkpoints_come_first_then_by_number_then_by_time(database: Database) -> None:
    log = make_log(every=3, seconds=10.0)
    signed = []
    for now, numbers in (
        (100.0, [1]),
        (101.0, [2, 3]),
        (102.0, [4, 5, 6, 7]),
        (103.0, [8]),
        (112.9, []),
    ):
        await append(database, log, numbers, now)
        assert not log.due(now)
        signed.append((await verified(database)).chains[0].signed)
    assert signed == [1, 1, 7, 7, 8]
    # Nothing new, nothing to sign.
    assert not log.due(1000.0)
    await append(database, log, [9], 112.95)
    assert not log.due(122.8)
    assert log.due(122.9)
    # A clock that was ahead has been put right.
    assert log.due(1.0)
    async with database.begin() as conn:
        await log.seal(conn, 113.0)
    assert (await verified(database)).chains[0].signed == 9
    assert not log.due(1000.0)


async def test_a_page_ends_where_the_next_one_begins(database: Database) -> None:
    for chain in ("ledger-0", "ledger-1"):
        log = make_log(chain, every=2)
        for number in range(7):
            offset = 100 if chain == "ledger-1" else 1
            await append(database, log, [offset + number])
    async with database.read() as conn:
        for limit in (1, 2, 3, 100):
            assert [item async for item in read_all(conn, page=limit)] == await items_of(database)
        page = await export(conn, limit=2)
    assert [item.sequence for item in page.items] == [1, 1, 2]
    assert str(page.next) == "ledger-0:2"


async def test_an_export_is_verified_without_the_store(database: Database) -> None:
    log = make_log(every=2)
    for number in range(1, 6):
        await append(database, log, [number])
    lines = [encode(item) for item in await items_of(database)]
    assert check([decode(line) for line in lines]).whole
    assert not check([decode(line) for line in lines[1:]]).whole
    assert kinds(check([decode(line) for line in lines], keys=[OTHER_KEY.public])) == {
        BreakKind.UNKNOWN_KEY,
        BreakKind.UNSIGNED,
    }


@pytest.mark.parametrize("column", ["id", "at", "kind", "tenant", "subject", "body"])
async def test_a_changed_row_is_found(database: Database, column: str) -> None:
    log = make_log()
    await append(database, log, range(1, 9))
    value = literal(7.0) if column == "at" else literal("other")
    async with database.begin() as conn:
        await conn.execute(update(audit).where(audit.c.sequence == 4).values({column: value}))
    report = await verified(database)
    assert [str(each) for each in report.breaks] == [
        "ledger-0:4: entry 4 was changed: its hash is another"
    ]


async def test_a_removed_row_is_found(database: Database) -> None:
    await append(database, make_log(), range(1, 9))
    async with database.begin() as conn:
        await conn.execute(delete(audit).where(audit.c.sequence == 4))
    assert [str(each) for each in (await verified(database)).breaks] == [
        "ledger-0:4: entry 4 is missing"
    ]


async def test_a_cut_tail_stays_found_when_the_chain_goes_on(database: Database) -> None:
    await append(database, make_log(), range(1, 9))
    async with database.begin() as conn:
        await conn.execute(delete(audit).where(audit.c.sequence > 5))
    assert kinds(await verified(database)) == {BreakKind.TAIL_CUT}
    await append(database, make_log(), range(21, 29))
    assert kinds(await verified(database)) == {BreakKind.MISSING}


async def test_retention_goes_behind_a_signed_checkpoint(database: Database) -> None:
    log = make_log(every=3)
    await append(database, log, range(1, 11))
    async with database.begin() as conn:
        # Events are from 1001 to 1010.
        assert await log.prune(conn, 1004.0, 6000.0, limit=100) == 3
    report = await verified(database)
    assert report.whole
    (chain,) = report.chains
    assert (chain.pruned, chain.entries) == (3, 8)
    async with database.read() as conn:
        newest = (await conn.execute(select(audit).order_by(audit.c.sequence.desc()))).first()
    assert newest is not None
    assert newest.kind == EventKind.RETENTION
    assert '"broken":0,"chain":"ledger-0","entries":3,"through":3' in newest.body
    async with database.begin() as conn:
        assert await log.prune(conn, 1004.0, 6000.0, limit=100) == 0


async def test_retention_goes_in_steps_and_leaves_the_chain_to_go_on(database: Database) -> None:
    log = make_log()
    await append(database, log, range(1, 11))
    gone: list[int] = []
    while not gone or gone[-1] == 4:
        async with database.begin() as conn:
            gone.append(await log.prune(conn, 5000.0, 4000.0 + len(gone), limit=4))
        assert (await verified(database)).whole
    # The entries about the first two steps are from before 5000 too.
    assert sum(gone) >= 10
    await append(database, log, [20, 21])
    report = await verified(database)
    assert report.whole
    assert report.chains[0].pruned == sum(gone)


async def test_retention_leaves_a_trace_of_what_was_wrong(database: Database) -> None:
    log = make_log()
    await append(database, log, range(1, 11))
    async with database.begin() as conn:
        await conn.execute(update(audit).where(audit.c.sequence == 2).values(body="{}"))
        await conn.execute(delete(audit).where(audit.c.sequence == 4))
    async with database.begin() as conn:
        assert await log.prune(conn, 1009.0, 6000.0, limit=5) == 5
        assert await log.prune(conn, 1009.0, 6000.0, limit=5) == 2
    assert (await verified(database)).whole
    found = [item.body for item in await items_of(database) if isinstance(item, Entry)]
    assert ['"broken":2' in body for body in found[-2:]] == [True, False]
    assert '"broken":0' in found[-1]


async def test_a_chain_of_which_everything_is_gone_goes_on_behind_the_gap(
    database: Database,
) -> None:
    log = make_log()
    await append(database, log, [1, 2])
    async with database.begin() as conn:
        await log.prune(conn, 1e9, 6000.0, limit=100)
        # The entry about it, which nobody has pruned.
        await conn.execute(delete(audit))
    await append(database, log, [3])
    assert [str(each) for each in (await verified(database)).breaks] == [
        "ledger-0:3: entry 3 is missing",
        "ledger-0:3: entry 3 is missing, but a checkpoint of it is signed",
    ]


async def test_a_cut_that_only_calls_itself_retention_is_found(database: Database) -> None:
    log = make_log(every=1)
    for number in range(1, 8):
        await append(database, log, [number])
    async with database.begin() as conn:
        await conn.execute(delete(audit).where(audit.c.sequence <= 4))
        await conn.execute(delete(checkpoints).where(checkpoints.c.sequence < 4))
        await conn.execute(
            update(checkpoints).where(checkpoints.c.sequence == 4).values(pruned=True)
        )
    assert BreakKind.BAD_SIGNATURE in kinds(await verified(database))


async def test_a_person_is_forgotten_and_the_log_stays_whole(database: Database) -> None:
    log = make_log()
    async with database.begin() as conn:
        subject = await people.ensure_user(conn, "acme", "ada", 1.0)
        await log.append(conn, [event(1), event(2)], {("acme", "ada"): subject}, 5000.0)
    before = await items_of(database)
    async with database.begin() as conn:
        forgotten = await people.forget_user(conn, "acme", "ada", 6000.0)
        assert forgotten is not None
        done = AuditEvent(
            "gone", 6000.0, EventKind.PERSONAL_DATA_DELETED, "acme", detail={"subject": subject}
        )
        await log.append(conn, [done, event(3)], {}, 6000.0)
    after = await items_of(database)
    assert (await verified(database)).whole
    assert after[: len(before)] == before
    assert check(after, anchors={"ledger-0": Head(2, before[-1].hash)}).whole
    async with database.read() as conn:
        assert not await people.names_of(conn, [subject])
        assert not (await conn.execute(select(users))).all()
        for table in (audit, keys):
            for row in await conn.execute(select(table)):
                assert "ada" not in str(row)
        assert not await usage.summarise(conn, by=["user"])


async def test_a_thousand_events_are_soon_recorded(database: Database) -> None:
    log = make_log(every=1000)
    await append(database, log, [0])
    best = 1.0
    for start in range(1, 5001, 1000):
        events = [event(number) for number in range(start, start + 1000)]
        async with database.begin() as conn:
            began = time.perf_counter()
            assert await log.append(conn, events, SUBJECTS, 5000.0) == 1000
            best = min(best, time.perf_counter() - began)
    print(f"1,000 events in {best * 1000:.1f} ms")
    assert best < 0.2  # A shared machine; the figure is printed.
    assert (await verified(database)).whole


async def test_rows_of_a_chain_nobody_signed_are_found(database: Database) -> None:
    await append(database, make_log(), [1])
    async with database.read() as conn:
        row = (await conn.execute(select(audit))).mappings().one()
    async with database.begin() as conn:
        await conn.execute(insert(audit), dict(row) | {"chain": "ledger-9", "id": "forged"})
    assert kinds(await verified(database)) == {BreakKind.CHANGED, BreakKind.UNSIGNED}
