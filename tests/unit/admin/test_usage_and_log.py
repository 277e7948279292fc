"""Reading usage and the audit log."""

from typing import Any

import pytest
from sqlalchemy import update

from app.admission.exchange import Account, Settlement
from app.audit.chain import Entry
from app.audit.lines import from_plain
from app.audit.verify import Verifier
from app.errors import InvalidRequest, NotFound, RoleForbidden, StoreUnavailable
from app.store import ledger, people
from app.store.tables import audit
from tests.unit.admin.desk import ADMIN, DEVELOPER, NOW, OPERATOR, Desk


async def settle(desk: Desk, tenant: str, user: str, at: float, micros: int) -> None:
    async with desk.database.begin() as conn:
        subject = await people.ensure_user(conn, tenant, user, at)
        settlement = Settlement(
            id=f"{tenant}-{user}-{at}", request_id="r", at=at, account=Account(tenant, user, "k"),
            model="demo", pool="p", zone="public", route="/v1/completions", size_class="small",
            tier="standard", prompt_tokens=10, output_tokens=5, micros=micros, outcome="finished",
        )  # fmt: skip
        await ledger.add_settlements(conn, [(settlement, subject)])


async def test_usage(desk: Desk) -> None:
    await settle(desk, "acme", "ada", NOW - 10, 100)
    await settle(desk, "acme", "ada", NOW - 7200, 10)
    await settle(desk, "acme", "bob", NOW - 20, 1)
    await settle(desk, "beta", "ada", NOW - 30, 1000)
    await settle(desk, "acme", "ada", NOW - 90_000, 5000)
    answer = await desk.call("usage.query")
    assert (answer["since"], answer["until"], answer["truncated"]) == (NOW - 86400, NOW, False)
    assert answer["rows"] == [
        {"tenant": "beta", "requests": 1, "prompt_tokens": 10, "output_tokens": 5, "micros": 1000},
        {"tenant": "acme", "requests": 3, "prompt_tokens": 30, "output_tokens": 15, "micros": 111},
    ]
    answer = await desk.call("usage.query", by="tenant,user", tenant="acme", since=0)
    assert [(row["user"], row["micros"]) for row in answer["rows"]] == [("ada", 5110), ("bob", 1)]
    answer = await desk.call(
        "usage.query", by=["model"], tenant="acme", user="ada", interval="hour"
    )
    assert [row["micros"] for row in answer["rows"]] == [10, 100]
    assert all(row["start"] % 3600 == 0 for row in answer["rows"])
    answer = await desk.call("usage.query", by="user", limit="1")
    assert (len(answer["rows"]), answer["truncated"]) == (1, True)
    for dimension in ("pool", "zone", "route", "size_class", "tier", "key", "outcome"):
        [row] = (await desk.call("usage.query", by=dimension))["rows"]
        assert row["requests"] == 4


