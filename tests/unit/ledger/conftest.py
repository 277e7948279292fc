import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.postgres import postgres_server, postgres_url, store_url

__all__ = ["data_dir", "postgres_server", "postgres_url", "store_url"]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that gateways and ledgers run on."""
    return {"uvloop": uvloop.new_event_loop}
