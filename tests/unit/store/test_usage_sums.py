import pytest

from app.admission.exchange import Account, Settlement
from app.store import ledger, people, usage
from app.store.database import Database
from app.store.usage import UsageRow

DAY = 1_764_547_200  # 2025-12-01, midnight in UTC


async def use(
    database: Database,
    number: int,
    *,
    tenant: str = "acme",
    user: str = "ada",
    at: float = DAY,
    model: str = "small",
    micros: int = 10,
) -> str:
    async with database.begin() as conn:
        subject = await people.ensure_user(conn, tenant, user, 1.0)
        settlement = Settlement(
            id=f"s{number}",
            request_id=f"r{number}",
            at=at,
            account=Account(tenant, user, f"key-of-{user}"),
            model=model,
            pool="pool",
            zone="public",
            route="chat",
            size_class="small",
            tier="standard",
            prompt_tokens=100,
            output_tokens=7,
            micros=micros,
            outcome="finished",
        )
        assert await ledger.add_settlements(conn, [(settlement, subject)])
        return subject


async def test_by_nothing_is_everything(database: Database) -> None:
    async with database.read() as conn:
        assert await usage.summarise(conn) == []
    for number in range(3):
        await use(database, number, micros=2**45)
    async with database.read() as conn:
        assert await usage.summarise(conn) == [UsageRow({}, None, 3, 300, 21, 3 * 2**45)]


async def test_by_tenant_and_user_the_dearest_first(database: Database) -> None:
    await use(database, 1, micros=1)
    await use(database, 2, tenant="umbrella", micros=50)
    await use(database, 3, user="bob", micros=20)
    await use(database, 4, micros=1)
    async with database.read() as conn:
        found = await usage.summarise(conn, by=["tenant", "user"])
        assert found == [
            UsageRow({"tenant": "umbrella", "user": "ada"}, None, 1, 100, 7, 50),
            UsageRow({"tenant": "acme", "user": "bob"}, None, 1, 100, 7, 20),
            UsageRow({"tenant": "acme", "user": "ada"}, None, 2, 200, 14, 2),
        ]
        assert await usage.summarise(conn, by=["tenant", "user"], limit=2) == found[:2]


@pytest.mark.parametrize("name", usage.GROUPS)
async def test_by_and_where_each_name(database: Database, name: str) -> None:
    await use(database, 1)
    async with database.read() as conn:
        (row,) = await usage.summarise(conn, by=[name])
        value = row.group[name]
        assert await usage.summarise(conn, by=[name], where={name: value}) == [row]
        assert await usage.summarise(conn, by=[name], where={name: "else"}) == []


async def test_by_hour_and_day_the_earliest_first(database: Database) -> None:
    # The last moments of an hour belong to it: nothing is rounded.
    for number, at in enumerate([0.0, 3599.999, 3600.0, 86399.5, 86400.0]):
        await use(database, number, at=DAY + at, model="small" if number else "large")
    async with database.read() as conn:
        hours = await usage.summarise(conn, interval="hour")
        assert [(row.start, row.requests) for row in hours] == [
            (DAY, 2),
            (DAY + 3600, 1),
            (DAY + 23 * 3600, 1),
            (DAY + 86400, 1),
        ]
        days = await usage.summarise(conn, by=["model"], interval="day")
        assert [(row.start, row.group["model"], row.requests) for row in days] == [
            (DAY, "small", 3),
            (DAY, "large", 1),
            (DAY + 86400, "small", 1),
        ]


async def test_within_a_time(database: Database) -> None:
    for number in range(5):
        await use(database, number, at=DAY + number)
    async with database.read() as conn:
        (row,) = await usage.summarise(conn, since=DAY + 1, until=DAY + 3)
        assert row.requests == 2


async def test_a_forgotten_user_appears_as_what_is_left(database: Database) -> None:
    subject = await use(database, 1)
    async with database.begin() as conn:
        await people.forget_user(conn, "acme", "ada", 5.0)
    again = await use(database, 2)
    assert again != subject
    async with database.read() as conn:
        found = await usage.summarise(conn, by=["user"])
        assert {row.group["user"] for row in found} == {subject, "ada"}
        for user in (subject, "ada"):
            (row,) = await usage.summarise(conn, where={"user": user})
            assert row.requests == 1


async def test_a_user_is_not_the_user_of_that_name_of_another_tenant(database: Database) -> None:
    await use(database, 1)
    await use(database, 2, tenant="umbrella")
    async with database.read() as conn:
        (row,) = await usage.summarise(conn, where={"tenant": "acme", "user": "ada"})
        assert row.requests == 1
        (row,) = await usage.summarise(conn, where={"user": "ada"})
        assert row.requests == 2


async def test_unknown_names_are_refused(database: Database) -> None:
    async with database.read() as conn:
        with pytest.raises(KeyError):
            await usage.summarise(conn, by=["prompt"])
        with pytest.raises(KeyError):
            await usage.summarise(conn, where={"prompt": "x"})
        with pytest.raises(KeyError):
            await usage.summarise(conn, interval="minute")


async def test_old_usage_goes_bit_by_bit(database: Database) -> None:
    for number in range(5):
        await use(database, number, at=DAY + number)
    async with database.begin() as conn:
        assert await usage.delete_before(conn, DAY + 4, limit=3) == 3
        assert await usage.delete_before(conn, DAY + 4, limit=3) == 1
        (row,) = await usage.summarise(conn)
        assert row.requests == 1