async def test_usage_is_seen_by_whom_it_concerns(desk: Desk) -> None:
    await settle(desk, "acme", "ada", NOW - 10, 100)
    await settle(desk, "acme", "bob", NOW - 10, 10)
    await settle(desk, "beta", "ada", NOW - 10, 1000)
    sums = [
        (await desk.call("usage.query", caller, by="zone"))["rows"][0]["micros"]
        for caller in (ADMIN, OPERATOR, DEVELOPER)
    ]
    assert sums == [1110, 110, 100]
    assert (await desk.call("usage.query", OPERATOR, user="bob"))["rows"][0]["micros"] == 10
    for caller, params in (
        (OPERATOR, {"tenant": "beta"}),
        (DEVELOPER, {"tenant": "beta"}),
        (DEVELOPER, {"user": "bob"}),
    ):
        with pytest.raises(RoleForbidden):
            await desk.call("usage.query", caller, **params)
    entry = await desk.last_entry()
    assert (entry["tenant"], entry["method"], entry["outcome"]) == (
        "acme", "usage.query", "role_forbidden",
    )  # fmt: skip


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"by": "prompt"}, "must be one of tenant, user, model"),
        ({"by": "modle"}, "did you mean 'model'?"),
        ({"interval": "week"}, "must be one of hour, day"),
        ({"user": "ada"}, "say `tenant` too"),
        ({"since": NOW, "until": NOW - 1}, "is not before `until`"),
        ({"since": "yesterday"}, "2027-01-31"),
        ({"since": -1}, "Unix seconds"),
        ({"since": 10**400}, "Unix seconds"),
        ({"group": "x"}, "not a known key"),
    ],
)
async def test_a_bad_query_says_what_is_good(
    desk: Desk, params: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await desk.call("usage.query", **params)
    assert words in caught.value.message


async def test_an_unknown_tenant_is_not_one_that_used_nothing(desk: Desk) -> None:
    with pytest.raises(NotFound):
        await desk.call("usage.query", tenant="nobody")


async def fill(desk: Desk) -> None:
    for number in range(7):
        tenant = "acme" if number % 2 else "beta"
        await desk.call("keys.create", tenant=tenant, user=f"user-{number}", zone="public")


async def test_the_log_in_pages(desk: Desk) -> None:
    await fill(desk)
    page = await desk.call("audit.list", limit=3)
    assert [entry["sequence"] for entry in page["entries"]] == [1, 2, 3]
    assert page["next"] == "ledger-0:3"
    page = await desk.call("audit.list", after=page["next"], limit=1000)
    assert [entry["sequence"] for entry in page["entries"]] == [4, 5, 6, 7, 8]
    assert page["next"] is None
    made = await desk.call("audit.list", kind="key_created", tenant="acme")
    assert len(made["entries"]) == 3
    assert {entry["tenant"] for entry in made["entries"]} == {"acme"}
    own = await desk.call("audit.list", OPERATOR)
    assert len(own["entries"]) == 4  # the admin's look into acme, too
    assert {entry["tenant"] for entry in own["entries"]} == {"acme"}
    for wrong in ("ledger-0", "ledger-0:x", ":1", "a:" + "9" * 30, "a b:1"):
        with pytest.raises(InvalidRequest, match="`after`"):
            await desk.call("audit.list", after=wrong)
    with pytest.raises(InvalidRequest, match="did you mean 'key_created'"):
        await desk.call("audit.list", kind="key_create")


@pytest.mark.parametrize("limit", [2, 3, 500])
async def test_an_export_ends_and_can_be_verified(desk: Desk, limit: int) -> None:
    await fill(desk)
    verifier = Verifier([desk.key.public])
    after, entries, calls = None, 0, 0
    while True:
        page = await desk.call("audit.export", after=after, limit=limit)
        for line in page["lines"]:
            item = from_plain(line)
            if isinstance(item, Entry):
                entries += 1
                verifier.entry(item)
            else:
                verifier.checkpoint(item)
        calls += 1
        assert calls < 100
        after = page["next"]
        if after is None:
            break
    assert entries >= 7
    assert verifier.report().whole, verifier.report()


async def test_checkpoints_in_pages(desk: Desk) -> None:
    await fill(desk)
    await fill(desk)
    first = await desk.call("audit.checkpoints", limit=2)
    rest = await desk.call("audit.checkpoints", after=first["next"])
    assert [each["sequence"] for each in first["checkpoints"] + rest["checkpoints"]] == [1, 6, 11]
    for wrong in (0, 1, 1001):
        with pytest.raises(InvalidRequest, match="`limit`"):
            await desk.call("audit.export", limit=wrong)
    assert rest["next"] is None


async def test_a_change_in_the_store_is_found(desk: Desk) -> None:
    await fill(desk)
    report = await desk.call("audit.verify")
    assert report["whole"]
    assert report["chains"][0]["entries"] == 7
    assert report["public_keys"] == [desk.key.public.hex()]
    assert (await desk.last_entry())["whole"] is True
    async with desk.database.begin() as conn:
        await conn.execute(update(audit).where(audit.c.sequence == 3).values(tenant="eve"))
    report = await desk.call("audit.verify")
    assert not report["whole"]
    assert report["breaks"][0]["sequence"] == 3
    assert report["breaks"][0]["kind"] == "changed"


async def test_a_log_signed_by_another_key_is_not_whole(desk: Desk) -> None:
    await fill(desk)
    desk.administration._audit_keys = frozenset({bytes(32)})
    assert not (await desk.call("audit.verify"))["whole"]


async def test_what_cannot_be_logged_is_not_done(desk: Desk) -> None:
    async def fail(*_: object) -> None:
        raise StoreUnavailable("full")

    await desk.call("tenants.create", tenant="acme")
    append, desk.administration._append_audit = desk.administration._append_audit, fail
    for method, params in (
        ("keys.create", {"tenant": "new", "user": "ada", "zone": "public"}),
        ("limits.list", {}),
    ):
        with pytest.raises(StoreUnavailable):
            await desk.call(method, **params)
    # A refusal stays one, whether it can be logged or not.
    with pytest.raises(RoleForbidden):
        await desk.call("tenants.list", DEVELOPER)
    desk.administration._append_audit = append
    assert [row["tenant"] for row in (await desk.call("tenants.list"))["tenants"]] == ["acme"]
