"""Keys: who may make which, what is stored of them, and what the log says."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from app.admin.params import KeysCreate
from app.admin.values import parse as parse_params
from app.admission.tier import Tier
from app.errors import (
    Conflict,
    InvalidRequest,
    ModelForbidden,
    NotFound,
    RoleForbidden,
    TidegateError,
    TierForbidden,
    ZoneForbidden,
)
from app.security.identity import Identity, Role
from app.security.keys import digest, parse
from app.store import keys, ledger, limits
from app.store.database import Database
from app.store.ledger import SpendingRow
from app.store.limits import BudgetRow
from tests.unit.admin.desk import ADMIN, DEVELOPER, NOW, OPERATOR, PEPPER, Desk

ADA = {"tenant": "acme", "user": "ada", "zone": "public"}


async def test_a_key_is_shown_once_and_stored_as_a_digest(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA, roles=["developer", "batch"], models=["demo"])
    parts = parse(made["key"])
    assert parts is not None
    assert parts[0] == made["id"]
    async with desk.database.read() as conn:
        row = await keys.get(conn, made["id"])
    assert row is not None
    assert row.digest == digest(PEPPER, made["id"], parts[1])
    shown = {name: value for name, value in made.items() if name != "key"}
    assert shown == await desk.call("keys.get", id=made["id"])
    assert shown == {
        "id": made["id"], "state": "active", "tenant": "acme", "user": "ada",
        "roles": ["developer", "batch"], "zone": "public", "models": ["demo"],
        "tiers": ["standard", "batch"], "created_at": NOW, "expires_at": None,
        "revoked_at": None, "rotated_from": None,
    }  # fmt: skip


async def test_the_log_says_who_made_which_key_and_no_secret(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA)
    entry = await desk.last_entry()
    users = await desk.call("users.list", tenant="acme")
    assert entry == {
        "kind": "key_created", "tenant": "acme", "subject": users["users"][0]["subject"],
        "key": made["id"], "zone": "public", "method": "keys.create", "by": "admin",
        "outcome": "done", "roles": "developer",
    }  # fmt: skip
    for row in await desk.entries():
        assert made["key"][20:] not in row.body
        assert "ada" not in row.body


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"zone": "publik"}, InvalidRequest, "did you mean 'public'?"),
        ({"zone": ""}, InvalidRequest, "the zones are public, private, confidential"),
        ({"models": ["demmo"]}, InvalidRequest, "did you mean 'demo'?"),
        ({"models": []}, InvalidRequest, "`models`"),
        ({"roles": ["root"]}, InvalidRequest, "admin, operator, developer, batch"),
        ({"roles": []}, InvalidRequest, "at least one is needed"),
        ({"roles": "admin"}, InvalidRequest, "must be a list"),
        ({"tiers": ["urgent"]}, InvalidRequest, "critical, standard, batch"),
        ({"roles": ["batch"], "tiers": ["standard"]}, InvalidRequest, "leave `tiers` out"),
        ({"expires_at": NOW}, InvalidRequest, "is past"),
        ({"expires_at": "soon"}, InvalidRequest, "2027-01-31"),
        ({"expires_at": float("nan")}, InvalidRequest, "Unix seconds"),
        ({"expires_at": True}, InvalidRequest, "Unix seconds"),
        ({"tenant": "a b"}, InvalidRequest, "must match"),
        ({"user": "x" * 129}, InvalidRequest, "must match"),
        ({"user": None}, InvalidRequest, "`user`"),
        ({"unlimited": True}, InvalidRequest, "not a known key"),
        ({"zone": 3}, InvalidRequest, "must be text"),
        ({"user": "ada\n"}, InvalidRequest, "must match"),
        ({"zone": "\ud800"}, InvalidRequest, "the zones are"),
        ({"models": ["demo\0"]}, InvalidRequest, "did you mean 'demo'"),
    ],
)
async def test_bad_parameters_name_the_way_out(
    desk: Desk, params: dict[str, Any], error: type[TidegateError], words: str
) -> None:
    with pytest.raises(error) as caught:
        await desk.call("keys.create", **ADA | params)
    assert words in caught.value.message
    assert caught.value.param is not None
    assert caught.value.param.partition("[")[0] in params
    assert (await desk.call("keys.list"))["keys"] == []
    assert (await desk.call("tenants.list"))["tenants"] == []


async def test_what_was_refused_is_logged(desk: Desk) -> None:
    with pytest.raises(InvalidRequest):
        await desk.call("keys.create", **ADA | {"zone": "nowhere"})
    entry = await desk.last_entry()
    assert (entry["kind"], entry["outcome"]) == ("admin_call", "invalid_request")
    with pytest.raises(NotFound, match=r"did you mean 'keys\.create'"):
        await desk.call("keys.creat")
    assert (await desk.last_entry())["outcome"] == "not_found"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"tenant": "other"}, RoleForbidden),
        ({"roles": ["admin"]}, RoleForbidden),
        ({"roles": ["developer", "admin"]}, RoleForbidden),
        ({"zone": "confidential"}, ZoneForbidden),
        ({"tiers": ["critical"]}, TierForbidden),
    ],
)
async def test_an_operator_cannot_give_what_it_lacks(
    desk: Desk, params: dict[str, Any], error: type[TidegateError]
) -> None:
    with pytest.raises(error):
        await desk.call("keys.create", OPERATOR, **ADA | params)
    entry = await desk.last_entry()
    assert (entry["tenant"], entry["by"], entry["outcome"]) == ("acme", "op", error.code)


async def test_an_operators_keys_inherit_its_models(desk: Desk) -> None:
    config = desk.config.model_copy(
        update={"models": (*desk.config.models, desk.config.models[0].model_copy(
            update={"name": "other"}))}
    )  # fmt: skip
    desk.administration._config = config
    bound = replace(OPERATOR, models=frozenset({"demo"}))
    assert (await desk.call("keys.create", bound, **ADA))["models"] == ["demo"]
    with pytest.raises(ModelForbidden):
        await desk.call("keys.create", bound, **ADA, models=["other"])
    free = await desk.call("keys.create", **ADA, models=["demo", "other"])
    with pytest.raises(ModelForbidden):
        await desk.call("keys.rotate", bound, id=free["id"])
    # Withdrawing gives nothing away.
    assert (await desk.call("keys.revoke", bound, id=free["id"]))["state"] == "revoked"


@pytest.mark.parametrize("roles", [["operator"], ["developer"], ["batch"]])
async def test_an_operator_gives_the_roles_below_admin(desk: Desk, roles: list[str]) -> None:
    made = await desk.call("keys.create", OPERATOR, **ADA, roles=roles)
    assert made["tiers"] == (["batch"] if roles == ["batch"] else ["standard", "batch"])


async def test_an_operator_sees_and_touches_its_own_tenant_alone(desk: Desk) -> None:
    theirs = await desk.call("keys.create", **ADA | {"tenant": "other"})
    high = await desk.call("keys.create", **ADA | {"zone": "confidential"})
    admins = await desk.call("keys.create", **ADA, roles=["admin"])
    own = await desk.call("keys.create", OPERATOR, **ADA)
    listed = await desk.call("keys.list", OPERATOR)
    assert {key["id"] for key in listed["keys"]} == {high["id"], admins["id"], own["id"]}
    with pytest.raises(RoleForbidden):
        await desk.call("keys.list", OPERATOR, tenant="other")
    for method in ("keys.get", "keys.revoke", "keys.rotate"):
        with pytest.raises(NotFound):
            await desk.call(method, OPERATOR, id=theirs["id"])
    for method in ("keys.revoke", "keys.rotate"):
        with pytest.raises(ZoneForbidden):
            await desk.call(method, OPERATOR, id=high["id"])
        with pytest.raises(RoleForbidden):
            await desk.call(method, OPERATOR, id=admins["id"])
    assert (await desk.call("keys.revoke", OPERATOR, id=own["id"]))["state"] == "revoked"


@pytest.mark.parametrize("roles", [{Role.DEVELOPER}, {Role.BATCH}, set()])
async def test_the_others_manage_nothing(desk: Desk, roles: set[Role]) -> None:
    caller = replace(DEVELOPER, roles=frozenset(roles))
    for method, params in (("keys.create", ADA), ("keys.list", {}), ("audit.list", {})):
        with pytest.raises(RoleForbidden, match="is for admin or operator"):
            await desk.call(method, caller, **params)


async def test_revoking(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA)
    desk.now += 10
    revoked = await desk.call("keys.revoke", id=made["id"])
    assert (revoked["state"], revoked["revoked_at"]) == ("revoked", NOW + 10)
    entry = await desk.last_entry()
    assert (entry["kind"], entry["key"], entry["zone"]) == ("key_revoked", made["id"], "public")
    desk.now += 10
    assert (await desk.call("keys.revoke", id=made["id"]))["revoked_at"] == NOW + 10
    assert (await desk.call("keys.list"))["keys"] == []
    assert len((await desk.call("keys.list", revoked="true"))["keys"]) == 1
    with pytest.raises(Conflict, match="has been revoked"):
        await desk.call("keys.rotate", id=made["id"])
    for unknown in ("admin", "2b7qmx4tzr6kvhwd"):
        with pytest.raises(NotFound, match="set where the service starts"):
            await desk.call("keys.revoke", id=unknown)
    with pytest.raises(InvalidRequest):
        await desk.call("keys.revoke", id="../x")


async def test_rotating_overlaps(desk: Desk) -> None:
    made = await desk.call(
        "keys.create", **ADA, expires_at=NOW + 1000, roles=["operator"], models=["demo"]
    )
    desk.now += 100
    new = await desk.call("keys.rotate", id=made["id"], overlap_s=60)
    assert new["key"] != made["key"]
    assert new["replaces"]["expires_at"] == desk.now + 60
    assert new["expires_at"] == desk.now + 1000
    assert new["rotated_from"] == made["id"]
    for same in ("tenant", "user", "roles", "zone", "models", "tiers"):
        assert new[same] == made[same]
    entry = await desk.last_entry()
    assert (entry["kind"], entry["key"], entry["rotated_from"]) == (
        "key_rotated", new["id"], made["id"],
    )  # fmt: skip
    desk.now += 61
    assert (await desk.call("keys.get", id=made["id"]))["state"] == "expired"
    with pytest.raises(Conflict, match="has expired on"):
        await desk.call("keys.rotate", id=made["id"])
    last = await desk.call("keys.rotate", id=new["id"], overlap_s=0)
    assert last["replaces"]["state"] == "revoked"


async def test_an_overlap_does_not_prolong_a_key(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA, expires_at=NOW + 10)
    new = await desk.call("keys.rotate", id=made["id"])
    assert new["replaces"]["expires_at"] == NOW + 10
    for wrong in (-1, "nan", 1e9):
        with pytest.raises(InvalidRequest, match="overlap_s"):
            await desk.call("keys.rotate", id=new["id"], overlap_s=wrong)


async def test_a_budget_goes_over_to_the_new_key_with_what_is_spent_of_it(desk: Desk) -> None:
    made = await desk.call("keys.create", **ADA)
    await desk.call(
        "budgets.set", tenant="acme", key=made["id"], period="month", micros=500, policy="allow"
    )
    spent = SpendingRow("acme", made["id"], "month", "2030-03-01", 400, alerted=True)
    async with desk.database.begin() as conn:
        await ledger.write_spending(conn, [spent])
    new = await desk.call("keys.rotate", id=made["id"])
    async with desk.database.read() as conn:
        budgets = await limits.list_budgets(conn, "acme")
        found = await ledger.load_spending(conn, [("acme", new["id"], "month", "2030-03-01")])
    assert found == [replace(spent, key=new["id"])]
    assert BudgetRow("acme", new["id"], "month", 500, 0.8, "allow") in budgets


async def test_keys_come_in_pages(desk: Desk) -> None:
    ids = sorted([(await desk.call("keys.create", **ADA))["id"] for _ in range(5)])
    found: list[str] = []
    after: str | None = None
    while True:
        page = await desk.call("keys.list", tenant="acme", user="ada", limit="2", after=after)
        found += [key["id"] for key in page["keys"]]
        after = page["next"]
        if after is None:
            break
    assert found == ids
    for wrong in (0, 1001, "many", 1.5, True):
        with pytest.raises(InvalidRequest, match="`limit`"):
            await desk.call("keys.list", limit=wrong)


async def test_a_token_of_an_identity_provider_may_manage_too(desk: Desk) -> None:
    caller = Identity(
        tenant="acme", user="auth0|1", max_zone="public", key="jwt-0a1b",
        roles=frozenset({Role.OPERATOR}), tiers=frozenset({Tier.BATCH}),
    )  # fmt: skip
    made = await desk.call("keys.create", caller, **ADA)
    assert made["tiers"] == ["batch"]
    assert (await desk.last_entry())["by"] == "jwt-0a1b"
    assert ADMIN.key != caller.key


@pytest.mark.parametrize(
    "params",
    [
        {"roles": ["x"] * 100_000},
        {f"key-{number}": 1 for number in range(100_000)},
        {"zone": "x" * 1_000_000},
        {"x" * 1_000_000: 1},
        {"user": [[[["a"] * 1000] * 1000]]},
    ],
    ids=["list", "keys", "text", "key", "nested"],
)
def test_what_is_huge_is_refused_at_once(params: dict[str, Any]) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidRequest) as caught:
        parse_params(KeysCreate, ADA | params)
    assert len(caught.value.message) < 1000
    assert time.perf_counter() - start < 0.5


async def test_two_administrations_at_once(desk: Desk, store_url: str) -> None:
    async with Database(store_url) as database:
        other = Desk(database, desk.config)
        made = await asyncio.gather(
            *(each.call("keys.create", **ADA) for each in [desk, other] * 4)
        )
        ids = [key["id"] for key in made]
        done = await asyncio.gather(
            *(desk.call("keys.rotate", id=key_id) for key_id in ids),
            *(other.call("keys.revoke", id=key_id) for key_id in ids),
            return_exceptions=True,
        )
    problems = [each for each in done if isinstance(each, BaseException)]
    assert all(isinstance(each, Conflict) for each in problems), problems
    listed = (await desk.call("keys.list", revoked=True))["keys"]
    assert all(key["state"] == "revoked" for key in listed if key["id"] in ids)
    assert len(listed) == 16 - len(problems)
    assert (await desk.call("audit.verify"))["whole"]
    [user] = (await desk.call("users.list", tenant="acme"))["users"]
    assert user["user"] == "ada"
