from dataclasses import replace

from app.store import keys, people
from app.store.database import Database
from app.store.keys import KeyRow

KEY = KeyRow(
    id="k1",
    digest=bytes(range(32)),
    tenant="acme",
    user="ada",
    roles=("developer", "operator"),
    zone="private",
    models=("small", "large"),
    tiers=("standard", "batch"),
    unlimited=False,
    created_at=1.5,
    expires_at=100.0,
    rotated_from="k0",
)


async def add(database: Database, *rows: KeyRow) -> list[KeyRow]:
    async with database.begin() as conn:
        for row in rows:
            await people.ensure_user(conn, row.tenant, row.user, 1.0)
        return [await keys.insert(conn, row) for row in rows]


async def test_a_key_comes_back_as_it_was(database: Database) -> None:
    everything = replace(KEY, id="k2", models=None, expires_at=None, unlimited=True, tiers=())
    none = replace(KEY, id="k3", models=())
    stored = await add(database, KEY, everything, none)
    assert [row.version for row in stored] == [1, 2, 3]
    async with database.read() as conn:
        assert await keys.get(conn, "k1") == replace(KEY, version=1)
        assert await keys.get(conn, "k2") == replace(everything, version=2)
        assert await keys.get(conn, "k3") == replace(none, version=3)
        assert await keys.get(conn, "k4") is None


async def test_revoking_keeps_the_first_time(database: Database) -> None:
    await add(database, KEY)
    async with database.begin() as conn:
        revoked = await keys.revoke(conn, "k1", 7.0)
        assert revoked == replace(KEY, version=2, revoked_at=7.0)
    async with database.begin() as conn:
        assert await keys.revoke(conn, "k1", 8.0) == revoked
        assert await keys.revoke(conn, "missing", 8.0) is None


async def test_a_key_can_be_made_to_end_sooner_but_not_later(database: Database) -> None:
    await add(database, KEY, replace(KEY, id="k2", expires_at=None))
    async with database.begin() as conn:
        for key_id in ("k1", "k2"):
            sooner = await keys.expire(conn, key_id, 50.0)
            assert sooner is not None
            assert sooner.expires_at == 50.0
            assert sooner.version > 2
            assert await keys.expire(conn, key_id, 60.0) == sooner
        assert await keys.expire(conn, "missing", 50.0) is None


async def test_copies_learn_what_has_changed(database: Database) -> None:
    await add(database, KEY, replace(KEY, id="k2"), replace(KEY, id="k3"))
    async with database.read() as conn:
        newest, rows = await keys.changed_since(conn, 0)
        assert (newest, [row.id for row in rows]) == (3, ["k1", "k2", "k3"])
        assert await keys.changed_since(conn, 3) == (3, [])
    async with database.begin() as conn:
        await keys.revoke(conn, "k1", 9.0)
    async with database.read() as conn:
        newest, rows = await keys.changed_since(conn, 2)
        assert (newest, [row.id for row in rows]) == (4, ["k3", "k1"])


async def test_lists(database: Database) -> None:
    await add(
        database,
        KEY,
        replace(KEY, id="k2", user="bob", expires_at=None),
        replace(KEY, id="k3", tenant="umbrella"),
        replace(KEY, id="k4", revoked_at=2.0),
    )

    async with database.read() as conn:
        for found, ids in (
            (await keys.list_keys(conn), "k1 k2 k3 k4"),
            (await keys.list_keys(conn, tenant="acme"), "k1 k2 k4"),
            (await keys.list_keys(conn, tenant="acme", user="ada"), "k1 k4"),
            (await keys.list_keys(conn, live_at=99.0), "k1 k2 k3"),
            (await keys.list_keys(conn, live_at=100.0), "k2"),
            (await keys.list_keys(conn, after="k1", limit=2), "k2 k3"),
        ):
            assert [row.id for row in found] == ids.split()


async def test_keys_that_are_long_dead_can_go(database: Database) -> None:
    await add(
        database,
        replace(KEY, id="alive", expires_at=None),
        replace(KEY, id="expired", expires_at=10.0),
        replace(KEY, id="revoked", revoked_at=10.0),
        replace(KEY, id="just", revoked_at=20.0),
    )
    async with database.begin() as conn:
        assert await keys.delete_dead(conn, 20.0) == 2
        assert [row.id for row in await keys.list_keys(conn)] == ["alive", "just"]
