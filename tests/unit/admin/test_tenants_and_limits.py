"""Tenants, users, limits, budgets."""

from dataclasses import replace
from typing import Any

import pytest

from app.errors import Conflict, InvalidRequest, NotFound, RoleForbidden
from app.security.identity import Role
from app.store import people
from app.store.versions import Version, current
from tests.unit.admin.desk import DEVELOPER, NOW, OPERATOR, Desk

ADA = {"tenant": "acme", "user": "ada", "zone": "public"}


async def test_tenants(desk: Desk) -> None:
    made = await desk.call("tenants.create", tenant="acme", weight=2)
    assert made == {"tenant": "acme", "weight": 2.0, "created_at": NOW}
    with pytest.raises(Conflict):
        await desk.call("tenants.create", tenant="acme")
    await desk.call("tenants.create", tenant="beta")
    await desk.call("tenants.update", tenant="acme", weight=0.5)
    entry = await desk.last_entry()
    assert (entry["tenant"], entry["weight"], entry["before"]) == ("acme", 0.5, 2.0)
    page = await desk.call("tenants.list", limit=1)
    assert [row["weight"] for row in page["tenants"]] == [0.5]
    page = await desk.call("tenants.list", after=page["next"])
    assert ([row["tenant"] for row in page["tenants"]], page["next"]) == (["beta"], None)
    with pytest.raises(NotFound, match="did you mean 'acme'"):
        await desk.call("tenants.update", tenant="acm", weight=1)
    for wrong in (0, -1, 101, "nan", "heavy"):
        with pytest.raises(InvalidRequest, match="`weight`"):
            await desk.call("tenants.update", tenant="acme", weight=wrong)


async def test_users(desk: Desk) -> None:
    with pytest.raises(NotFound, match="POST /admin/v1/tenants"):
        await desk.call("users.create", tenant="acme", user="ada")
    await desk.call("tenants.create", tenant="acme")
    made = await desk.call("users.create", tenant="acme", user="ada@acme.example")
    assert (await desk.call("users.list", tenant="acme"))["users"] == [made]
    with pytest.raises(Conflict):
        await desk.call("users.create", tenant="acme", user="ada@acme.example")
    with pytest.raises(NotFound):
        await desk.call("users.list", tenant="other")


async def test_forgetting_a_user(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA)
    [user] = (await desk.call("users.list", tenant="acme"))["users"]
    await desk.call("limits.set", tenant="acme", user="ada", rule="user_large_requests", value=2)
    gone = await desk.call("users.forget", tenant="acme", user="ada")
    assert gone == {"subject": user["subject"], "keys_revoked": [made["id"]]}
    entry = await desk.last_entry()
    assert entry == {
        "kind": "personal_data_deleted", "tenant": "acme", "subject": user["subject"],
        "key": "admin", "method": "users.forget", "by": "admin", "outcome": "done",
        "keys_revoked": 1,
    } | {"subject": user["subject"]}  # fmt: skip
    assert (await desk.call("keys.get", id=made["id"]))["state"] == "revoked"
    assert (await desk.call("users.list", tenant="acme"))["users"] == []
    assert (await desk.call("limits.list"))["limits"] == []
    for row in await desk.entries():
        assert "ada" not in row.body
    with pytest.raises(NotFound, match="has no user 'ada'"):
        await desk.call("users.forget", tenant="acme", user="ada")
    report = await desk.call("audit.verify")
    assert report["whole"], report
    # Whoever bears the name next is somebody else.
    await desk.call("keys.create", **ADA)
    [other] = (await desk.call("users.list", tenant="acme"))["users"]
    assert other["subject"] != user["subject"]


async def test_users_whom_an_identity_provider_named_can_be_forgotten(desk: Desk) -> None:
    async with desk.database.begin() as conn:
        await people.ensure_user(conn, "acme", "auth0|ada lovelace", NOW)
    await desk.call("users.forget", tenant="acme", user="auth0|ada lovelace")


