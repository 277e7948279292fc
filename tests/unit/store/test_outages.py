"""The store fails in all the ways that stores do, for real, and comes back."""

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app.errors import StoreUnavailable
from app.store.database import Database
from app.store.migrate import check_version, migrate
from app.store.versions import Version, bump, current
from tests.postgres import PostgresServer, make_server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    server = make_server()
    yield server
    server.close()


@pytest.fixture
async def sqlite_database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path}/tidegate.db"
    await migrate(url)
    async with Database(url, wait_s=0.2) as database:
        yield database


async def limits_version(database: Database) -> int:
    async with database.read() as conn:
        return (await current(conn))[Version.LIMITS]


async def fill(database: Database) -> None:
    async with database.begin() as conn:
        await bump(conn, Version.LIMITS)
        await conn.execute(
            text(
                "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) "
                "INSERT INTO shards (shard, epoch) SELECT x, 0 FROM n"
            )
        )


async def test_a_full_disk_under_sqlite(sqlite_database: Database) -> None:
    async with sqlite_database.begin() as conn:
        pages = (await conn.execute(text("PRAGMA page_count"))).scalar_one()
        await bump(conn, Version.LIMITS)
    # The pool gives the connection that was used last, so the bound is on the one that is used.
    async with sqlite_database.begin() as conn:
        await conn.execute(text(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(StoreUnavailable, match="its disk is full"):
        await fill(sqlite_database)
    assert await limits_version(sqlite_database) == 1
    async with sqlite_database.begin() as conn:
        await conn.execute(text("PRAGMA max_page_count = 1000000"))
    await fill(sqlite_database)
    assert await limits_version(sqlite_database) == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_really_full_disk_under_sqlite(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk}/tidegate.db"
    await migrate(url)
    async with Database(url) as database:
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
        ballast = small_disk / "ballast"
        try:
            with ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass
        with pytest.raises(StoreUnavailable, match="disk"):
            await fill(database)
        assert await limits_version(database) == 1
        ballast.unlink()
        async with database.begin() as conn:
            assert await bump(conn, Version.LIMITS) == 2


async def test_another_process_holds_the_file(sqlite_database: Database) -> None:
    holder = sqlite3.connect(sqlite_database.url.database or "", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="another writer held it for too long"):
            async with sqlite_database.begin():
                pass
        assert await limits_version(sqlite_database) == 0
        holder.execute("ROLLBACK")
        async with sqlite_database.begin() as conn:
            await bump(conn, Version.LIMITS)
    finally:
        holder.close()


async def test_a_damaged_file(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.db"
    file.write_bytes(b"no database at all " * 1000)
    async with Database(f"sqlite:///{file}") as database:
        with pytest.raises(StoreUnavailable, match="no SQLite database"):
            await database.ping()
    with pytest.raises(StoreUnavailable, match="no SQLite database"):
        await migrate(f"sqlite:///{file}")


async def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        await Database(f"sqlite:///{tmp_path}/file/tidegate.db").start()


async def test_a_store_without_tables(store_url: str) -> None:
    async with Database(store_url) as database:
        with pytest.raises(StoreUnavailable, match="has not been migrated"):
            await limits_version(database)
        with pytest.raises(StoreUnavailable, match="version None, this program needs"):
            async with database.read() as conn:
                await check_version(conn)


async def test_postgresql_goes_away_and_comes_back(own_server: PostgresServer) -> None:
    url = own_server.url()
    await migrate(url)
    async with Database(url) as database:
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
        for end in (own_server.stop, own_server.kill):
            before = await limits_version(database)
            await asyncio.to_thread(end)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="cannot be used"):
                    async with database.begin() as conn:
                        await bump(conn, Version.LIMITS)
            await asyncio.to_thread(own_server.start)
            async with database.begin() as conn:
                assert await bump(conn, Version.LIMITS) == before + 1


async def test_postgresql_restarts_between_two_transactions(own_server: PostgresServer) -> None:
    url = own_server.url()
    await migrate(url)
    async with Database(url) as database:
        async with database.begin() as conn:
            await bump(conn, Version.LIMITS)
        await asyncio.to_thread(own_server.stop)
        await asyncio.to_thread(own_server.start)
        async with database.begin() as conn:
            assert await bump(conn, Version.LIMITS) == 2


async def test_postgresql_dies_inside_a_transaction(own_server: PostgresServer) -> None:
    url = own_server.url()
    await migrate(url)
    async with Database(url) as database:

        async def write() -> None:
            async with database.begin() as conn:
                await bump(conn, Version.LIMITS)
                await asyncio.to_thread(own_server.kill)
                await bump(conn, Version.LIMITS)

        with pytest.raises(StoreUnavailable, match="cannot be used"):
            await write()
        await asyncio.to_thread(own_server.start)
        assert await limits_version(database) == 0


async def test_postgresql_is_there_and_says_nothing(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.database.NO_ANSWER_S", 0.2)
    monkeypatch.setattr("app.store.database.CONNECT_S", 0.2)
    url = own_server.url()
    await migrate(url)
    async with Database(url, statement_s=0.2) as database:
        assert await limits_version(database) == 0
        with own_server.frozen():
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="did not answer in time"):
                    await limits_version(database)
        assert await limits_version(database) == 0


async def test_nobody_listens() -> None:
    url = "postgresql://ada:hunter2@127.0.0.1:1/tidegate"
    async with Database(url) as database:
        with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
            await database.ping()
    assert "'tidegate' at 127.0.0.1:1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await migrate(url)


async def test_a_database_that_is_not_there(postgres_server: PostgresServer) -> None:
    url = f"postgresql://tidegate@127.0.0.1:{postgres_server.port}/missing"
    async with Database(url) as database:
        with pytest.raises(StoreUnavailable, match="no such database: create it"):
            await database.ping()


async def test_a_user_whom_postgresql_does_not_know(postgres_server: PostgresServer) -> None:
    url = f"postgresql://mallory@127.0.0.1:{postgres_server.port}/postgres"
    async with Database(url) as database:
        with pytest.raises(StoreUnavailable, match="does not let us in: check user and password"):
            await database.ping()


async def test_a_lock_that_is_held_too_long(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    await migrate(url)
    async with Database(url) as holder, Database(url, wait_s=0.2) as database:
        async with holder.begin() as held:
            await bump(held, Version.LIMITS)
            with pytest.raises(StoreUnavailable, match="another writer held it for too long"):
                async with database.begin() as conn:
                    await bump(conn, Version.LIMITS)
        async with database.begin() as conn:
            assert await bump(conn, Version.LIMITS) == 2


async def test_two_writers_who_wait_for_each_other(postgres_server: PostgresServer) -> None:
    url = postgres_server.url()
    await migrate(url)
    async with Database(url) as database:
        async with database.begin() as conn:
            for name in (Version.LIMITS, Version.DIRECTORY):
                await bump(conn, name)
        both = asyncio.Barrier(2)

        async def write(first: Version, second: Version) -> None:
            async with database.begin() as conn:
                await bump(conn, first)
                await both.wait()
                await bump(conn, second)

        results = await asyncio.gather(
            write(Version.LIMITS, Version.DIRECTORY),
            write(Version.DIRECTORY, Version.LIMITS),
            return_exceptions=True,
        )
        (error,) = [result for result in results if result is not None]
        assert isinstance(error, StoreUnavailable)
        assert "trying again helps" in str(error)


async def test_a_statement_that_takes_too_long(postgres_server: PostgresServer) -> None:
    async with Database(postgres_server.url(), statement_s=0.2) as database:
        with pytest.raises(StoreUnavailable, match="took too long"):
            async with database.begin() as conn:
                await conn.execute(text("SELECT pg_sleep(30)"))
        await database.ping()


async def test_every_connection_is_busy(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.store.database.BUSY_S", 0.2)
    async with Database(store_url) as database:
        release = asyncio.Event()

        async def hold() -> None:
            async with database.read() as conn:
                await conn.execute(text("SELECT 1"))
                await release.wait()

        holders = [asyncio.create_task(hold()) for _ in range(6)]
        await asyncio.sleep(0.1)
        with pytest.raises(StoreUnavailable, match="every connection is busy"):
            await database.ping()
        release.set()
        await asyncio.gather(*holders, return_exceptions=True)
        await database.ping()
