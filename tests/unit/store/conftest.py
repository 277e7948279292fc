import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.store.database import Database
from app.store.migrate import migrate
from app.store.url import parse_url, sqlite_file
from tests.postgres import postgres_server, postgres_url, store_url

__all__ = ["database", "migrated_file", "postgres_server", "postgres_url", "store_url"]


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with its tables: copying it is quicker than making them again."""
    file = tmp_path_factory.mktemp("migrated") / "tidegate.db"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture
async def database(store_url: str, migrated_file: Path) -> AsyncIterator[Database]:
    """A fresh store with its tables, once on each database."""
    if (file := sqlite_file(parse_url(store_url))) is not None:
        file.parent.mkdir()
        shutil.copy(migrated_file, file)
    else:
        await migrate(store_url)
    async with Database(store_url) as database:
        yield database
