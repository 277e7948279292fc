"""From HTTP to operations, without a server."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.admin.operations import OPERATIONS
from app.admin.values import parse
from app.api.admin import PREFIX, ROUTES, Call, resolve, takes_body
from app.api.admin_document import admin_paths, admin_schemas
from app.errors import InvalidRequest, MethodNotAllowed, NotFound, TidegateError
from app.security.identity import Identity, Role
from app.security.paths import authorise, is_admin


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "call"),
    [
        ("POST", "keys", "", {"tenant": "a"}, Call("keys.create", {"tenant": "a"}, 201)),
        ("POST", "keys", "", None, Call("keys.create", {}, 201)),
        ("GET", "keys", "tenant=a&limit=5", None,
         Call("keys.list", {"tenant": "a", "limit": "5"}, 200)),
        ("GET", "keys/2b7q", "", None, Call("keys.get", {"id": "2b7q"}, 200)),
        ("DELETE", "keys/2b7q", "", None, Call("keys.revoke", {"id": "2b7q"}, 200)),
        ("POST", "keys/2b7q/rotate", "", {"overlap_s": 5},
         Call("keys.rotate", {"id": "2b7q", "overlap_s": 5}, 201)),
        ("PUT", "tenants/acme", "", {"weight": 2},
         Call("tenants.update", {"tenant": "acme", "weight": 2}, 200)),
        ("DELETE", "tenants/acme/users/a@b.c", "", None,
         Call("users.forget", {"tenant": "acme", "user": "a@b.c"}, 200)),
        ("DELETE", "limits", "tenant=a&rule=x&user=a%40b.c", None,
         Call("limits.delete", {"tenant": "a", "rule": "x", "user": "a@b.c"}, 200)),
        ("GET", "usage", "by=tenant,model&since=2027-01-31T00:00:00%2B01:00", None,
         Call("usage.query", {"by": "tenant,model", "since": "2027-01-31T00:00:00+01:00"}, 200)),
        ("GET", "forecast", "pool=chat", None, Call("forecast.get", {"pool": "chat"}, 200)),
        ("GET", "plan", "", None, Call("plan.get", {}, 200)),
        ("GET", "audit/export", "", None, Call("audit.export", {}, 200, lines=True)),
        ("GET", "audit", "", {"ignored": 1}, Call("audit.list", {}, 200)),
    ],
)  # fmt: skip
def test_routes(
    method: str, path: str, query: str, body: dict[str, Any] | None, call: Call
) -> None:
    assert resolve(method, PREFIX + path, query, body) == call


def test_every_operation_has_a_route_and_the_reverse() -> None:
    assert {route.name for route in ROUTES} == set(OPERATIONS)
    for route in ROUTES:
        assert takes_body(route.method) == route.body
    operator = Identity("acme", "olga", "public", roles=frozenset({Role.OPERATOR}))
    for route in ROUTES:
        path = PREFIX + route.path.replace("{", "").replace("}", "")
        assert is_admin(path)
        authorise(operator, route.method, path)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/admin/v1", "/admin/v1/", "/admin/v1/key", "/admin/v1/keys/", "/admin/v1//keys",
     "/admin/v1/keys/a/b", "/admin/v1/Keys", "/ADMIN/v1/keys", "/admin/v2/keys",
     "/admin/v1/keys\n", "/admin/v1/keys/a/rotate/", "keys", "//admin/v1/keys",
     "/admin/v1/tenants/a/b/users/c", "/admin/v1/./keys"],
)  # fmt: skip
def test_other_paths_lead_nowhere(path: str) -> None:
    with pytest.raises(NotFound):
        resolve("GET", path, "", None)


def test_other_methods_are_named() -> None:
    with pytest.raises(MethodNotAllowed) as caught:
        resolve("PATCH", "/admin/v1/keys", "", None)
    assert caught.value.headers()["allow"] == "POST, GET"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("tenant=a&tenant=b", "given twice"),
        ("tenant", "?tenant=acme"),
        ("&", "?tenant=acme"),
        ("tenant=%ff", "?tenant=acme"),
        ("&".join(f"a{n}=1" for n in range(40)), "?tenant=acme"),
        ("a=" + "x" * 5000, "at most 4096"),
    ],
)
def test_bad_queries(query: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve("GET", "/admin/v1/keys", query, None)
    assert words in caught.value.message


def test_what_is_in_the_path_cannot_be_said_otherwise() -> None:
    with pytest.raises(InvalidRequest, match="in the path already"):
        resolve("POST", "/admin/v1/keys/a/rotate", "", {"id": "b"})
    with pytest.raises(InvalidRequest, match="in the path already"):
        resolve("GET", "/admin/v1/keys/a", "id=b", None)


@given(
    st.sampled_from([route.method for route in ROUTES]),
    st.sampled_from([route.path for route in ROUTES]),
    st.text(max_size=60),
    st.dictionaries(
        st.sampled_from(["tenant", "user", "limit", "by", "since", "value", "models", "id"])
        | st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=5,
    ),
)
def test_whatever_comes_is_a_call_or_an_error_of_ours(
    method: str, path: str, query: str, body: dict[str, Any]
) -> None:
    try:
        call = resolve(method, PREFIX + path, query, body)
        parse(OPERATIONS[call.name].params, call.params)
    except TidegateError as error:
        assert error.status in {400, 404, 405}
        json.dumps(error.body(), ensure_ascii=False).encode("utf-8", "replace")


def test_the_document_describes_every_route() -> None:
    paths, schemas = admin_paths({"403": {"description": "no"}}), admin_schemas()
    assert sum(len(methods) for methods in paths.values()) == len(ROUTES)
    create = paths["/admin/v1/keys"]["post"]
    body = create["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["tenant", "user", "zone"]
    assert "403" in create["responses"]
    rotate = paths["/admin/v1/keys/{id}/rotate"]["post"]
    assert [each["name"] for each in rotate["parameters"]] == ["id"]
    update = paths["/admin/v1/tenants/{tenant}"]["put"]
    body = update["requestBody"]["content"]["application/json"]["schema"]
    assert (list(body["properties"]), body["required"]) == (["weight"], ["weight"])
    text = json.dumps(paths)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas
