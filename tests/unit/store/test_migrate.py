import asyncio
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from app.errors import ConfigError, StoreUnavailable
from app.store import people
from app.store.database import Database
from app.store.migrate import check_version, migrate
from app.store.tables import metadata

ROOT = Path(__file__).parents[3]


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    async with database.read() as conn:
        assert await conn.run_sync(differences) == []
        await check_version(conn)


async def test_a_difference_would_be_found(database: Database) -> None:
    async with database.begin() as conn:
        await conn.execute(text("DROP INDEX ix_audit_at"))
        await conn.execute(text("ALTER TABLE limits ADD COLUMN extra INTEGER"))
        assert len(await conn.run_sync(differences)) == 2


async def test_migrating_again_changes_nothing(database: Database, store_url: str) -> None:
    async with database.begin() as conn:
        subject = await people.ensure_user(conn, "acme", "ada", 1.0)
    await migrate(store_url)
    async with database.begin() as conn:
        assert await people.ensure_user(conn, "acme", "ada", 2.0) == subject


async def test_several_tasks_at_once(store_url: str) -> None:
    await asyncio.gather(*(migrate(store_url) for _ in range(3)))
    async with Database(store_url) as database, database.read() as conn:
        await check_version(conn)


async def test_two_processes_at_once(store_url: str) -> None:
    program = f"import asyncio, app.store.migrate as m; asyncio.run(m.migrate({store_url!r}))"
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        _, said = await process.communicate()
        assert process.returncode == 0, said.decode()
    async with Database(store_url) as database, database.read() as conn:
        await check_version(conn)
        assert await conn.run_sync(differences) == []


async def test_a_store_of_a_newer_program_is_refused(database: Database, store_url: str) -> None:
    async with database.begin() as conn:
        await conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreUnavailable, match="cannot be migrated"):
        await migrate(store_url)
    async with database.read() as conn:
        with pytest.raises(StoreUnavailable, match="version 9999, this program needs"):
            await check_version(conn)


async def test_a_migration_that_fails_leaves_nothing_behind(store_url: str) -> None:
    """As if the store went away halfway: the next attempt finds what was there before."""
    async with Database(store_url) as database:
        async with database.begin() as conn:
            # Stands where the migration wants a table of its own, late in its course.
            await conn.execute(text("CREATE TABLE versions (unlike INTEGER)"))
        with pytest.raises(Exception, match="versions"):
            await migrate(store_url)
        async with database.begin() as conn:
            await conn.execute(text("DROP TABLE versions"))
    await migrate(store_url)
    async with Database(store_url) as database, database.read() as conn:
        await check_version(conn)


async def test_a_bad_address_is_refused() -> None:
    with pytest.raises(ConfigError):
        await migrate("mysql://db/x")
