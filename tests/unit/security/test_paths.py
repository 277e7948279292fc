import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import NotFound, RoleForbidden, TidegateError
from app.security.identity import Identity, Role
from app.security.paths import authorise, is_admin, is_open, path_of

GENERATING = ["/v1/chat/completions", "/v1/completions", "/v1/responses"]
ADMIN = ["/admin/v1/keys", "/admin/v1/keys/abc/rotate", "/admin/v1/tenants/acme/users/a@b.example"]


def someone(*roles: Role) -> Identity:
    return Identity(tenant="acme", user="ada", max_zone="public", roles=frozenset(roles))


@pytest.mark.parametrize("role", list(Role))
def test_every_role_asks_models(role: Role) -> None:
    for path in [*GENERATING, "/v1/models", "/openapi.json"]:
        authorise(someone(role), "POST", path)


@pytest.mark.parametrize("path", ADMIN)
def test_admin_routes_are_for_those_who_manage(path: str) -> None:
    authorise(someone(Role.ADMIN), "GET", path)
    authorise(someone(Role.OPERATOR, Role.DEVELOPER), "DELETE", path)
    for roles in [(Role.DEVELOPER,), (Role.BATCH,), (Role.DEVELOPER, Role.BATCH)]:
        with pytest.raises(RoleForbidden, match="admin, operator"):
            authorise(someone(*roles), "GET", path)


def test_without_a_role_nothing_is_allowed() -> None:
    for path in [*GENERATING, *ADMIN, "/v1/models", "/openapi.json"]:
        with pytest.raises(RoleForbidden, match="none"):
            authorise(someone(), "GET", path)


def test_probes_are_open() -> None:
    for path in ["/livez", "/readyz"]:
        assert is_open(path)
        authorise(someone(), "GET", path)
    assert not is_open("/livez/")
    assert not is_open("/v1/models")


TRICKS = [
    "/v1/Models",
    "/V1/models",
    "/v1/models/",
    "//v1/models",
    "/v1//models",
    "/./v1/models",
    "/v1/./models",
    "/livez/../v1/models",
    "/v1/models;a=b",
    "/v1/models\0",
    "/v1/models ",
    "\\v1\\models",
    "http://elsewhere/v1/models",
    "*",
    "",
    "/",
    "/v1/chat/completions/../../../admin/v1/keys",
    "/admin/v1",
    "/admin/v1/",
    "/admin/v1//keys",
    "/admin/v1/keys/",
    "/admin/v1/./keys",
    "/admin/v1/../v1/keys",
    "/admin/v1/keys/..",
    "/admin/v1/keys/%2e%2e",
    "/admin/v1/keys\n",
    "/admin/v1/k\u00e9ys",
    "/admin/v1/keys;x",
    "/admin/v1/\uff4beys",
    "/Admin/v1/keys",
    "/admin/V1/keys",
    "/admin/v2/keys",
    "/admin/v1keys",
    "//admin/v1/keys",
    "/admin/v1/" + "a" * 2000,
]


@pytest.mark.parametrize("path", TRICKS)
def test_other_spellings_lead_nowhere(path: str) -> None:
    for identity in [someone(Role.ADMIN), someone(Role.DEVELOPER), someone()]:
        with pytest.raises(NotFound):
            authorise(identity, "GET", path)
    assert not is_open(path)


@given(st.text(max_size=40), st.sampled_from([(), (Role.BATCH,), (Role.DEVELOPER,)]))
def test_no_path_leads_the_others_to_admin_routes(tail: str, roles: tuple[Role, ...]) -> None:
    with pytest.raises(TidegateError):
        authorise(someone(*roles), "GET", "/admin/v1/" + tail)


@given(st.text(alphabet="/.%adminv1keys-", max_size=30))
def test_an_admin_path_has_plain_segments(text: str) -> None:
    if is_admin(text):
        segments = text.split("/")
        assert segments[:3] == ["", "admin", "v1"]
        assert all(segments[3:])
        assert not any(segment.startswith(".") or "%" in segment for segment in segments)


@pytest.mark.parametrize(
    "raw",
    [
        b"/admin%2Fv1/keys",
        b"/admin%2fv1/keys",
        b"/%61dmin/v1/keys",
        b"/admin/v1/%2e%2e/keys",
        b"/admin%5Cv1/keys",
        b"/admin/v1/keys%00",
        b"/admin/v1/keys%0a",
        b"/admin/v1/keys%3Fa",
        b"/admin/v1/keys%23",
        b"/admin/v1/%252e",
        b"/admin/v1/k%C3%A9ys",
        b"/admin/v1/keys%",
        b"/admin/v1/keys%4",
    ],
)
def test_needless_encoding_leads_nowhere(raw: bytes) -> None:
    with pytest.raises(NotFound):
        path_of({"path": "/admin/v1/keys", "raw_path": raw})


def test_names_may_be_encoded() -> None:
    path = "/admin/v1/tenants/acme/users/a+b@c:d"
    raw = b"/admin/v1/tenants/acme/users/a%2bb%40c%3Ad?x=%2F"
    assert path_of({"path": path, "raw_path": raw}) == path
    assert path_of({"path": path}) == path
    assert path_of({"path": path, "raw_path": None}) == path


def test_a_host_header_means_nothing() -> None:
    scope = {
        "path": "/admin/v1/keys",
        "raw_path": b"/admin/v1/keys",
        "headers": [(b"host", b"evil/livez?"), (b"x-original-url", b"/livez")],
        "root_path": "/livez",
    }
    assert path_of(scope) == "/admin/v1/keys"