async def test_limits(desk: Desk) -> None:
    await desk.call("tenants.create", tenant="acme")
    await desk.call("users.create", tenant="acme", user="ada")
    async with desk.database.read() as conn:
        before = (await current(conn))[Version.LIMITS]
    tenants = {"tenant": "acme", "rule": "tenant_tokens_per_minute", "value": 200_000}
    assert await desk.call("limits.set", **tenants) == tenants | {"user": None}
    adas = {"tenant": "acme", "user": "ada", "rule": "user_tokens_per_minute", "value": 1}
    await desk.call("limits.set", **adas)
    await desk.call("limits.set", **adas | {"value": 7})
    entry = await desk.last_entry()
    assert (entry["tenant"], entry["rule"], entry["value"]) == ("acme", adas["rule"], 7)
    async with desk.database.read() as conn:
        assert (await current(conn))[Version.LIMITS] == before + 3
    listed = await desk.call("limits.list", tenant="acme")
    assert listed["limits"] == [tenants | {"user": None}, adas | {"value": 7}]
    assert listed["defaults"]["user_tokens_per_minute"] == 10_000
    del tenants["value"]
    await desk.call("limits.delete", **tenants)
    with pytest.raises(NotFound, match="no other tenant_tokens_per_minute is set"):
        await desk.call("limits.delete", **tenants)
    assert len((await desk.call("limits.list"))["limits"]) == 1


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tenant": "acm"}, "did you mean 'acme'?"),
        ({"user": "eve"}, "has no user 'eve'"),
        ({"rule": "user_tokens_per_minut"}, "did you mean 'user_tokens_per_minute'?"),
        ({"rule": "tenant_budget_day"}, "must be one of"),
        ({"rule": "tenant_tokens_per_minute"}, "leave `user` out"),
        ({"value": 0}, "must be at least 1"),
        ({"value": -5}, "must be at least 1"),
        ({"value": 10**16}, "must be at most"),
        ({"value": 1.5}, "must be a whole number"),
        ({"value": True}, "must be a whole number"),
        ({"value": "7"}, "must be a whole number"),
        ({"burst": 2}, "not a known key"),
    ],
)
async def test_a_limit_that_would_not_apply_is_refused(
    desk: Desk, params: dict[str, Any], words: str
) -> None:
    await desk.call("keys.create", **ADA)
    given = {"tenant": "acme", "user": "ada", "rule": "user_tokens_per_minute", "value": 5}
    with pytest.raises(InvalidRequest) as caught:
        await desk.call("limits.set", **given | params)
    assert words in caught.value.message
    assert (await desk.call("limits.list"))["limits"] == []


async def test_budgets(desk: Desk) -> None:
    key = (await desk.call("keys.create", **ADA))["id"]
    await desk.call("keys.create", **ADA | {"tenant": "other"})
    made = await desk.call("budgets.set", tenant="acme", period="month", micros=0)
    assert made == {
        "tenant": "acme", "key": None, "period": "month", "micros": 0, "alert": 0.8,
        "policy": "refuse",
    }  # fmt: skip
    keys = {"tenant": "acme", "key": key, "period": "day"}
    await desk.call("budgets.set", **keys, micros=5, alert=0.5, policy="degrade")
    entry = await desk.last_entry()
    assert (entry["key"], entry["micros"], entry["policy"]) == (key, 5, "degrade")
    listed = await desk.call("budgets.list", tenant="acme")
    assert [row["key"] for row in listed["budgets"]] == [None, key]
    assert listed["defaults"]["policy"] == "refuse"
    with pytest.raises(NotFound, match="tenant 'other' has no key"):
        await desk.call("budgets.set", tenant="other", key=key, period="day", micros=5)
    for name, wrong in (("micros", -1), ("period", "year"), ("policy", "beg"), ("alert", 1.1)):
        with pytest.raises(InvalidRequest, match=f"`{name}`"):
            await desk.call("budgets.set", **{"tenant": "acme", "period": "day", "micros": 1}
                            | {name: wrong})  # fmt: skip
    await desk.call("budgets.delete", **keys)
    with pytest.raises(NotFound):
        await desk.call("budgets.delete", **keys)


async def test_an_operator_reads_its_own_limits_and_changes_none(desk: Desk) -> None:
    for tenant in ("acme", "other"):
        await desk.call("tenants.create", tenant=tenant)
        await desk.call("limits.set", tenant=tenant, rule="tenant_tokens_per_minute", value=5)
        await desk.call("budgets.set", tenant=tenant, period="day", micros=5)
    for method, name in (("limits.list", "limits"), ("budgets.list", "budgets")):
        answer = await desk.call(method, OPERATOR)
        assert [row["tenant"] for row in answer[name]] == ["acme"]
        with pytest.raises(RoleForbidden):
            await desk.call(method, OPERATOR, tenant="other")
    changes: dict[str, dict[str, Any]] = {
        "limits.set": {"tenant": "acme", "rule": "user_large_requests", "value": 9},
        "limits.delete": {"tenant": "acme", "rule": "tenant_tokens_per_minute"},
        "budgets.set": {"tenant": "acme", "period": "day", "micros": 9},
        "budgets.delete": {"tenant": "acme", "period": "day"},
        "tenants.create": {"tenant": "mine"},
        "tenants.list": {},
        "tenants.update": {"tenant": "acme", "weight": 9},
        "users.create": {"tenant": "acme", "user": "eve"},
        "users.list": {"tenant": "acme"},
        "users.forget": {"tenant": "acme", "user": "ada"},
        "audit.checkpoints": {},
        "audit.export": {},
        "audit.verify": {},
    }
    for method, params in changes.items():
        for caller in (OPERATOR, DEVELOPER, replace(OPERATOR, roles=frozenset({Role.BATCH}))):
            with pytest.raises(RoleForbidden, match="is for admin"):
                await desk.call(method, caller, **params)


async def test_an_operator_of_a_tenant_without_rows_reads_nothing(desk: Desk) -> None:
    assert (await desk.call("limits.list", OPERATOR))["limits"] == []
    assert (await desk.call("usage.query", OPERATOR))["rows"] == []
