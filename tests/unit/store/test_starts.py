import asyncio
from typing import Any

import pytest

from app.store import starts
from app.store.database import Database
from app.weights.baseline import KEPT, Baselines, Stage, StageRecord
from deployments.ledger_models import LedgerModels


def row(at: float, stage: str = "weights", **other: Any) -> dict[str, Any]:
    return {
        "model": "demo",
        "hardware": "2x CPU",
        "stage": stage,
        "at": at,
        "seconds": at / 10,
        "bytes": 7,
        "memory": -3,
        **other,
    }


async def test_what_is_remembered_comes_back_oldest_first(database: Database) -> None:
    async with database.begin() as conn:
        await starts.remember_starts(conn, [row(2.0), row(1.0), row(2.0, "fetch")])
        await starts.remember_starts(conn, [row(1.0, model="other"), row(1.0, hardware="1x GPU")])
    async with database.read() as conn:
        found = await starts.recent_starts(conn, "demo", "2x CPU")
        last = await starts.recent_starts(conn, "demo", "2x CPU", limit=1)
    assert [(each["at"], each["stage"]) for each in found if each["stage"] == "weights"] == [
        (1.0, "weights"),
        (2.0, "weights"),
    ]
    assert len(found) == 3
    assert sorted((each["at"], each["stage"]) for each in last) == [
        (2.0, "fetch"),
        (2.0, "weights"),
    ]
    known = Baselines.read(found).history(Stage.WEIGHTS)
    assert known == (StageRecord(Stage.WEIGHTS, 0.1, 7, -3), StageRecord(Stage.WEIGHTS, 0.2, 7, -3))


async def test_a_row_that_comes_twice_counts_once(database: Database) -> None:
    async with database.begin() as conn:
        await starts.remember_starts(conn, [row(1.0)])
        await starts.remember_starts(conn, [row(1.0, seconds=9.0)])
        found = await starts.recent_starts(conn, "demo", "2x CPU")
    assert [each["seconds"] for each in found] == [9.0]


async def test_only_the_last_ones_are_kept(database: Database) -> None:
    async with database.begin() as conn:
        await starts.remember_starts(conn, [row(0.5, "fetch"), row(0.5, model="other")])
        for at in range(KEPT + 5):
            await starts.remember_starts(conn, [row(float(at))])
        found = await starts.recent_starts(conn, "demo", "2x CPU", limit=1000)
        other = await starts.recent_starts(conn, "other", "2x CPU")
    kept = [each["at"] for each in found if each["stage"] == "weights"]
    assert kept == [float(at) for at in range(5, KEPT + 5)]
    assert len(found) == KEPT + 1
    assert len(other) == 1


async def test_names_that_do_not_fit(database: Database) -> None:
    long = "x" * 300 + "\x00"
    async with database.begin() as conn:
        await starts.remember_starts(conn, [row(1.0, model=long, hardware=long)])
        assert len(await starts.recent_starts(conn, long, long)) == 1
        assert await starts.raise_version(conn, long, 3) == 3


async def test_versions_only_go_up(database: Database) -> None:
    async with database.begin() as conn:
        assert await starts.versions(conn) == {}
        assert await starts.raise_version(conn, "demo", 3) == 3
        assert await starts.raise_version(conn, "demo", 2) == 3
        assert await starts.raise_version(conn, "demo", 2**70) == 2**63 - 1
        assert await starts.raise_version(conn, "other", 0) == 0
        assert await starts.versions(conn) == {"demo": 2**63 - 1, "other": 0}


async def test_versions_of_many_at_once(database: Database) -> None:
    async def raise_to(version: int) -> None:
        async with database.begin() as conn:
            await starts.raise_version(conn, "demo", version)

    await asyncio.gather(*(raise_to(version) for version in (5, 9, 1, 7, 3)))
    async with database.read() as conn:
        assert await starts.versions(conn) == {"demo": 9}


async def test_the_ledger_passes_it_on(database: Database) -> None:
    events: list[Any] = []

    async def record(new: Any, at: float) -> None:
        events.extend((event.kind.value, event.detail, at) for event in new)

    models = LedgerModels(database, record, lambda: 12.0)
    await models.remember_starts([])
    await models.remember_starts([row(1.0)])
    assert await models.recall_starts("demo", "2x CPU") == [row(1.0)]
    assert await models.raise_version("demo", 4) == 4
    assert await models.model_versions() == {"demo": 4}
    await models.security_event("model", {"reason": "link", "text": "y" * 1000, "count": 2})
    assert events == [("model", {"reason": "link", "text": "y" * 500, "count": 2}, 12.0)]
    with pytest.raises(ValueError, match="'ledger' is no kind"):
        await models.security_event("ledger", {})
