import asyncio
import contextlib
import random
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import Conflict, StoreUnavailable
from app.store import keys, ledger, people
from app.store.database import Database
from app.store.keys import KeyRow
from app.store.migrate import migrate
from app.store.versions import Version, bump, current


def key(key_id: str = "k1") -> KeyRow:
    return KeyRow(
        id=key_id,
        digest=bytes(32),
        tenant="acme",
        user="ada",
        roles=("developer",),
        zone="public",
        models=None,
        tiers=("standard",),
        unlimited=False,
        created_at=1.0,
    )


async def test_a_transaction_is_committed_at_its_end(database: Database) -> None:
    async with database.begin() as conn:
        assert await bump(conn, Version.LIMITS) == 1
    async with database.read() as conn:
        assert (await current(conn))[Version.LIMITS] == 1


async def test_an_error_rolls_everything_back(database: Database) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
            raise ZeroDivisionError
    async with database.read() as conn:
        assert (await current(conn))[Version.LIMITS] == 0


async def test_a_cancelled_task_rolls_everything_back(database: Database) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
            inside.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.begin() as conn:
        assert await bump(conn, Version.LIMITS) == 1


async def test_tasks_that_are_cancelled_anywhere_leave_no_transaction_open(
    database: Database,
) -> None:
    async def write() -> None:
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
            await bump(conn, Version.PEOPLE)

    chance = random.Random(3)
    for _ in range(40):
        tasks = [asyncio.create_task(write()) for _ in range(2)]
        await asyncio.sleep(chance.uniform(0, 0.006))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await write()
    async with database.read() as conn:
        versions = await current(conn)
    assert versions[Version.LIMITS] == versions[Version.PEOPLE]
    assert versions[Version.LIMITS] > 0


async def test_what_collides_is_a_conflict_and_says_no_values(database: Database) -> None:
    async with database.begin() as conn:
        await people.ensure_user(conn, "acme", "ada", 1.0)
        await keys.insert(conn, key("secretive"))
    with pytest.raises(Conflict) as caught:
        async with database.begin() as conn:
            await keys.insert(conn, key("secretive"))
    assert "secretive" not in str(caught.value)
    assert caught.value.__cause__ is None
    async with database.read() as conn:
        assert (await current(conn))[Version.DIRECTORY] == 1


async def test_a_key_needs_a_tenant(database: Database) -> None:
    with pytest.raises(Conflict):
        async with database.begin() as conn:
            await keys.insert(conn, key())


async def test_many_writers_lose_nothing(database: Database, store_url: str) -> None:
    async def write(one: Database) -> None:
        for _ in range(10):
            async with one.begin() as conn:
                await bump(conn, Version.LIMITS)

    # Two processes' worth of pools, four tasks each.
    async with Database(store_url) as other:
        await asyncio.gather(*(write(one) for one in [database, other] * 4))
    async with database.read() as conn:
        assert (await current(conn))[Version.LIMITS] == 80


async def test_a_reader_sees_one_moment_and_waits_for_no_writer(database: Database) -> None:
    async with database.read() as reader:
        assert (await current(reader))[Version.LIMITS] == 0
        async with database.begin() as writer:
            await bump(writer, Version.LIMITS)
            assert (await current(reader))[Version.LIMITS] == 0
        assert (await current(reader))[Version.LIMITS] == 0
    async with database.read() as reader:
        assert (await current(reader))[Version.LIMITS] == 1


async def test_versions_become_visible_in_their_order(database: Database, store_url: str) -> None:
    """Whoever has seen a version has seen every change of a smaller one."""
    async with Database(store_url) as other:
        async with database.begin() as conn:
            await people.ensure_user(conn, "acme", "ada", 1.0)
        holding, go_on = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with database.begin() as conn:
                assert (await keys.insert(conn, key("first"))).version == 1
                holding.set()
                await go_on.wait()

        async def second() -> None:
            async with other.begin() as conn:
                assert (await keys.insert(conn, key("second"))).version == 2

        one = asyncio.create_task(first())
        await holding.wait()
        two = asyncio.create_task(second())
        await asyncio.sleep(0.1)
        async with database.read() as conn:
            assert await keys.changed_since(conn, 0) == (0, [])
        go_on.set()
        await asyncio.gather(one, two)
        async with database.read() as conn:
            newest, rows = await keys.changed_since(conn, 0)
        assert (newest, [row.id for row in rows]) == (2, ["first", "second"])


async def test_a_reader_cannot_write_on_postgresql(postgres_url: Callable[[], str]) -> None:
    url = postgres_url()
    await migrate(url)
    async with Database(url) as database:
        with pytest.raises(StoreUnavailable, match="read-only"):
            async with database.read() as conn:
                await bump(conn, Version.LIMITS)


async def test_the_file_and_its_folder_are_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "tidegate.db"
    async with Database(f"sqlite:///{file}") as database:
        async with database.begin() as conn:
            await conn.execute(text("CREATE TABLE t (x INTEGER)"))
        modes = {f.name: stat.S_IMODE(f.stat().st_mode) for f in file.parent.iterdir()}
        assert modes == {
            "tidegate.db": 0o600,
            "tidegate.db-wal": 0o600,
            "tidegate.db-shm": 0o600,
        }
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_sqlite_is_durable_and_checks_references(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/tidegate.db") as database, database.begin() as conn:
        for pragma, value in (
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("busy_timeout", 5000),
        ):
            found = (await conn.execute(text(f"PRAGMA {pragma}"))).scalar()
            assert found == value, pragma


async def test_a_closed_database_says_so(store_url: str) -> None:
    database = Database(store_url)
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.ping()
    await database.start()
    await database.start()
    await database.ping()
    await database.close()
    await database.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await database.ping()


async def test_a_mistake_of_ours_is_not_called_an_outage(database: Database) -> None:
    with pytest.raises(Exception, match="nonsense") as caught:
        async with database.begin() as conn:
            await conn.execute(text("nonsense :secret"), {"secret": "hunter2"})
    assert not isinstance(caught.value, StoreUnavailable)
    assert "hunter2" not in str(caught.value)


async def test_a_value_that_does_not_fit_is_not_called_an_outage(database: Database) -> None:
    with pytest.raises(Exception, match=r"out of int64 range|too large") as caught:
        async with database.begin() as conn:
            await ledger.write_ticks(conn, 0, [ledger.TickRow("g", 2**70, 1.0)])
    assert not isinstance(caught.value, StoreUnavailable)
    await database.ping()
