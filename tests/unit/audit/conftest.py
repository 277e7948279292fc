from collections.abc import AsyncIterator

import pytest

from app.store.database import Database
from app.store.migrate import migrate
from tests.postgres import postgres_server, postgres_url, store_url

__all__ = ["postgres_server", "postgres_url", "store_url"]


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    await migrate(store_url)
    async with Database(store_url) as opened:
        yield opened
