import asyncio
import re

import pytest

from app.errors import Conflict
from app.store import keys, ledger, limits, people
from app.store.database import Database
from app.store.keys import KeyRow
from app.store.ledger import BucketRow
from app.store.limits import LimitRow
from app.store.people import TenantRow, UserRow
from app.store.tables import tenants
from app.store.versions import Version, bump, current


def key(key_id: str, user: str, revoked_at: float | None = None) -> KeyRow:
    return KeyRow(
        id=key_id,
        digest=bytes(32),
        tenant="acme",
        user=user,
        roles=("developer",),
        zone="public",
        models=None,
        tiers=("standard",),
        unlimited=False,
        created_at=1.0,
        revoked_at=revoked_at,
    )


async def test_a_user_gets_a_subject_that_stays(database: Database) -> None:
    async with database.begin() as conn:
        subject = await people.ensure_user(conn, "acme", "ada", 5.0)
        assert re.fullmatch("[0-9a-f]{32}", subject)
        assert await people.ensure_user(conn, "acme", "ada", 6.0) == subject
        assert await people.ensure_user(conn, "acme", "bob", 7.0) != subject
        assert await people.ensure_user(conn, "umbrella", "ada", 8.0) != subject
    async with database.read() as conn:
        assert await people.find_user(conn, "acme", "ada") == UserRow("acme", "ada", subject, 5.0)
        assert await people.get_tenant(conn, "acme") == TenantRow("acme", 5.0, 1.0)
        assert await people.find_user(conn, "acme", "eve") is None
        assert await people.get_tenant(conn, "nobody") is None


async def test_many_users_at_once(database: Database) -> None:
    names = [(f"t{n % 7}", f"u{n}") for n in range(600)]
    async with database.begin() as conn:
        first = await people.ensure_users(conn, names[:400], 1.0)
        found = await people.ensure_users(conn, names, 2.0)
        assert await people.ensure_users(conn, [], 2.0) == {}
    assert found.keys() == set(names)
    assert len(set(found.values())) == 600
    assert first.items() <= found.items()
    async with database.read() as conn:
        assert await people.names_of(conn, [*found.values(), "0" * 32]) == {
            subject: name for name, subject in found.items()
        }


async def test_writers_who_create_the_same_users_agree(database: Database, store_url: str) -> None:
    names = [("acme", f"u{n}") for n in range(20)]

    async def ensure(one: Database, order: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
        async with one.begin() as conn:
            return await people.ensure_users(conn, order, 1.0)

    async with Database(store_url) as other:
        one, two = await asyncio.gather(ensure(database, names), ensure(other, names[::-1]))
    assert one == two


async def test_strange_names_are_made_to_fit(database: Database) -> None:
    strange = [("acme", "nul\0"), ("acme", "x" * 200), ("acme", "x" * 201), ("acme", "\ud800")]
    async with database.begin() as conn:
        found = await people.ensure_users(conn, strange, 1.0)
        assert await people.ensure_users(conn, strange, 1.0) == found
    assert found.keys() == set(strange)
    assert len(set(found.values())) == 4


async def test_tenants(database: Database) -> None:
    async with database.begin() as conn:
        assert await people.ensure_tenant(conn, "b", 1.0)
        assert not await people.ensure_tenant(conn, "b", 2.0, weight=9.0)
        assert await people.ensure_tenant(conn, "a", 3.0, weight=2.0)
        assert (await current(conn))[Version.TENANTS] == 2
        assert await people.set_weight(conn, "b", 4.0)
        assert not await people.set_weight(conn, "c", 4.0)
        assert (await current(conn))[Version.TENANTS] == 3
    async with database.read() as conn:
        everyone = [TenantRow("a", 3.0, 2.0), TenantRow("b", 1.0, 4.0)]
        assert await people.list_tenants(conn) == everyone
        assert await people.list_tenants(conn, after="a") == everyone[1:]
        assert await people.list_tenants(conn, limit=1) == everyone[:1]


async def test_users_by_page(database: Database) -> None:
    async with database.begin() as conn:
        await people.ensure_users(conn, [("acme", n) for n in "cab"] + [("other", "z")], 1.0)
    async with database.read() as conn:
        assert [u.name for u in await people.list_users(conn, "acme")] == ["a", "b", "c"]
        second = await people.list_users(conn, "acme", after="a", limit=1)
        assert [u.name for u in second] == ["b"]


async def test_a_forgotten_user_is_named_nowhere(database: Database) -> None:
    async with database.begin() as conn:
        subject = await people.ensure_user(conn, "acme", "ada", 1.0)
        await people.ensure_user(conn, "acme", "bob", 1.0)
        await keys.insert(conn, key("k1", "ada"))
        await keys.insert(conn, key("k2", "ada", revoked_at=3.0))
        await keys.insert(conn, key("k3", "bob"))
        await limits.set_limit(conn, LimitRow("acme", "ada", "rule", 1))
        await limits.set_limit(conn, LimitRow("acme", "bob", "rule", 1))
        await ledger.write_buckets(
            conn, [BucketRow("rule", "acme", "ada", 1, 1), BucketRow("rule", "acme", "", 1, 1)]
        )
        before = await current(conn)
    async with database.begin() as conn:
        forgotten = await people.forget_user(conn, "acme", "ada", 9.0)
    assert forgotten is not None
    assert forgotten.subject == subject
    assert forgotten.keys == ("k1", "k2")
    async with database.read() as conn:
        assert await people.find_user(conn, "acme", "ada") is None
        # Gateways must still learn that the keys do not work any more.
        newest, changed = await keys.changed_since(conn, before[Version.DIRECTORY])
        assert newest == before[Version.DIRECTORY] + 1
        assert [(k.id, k.user, k.revoked_at) for k in changed] == [
            ("k1", subject, 9.0),
            ("k2", subject, 3.0),
        ]
        assert [row.user for row in await limits.list_limits(conn)] == ["bob"]
        names = [("rule", "acme", "ada"), ("rule", "acme", "")]
        assert [row.user for row in await ledger.load_buckets(conn, names)] == [""]
        after = await current(conn)
        assert after[Version.LIMITS] == before[Version.LIMITS] + 1
        assert after[Version.PEOPLE] == before[Version.PEOPLE] + 1
    async with database.begin() as conn:
        assert await people.forget_user(conn, "acme", "ada", 9.0) is None
        assert await people.ensure_user(conn, "acme", "ada", 10.0) != subject


async def test_a_tenant_with_users_cannot_go(database: Database) -> None:
    async with database.begin() as conn:
        await people.ensure_user(conn, "acme", "ada", 1.0)
        await bump(conn, Version.PEOPLE)
    with pytest.raises(Conflict):
        async with database.begin() as conn:
            await conn.execute(tenants.delete())
