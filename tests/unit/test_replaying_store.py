"""Demand from the store's own history."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.admission.exchange import Account, Settlement
from app.cli.replaying.demand import Kind
from app.cli.replaying.store import read_store
from app.errors import StoreUnavailable, TraceInvalid
from app.store.database import Database
from app.store.demand import requests_by_time
from app.store.ledger import add_settlements
from app.store.migrate import migrate

PUBLIC = Kind("public", "demo")


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "empty.db"
    asyncio.run(migrate(f"sqlite:///{file}"))
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(empty_store, tmp_path / "tidegate.db"))


def settlement(number: int, at: float, tokens: tuple[int, int], **fields: Any) -> Settlement:
    return Settlement(
        id=f"{number:08}",
        request_id=f"r{number}",
        at=at,
        account=Account(fields.get("tenant", "acme"), "ada", "k"),
        model=fields.get("model", "demo"),
        pool="public-small",
        zone=fields.get("zone", "public"),
        route="chat",
        size_class="small",
        tier="standard",
        prompt_tokens=tokens[0],
        output_tokens=tokens[1],
        micros=0,
        outcome="finished",
    )


def fill(file: Path, settlements: Sequence[Settlement]) -> str:
    async def run() -> None:
        async with Database(f"sqlite:///{file}") as database, database.begin() as conn:
            await add_settlements(conn, [(each, "s") for each in settlements])

    asyncio.run(run())
    return f"sqlite:///{file}"


def test_the_store_knows_time_tenant_zone_model_and_tokens(store: Path) -> None:
    url = fill(
        store,
        [
            settlement(1, 1_000_060.5, (20, 30), tenant="globex", zone="private"),
            settlement(2, 1_000_000.0, (10, 0)),
            settlement(3, 1_000_120.0, (0, 0)),
        ],
    )
    told: list[int] = []
    found = read_store(url, progress=told.append)
    assert found.start == 999_960.0
    assert found.requests.arrival_s.tolist() == [40.0, 100.5]
    assert found.requests.prompt.tolist() == [10, 20]
    assert found.requests.output.tolist() == [1, 30]
    assert [found.tenants[each] for each in found.tenant] == ["acme", "globex"]
    assert [found.kinds[each] for each in found.kind] == [PUBLIC, Kind("private", "demo")]
    assert told == [3]
    assert [note.split()[:2] for note in found.notes[1:]] == [["1", "requests"], ["1", "requests"]]
    assert "keeps when a request ended" in found.notes[0]


def test_only_the_time_that_is_asked_for_is_read(store: Path) -> None:
    url = fill(store, [settlement(number, 100.0 * number, (5, 5)) for number in range(1, 10)])
    found = read_store(url, since=300.0, until=600.0)
    assert (found.start + found.requests.arrival_s).tolist() == [300.0, 400.0, 500.0]
    with pytest.raises(TraceInvalid, match="no request of that time"):
        read_store(url, since=5000.0)


def test_pages_leave_nothing_out_where_requests_ended_at_once(store: Path) -> None:
    url = fill(store, [settlement(number, float(number // 4), (5, 5)) for number in range(23)])

    async def ids(page: int) -> list[str]:
        async with Database(url) as database, database.read() as conn:
            parts = [part async for part in requests_by_time(conn, page=page)]
            assert all(len(part) <= page for part in parts)
            return [row.id for part in parts for row in part]

    wanted = [f"{number:08}" for number in range(23)]
    assert [asyncio.run(ids(page)) for page in (1, 3, 23, 100)] == [wanted] * 4


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    file = tmp_path / "none" / "tidegate.db"
    with pytest.raises(StoreUnavailable, match="there is no store at"):
        read_store(f"sqlite:///{file}")
    assert not file.parent.exists()


def test_an_absurd_request_in_the_store_is_refused(store: Path) -> None:
    url = fill(store, [settlement(1, 10.0, (5, 20_000_000))])
    with pytest.raises(TraceInvalid, match="20,000,000 output tokens: both must be from 0"):
        read_store(url)
