"""An Administration on a real store, once on each database."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.config import FleetConfig, load_config
from app.store.database import Database
from app.store.migrate import migrate
from tests.postgres import PostgresServer, postgres_server, postgres_url
from tests.unit.admin.desk import Desk

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(scope="session")
def config() -> FleetConfig:
    return load_config(Path(__file__).parents[3] / "serve_config.yaml")


@pytest.fixture(scope="session")
def sqlite_copies(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], str]:
    """Each call gives a store with its tables; copying them is quicker than making them."""
    folder = tmp_path_factory.mktemp("stores")
    template = folder / "template.db"
    asyncio.run(migrate(f"sqlite:///{template}"))
    numbers = itertools.count()

    def copy() -> str:
        file = folder / f"{next(numbers)}.db"
        shutil.copyfile(template, file)
        return f"sqlite:///{file}"

    return copy


@pytest.fixture(scope="session")
def postgres_copies(postgres_server: PostgresServer) -> Callable[[], str]:
    """As `sqlite_copies`."""
    url = postgres_server.url()
    asyncio.run(migrate(url))
    template = make_url(url).database
    numbers = itertools.count()

    def copy() -> str:
        name = f"{template}_{next(numbers)}"
        postgres_server.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return make_url(url).set(database=name).render_as_string(hide_password=False)

    return copy


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    copy: Callable[[], str] = request.getfixturevalue(f"{request.param}_copies")
    return copy()


@pytest.fixture
async def desk(store_url: str, config: FleetConfig) -> AsyncIterator[Desk]:
    async with Database(store_url) as database:
        yield Desk(database, config)
