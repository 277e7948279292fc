import pytest

from app.store import forecasts
from app.store.database import Database
from app.store.forecasts import MOST_BYTES, TooLarge


async def test_parts_come_back_in_pages_and_a_newer_one_replaces_the_old(
    database: Database,
) -> None:
    parts = [(f"group/{number:03}", float(number), bytes([number]) * 1000) for number in range(100)]
    async with database.begin() as conn:
        await forecasts.save_forecasts(conn, [("group/001", 0.0, b"old")])
        await forecasts.save_forecasts(conn, parts)
        await forecasts.save_forecasts(conn, [])
    found: list[tuple[str, float, bytes]] = []
    pages = 0
    async with database.read() as conn:
        while page := await forecasts.list_forecasts(conn, found[-1][0] if found else "", 30_000):
            assert 0 < len(page) <= 30
            found += page
            pages += 1
    assert found == parts
    assert pages == 4


async def test_a_part_that_is_larger_than_a_page_comes_alone(database: Database) -> None:
    async with database.begin() as conn:
        await forecasts.save_forecasts(conn, [("a", 1.0, b"x" * MOST_BYTES), ("b", 1.0, b"y")])
        assert [each[0] for each in await forecasts.list_forecasts(conn, "", 10)] == ["a"]
        assert [each[0] for each in await forecasts.list_forecasts(conn, "a", 10)] == ["b"]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("a", b"x" * (MOST_BYTES + 1), "a has 1,048,577 bytes of at most 1,048,576"),
        ("", b"", "0 characters"),
        ("n" * 129, b"", "129 characters"),
    ],
)
async def test_what_is_too_large_is_refused_and_nothing_stored(
    database: Database, name: str, body: bytes, said: str
) -> None:
    async with database.begin() as conn:
        with pytest.raises(TooLarge, match=said):
            await forecasts.save_forecasts(conn, [("good", 1.0, b"x"), (name, 1.0, body)])
        assert await forecasts.list_forecasts(conn, "", 10) == []


async def test_what_nobody_renews_is_forgotten(database: Database) -> None:
    async with database.begin() as conn:
        await forecasts.save_forecasts(conn, [("old", 1.0, b""), ("new", 100.0, b"")])
        assert await forecasts.forget_forecasts(conn, 50.0) == 1
        assert [each[0] for each in await forecasts.list_forecasts(conn, "", 10)] == ["new"]
