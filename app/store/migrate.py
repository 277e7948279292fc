"""Bringing a store's tables up to this program's version."""

import asyncio
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import StoreUnavailable
from app.store.database import Database

# Any number that other programs on the same PostgreSQL do not use: "Tidegate" in ASCII.
_LOCK = int.from_bytes(b"Tidegate", "big")
_WAIT_S = 60.0

# Alembic keeps its state in globals.
_one_at_a_time = threading.Lock()


async def migrate(url: str) -> None:
    """Create the tables, or bring them up to date.

    Does nothing if they are. Several processes may do it at once: one works, the others wait.

    Args:
        url: as `store.url` in the configuration.

    Raises:
        ConfigError: the address is no store that is known here.
        StoreUnavailable: the store cannot be used, or was migrated by a newer program.
    """
    await asyncio.to_thread(_migrate, url)


async def check_version(conn: AsyncConnection) -> None:
    """Make sure that a store's tables are those of this program.

    Raises:
        StoreUnavailable: they are older or newer.
    """
    found = await conn.run_sync(_version)
    wanted = ScriptDirectory.from_config(_config()).get_current_head()
    if found != wanted:
        raise StoreUnavailable(
            f"the store's tables have version {found}, this program needs {wanted}: "
            "migrate the store, or run the program it was migrated by"
        )


def _migrate(url: str) -> None:
    with _one_at_a_time:
        asyncio.run(_upgrade(url))


async def _upgrade(url: str) -> None:
    async with Database(url, statement_s=0, wait_s=_WAIT_S) as database, database.begin() as conn:
        if conn.dialect.name == "postgresql":
            await conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        try:
            await conn.run_sync(_run)
        except CommandError as error:
            raise StoreUnavailable(
                f"the store ({database.description}) cannot be migrated: {error}"
            ) from error


def _run(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    # A percent sign in the path would be the start of an interpolation.
    folder = str(Path(__file__).parent / "migrations").replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    return config
