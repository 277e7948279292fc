import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key

from app.admission.tier import Tier
from app.config.tenancy import JwtConfig
from app.errors import InvalidToken
from app.security.algorithms import ALGORITHMS, check_algorithms, check_location
from app.security.identity import Role
from app.security.tokens import TokenVerifier, VerifiedToken, looks_like_token
from tests.unit.security.provider import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    NOW,
    OTHER_RSA,
    RSA,
    SET,
    b64,
    claims,
    key_set,
    public,
    sign,
)

ZONES = ["public", "private", "confidential"]

Verify = Callable[[str], Awaitable[VerifiedToken]]


def config(jwks: Path | str, **changes: Any) -> JwtConfig:
    return JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks=str(jwks), **changes)


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(SET)
    return path


@pytest.fixture
async def verifier(jwks: Path) -> AsyncIterator[TokenVerifier]:
    verifier = TokenVerifier(config(jwks), ZONES)
    yield verifier
    await verifier.close()


@pytest.fixture
def verify(verifier: TokenVerifier) -> Verify:
    return lambda token: verifier.verify(token, NOW)


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
async def test_a_signed_token_names_its_bearer(
    verify: Verify, key: Key, algorithm: str, kid: str
) -> None:
    found = await verify(sign(key, algorithm, claims(), kid))
    identity = found.identity
    assert (identity.tenant, identity.user, identity.max_zone) == ("acme", "ada", "public")
    assert identity.roles == {Role.DEVELOPER}
    assert identity.tiers == {Tier.STANDARD, Tier.BATCH}
    assert identity.models is None
    assert not identity.unlimited
    assert found.subject == f"{len(ISSUER)}:{ISSUER}ada"


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS384", RSA),
        ("RS512", RSA),
        ("PS256", RSA),
        ("PS384", RSA),
        ("PS512", RSA),
        ("ES384", ECKey.generate_key("P-384")),
        ("ES512", ECKey.generate_key("P-521")),
        ("Ed25519", ED),
    ],
)
async def test_every_algorithm_that_can_be_allowed_works(
    tmp_path: Path, algorithm: str, key: Key
) -> None:
    (tmp_path / "set").write_bytes(key_set(public(key, "k")))
    verifier = TokenVerifier(config(tmp_path / "set", algorithms=(algorithm,)), ZONES)
    assert await verifier.verify(sign(key, algorithm, claims(), "k"), NOW)
    with pytest.raises(InvalidToken, match="algorithm"):
        await verifier.verify(sign(RSA, "RS256", claims(), "k"), NOW)


async def test_without_a_key_id_the_only_fitting_key_is_taken(verify: Verify) -> None:
    assert await verify(sign(RSA, "RS256", claims()))


async def test_without_a_key_id_nothing_is_guessed(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(key_set(public(RSA, "a"), public(OTHER_RSA, "b")))
    verifier = TokenVerifier(config(tmp_path / "set"), ZONES)
    with pytest.raises(InvalidToken, match="does not publish"):
        await verifier.verify(sign(RSA, "RS256", claims()), NOW)
    assert await verifier.verify(sign(OTHER_RSA, "RS256", claims(), "b"), NOW)


def unsigned(algorithm: str, signature: str = "", **changes: Any) -> str:
    header = json.dumps({"alg": algorithm, "typ": "JWT", "kid": "rsa"})
    payload = json.dumps(claims(**changes))
    return f"{b64(header.encode())}.{b64(payload.encode())}.{signature}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AAAA"])
async def test_unsigned_tokens_are_refused(verify: Verify, algorithm: str, signature: str) -> None:
    with pytest.raises(InvalidToken, match="algorithm"):
        await verify(unsigned(algorithm, signature))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_the_public_key_is_no_shared_secret(verify: Verify, algorithm: str) -> None:
    raw = RSA.public_key
    forms = [
        raw.public_bytes(encoding, layout)
        for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER)
        for layout in (
            serialization.PublicFormat.SubjectPublicKeyInfo,
            serialization.PublicFormat.PKCS1,
        )
    ]
    signed = unsigned(algorithm).rpartition(".")[0]
    for secret in [*forms, SET, json.dumps(public(RSA, "rsa")).encode(), b""]:
        mac = hmac.digest(secret, signed.encode(), hashlib.new(f"sha{algorithm[2:]}").name)
        with pytest.raises(InvalidToken, match="algorithm"):
            await verify(f"{signed}.{b64(mac)}")


async def test_forged_tokens_are_refused(verify: Verify) -> None:
    good = sign(RSA, "RS256", claims(), "rsa")
    head, _, signature = good.split(".")
    payload = b64(json.dumps(claims(tenant="rich")).encode())
    forged = [
        f"{head}.{payload}.{signature}",
        f"{head}.{payload}.",
        good[:-2],
        good[:-6] + "AAAAAA",
        sign(OTHER_RSA, "RS256", claims(), "rsa"),
        sign(OTHER_RSA, "RS256", claims()),
        # Another algorithm's signature by the right key, and the right algorithm's by another.
        f"{head}.{payload}.{sign(EC, 'ES256', claims(), 'ec').split('.')[2]}",
    ]
    for token in forged:
        with pytest.raises(InvalidToken, match=r"signature|not a signed"):
            await verify(token)


async def test_every_changed_character_is_found(verify: Verify) -> None:
    good = sign(ED, "EdDSA", claims(), "ed")
    for at in range(len(good)):
        changed = good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :]
        with pytest.raises(InvalidToken):
            await verify(changed)


@pytest.mark.parametrize(
    "kid",
    [
        "ec",
        "missing",
        "",
        "../../../../dev/null",
        "rsa\0",
        "RSA",
        "' OR 1=1 --",
        "https://evil.example/key",
        "k" * 3000,
        7,
        ["rsa"],
        {"kid": "rsa"},
        True,
    ],
)
async def test_key_ids_lead_nowhere_else(verify: Verify, kid: Any) -> None:
    with pytest.raises(InvalidToken):
        await verify(sign(RSA, "RS256", claims(), kid=kid))


async def test_a_key_is_not_used_for_another_algorithm(verify: Verify) -> None:
    mixed: list[tuple[Key, str, str]] = [
        (RSA, "RS256", "ec"),
        (ED, "EdDSA", "rsa"),
        (EC, "ES256", "ed"),
    ]
    for key, algorithm, kid in mixed:
        with pytest.raises(InvalidToken, match="does not publish"):
            await verify(sign(key, algorithm, claims(), kid))


async def test_keys_and_addresses_in_the_header_mean_nothing(verify: Verify) -> None:
    extras: list[dict[str, Any]] = [
        {"jwk": public(OTHER_RSA, "rsa")},
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"x5c": ["MIIB"]},
    ]
    for extra in extras:
        with pytest.raises(InvalidToken, match=r"signature|not a signed"):
            await verify(sign(OTHER_RSA, "RS256", claims(), "rsa", **extra))


@pytest.mark.parametrize(
    "extra",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"b64": True},
        {"crit": "exp"},
        {"typ": "logout+jwt"},
        {"typ": "dpop+jwt"},
        {"typ": 3},
        {"typ": None},
    ],
)
async def test_strange_headers_are_refused(verify: Verify, extra: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        await verify(sign(RSA, "RS256", claims(), "rsa", **extra))


async def test_harmless_headers_are_taken(verify: Verify) -> None:
    token = sign(RSA, "RS256", claims(), "rsa", typ="at+JWT", x5t="abc", nonce="n", x5c=["M" * 900])
    assert await verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": None},
        {"iss": ISSUER + "/"},
        {"iss": ISSUER.upper()},
        {"iss": [ISSUER]},
        {"iss": {}},
        {"aud": None},
        {"aud": "other"},
        {"aud": []},
        {"aud": ["other", 3, None]},
        {"aud": {AUDIENCE: 1}},
        {"aud": AUDIENCE + " other"},
        {"exp": None},
        {"exp": int(NOW) - 31},
        {"exp": 0},
        {"exp": -1},
        {"exp": str(int(NOW) + 300)},
        {"exp": True},
        {"exp": [int(NOW) + 300]},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"exp": 1e300},
        {"nbf": int(NOW) + 31},
        {"nbf": "now"},
        {"nbf": float("nan")},
        {"iat": int(NOW) + 31},
        {"iat": float("inf")},
        {"iat": {}},
        {"sub": None, "user": "ada"},
        {"sub": ""},
        {"sub": "a" * 200},
        {"sub": "ada lovelace"},
        {"sub": "ada\n"},
        {"sub": 7},
        {"sub": ["ada"]},
        {"sub": "-ada"},
        {"tenant": None},
        {"tenant": "acme/../rich"},
        {"tenant": "\uff41cme"},
        {"tenant": {}},
        {"zone": "secret"},
        {"zone": ""},
        {"zone": ["public"]},
        {"zone": 1},
        {"roles": ["developer", "root"]},
        {"roles": "developer,admin"},
        {"roles": {"admin": True}},
        {"roles": [["admin"]]},
        {"roles": 1},
        {"roles": ["developer"] * 101},
        {"tiers": ["urgent"]},
        {"tiers": "critical urgent"},
        {"models": [1]},
        {"models": {"tide": 1}},
        {"models": ["m" * 129]},
    ],
)
async def test_wrong_claims_are_refused(verify: Verify, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        await verify(sign(RSA, "RS256", claims(**changes), "rsa"))


async def test_null_is_not_the_same_as_missing(verify: Verify) -> None:
    for claim in ["zone", "roles", "tiers", "models", "nbf", "iat", "exp", "sub", "tenant"]:
        payload = claims() | {claim: None}
        with pytest.raises(InvalidToken):
            await verify(sign(RSA, "RS256", payload, "rsa"))


async def test_clocks_may_differ_a_little(jwks: Path, verify: Verify) -> None:
    assert await verify(sign(RSA, "RS256", claims(exp=int(NOW) - 29), "rsa"))
    assert await verify(sign(RSA, "RS256", claims(nbf=int(NOW) + 29, iat=int(NOW) + 29), "rsa"))
    strict = TokenVerifier(config(jwks, clock_skew_s=0.0), ZONES)
    with pytest.raises(InvalidToken, match="expired"):
        await strict.verify(sign(RSA, "RS256", claims(exp=int(NOW)), "rsa"), NOW)
    assert await strict.verify(sign(RSA, "RS256", claims(exp=int(NOW) + 1, nbf=NOW), "rsa"), NOW)


async def test_a_remembered_token_expires_all_the_same(verifier: TokenVerifier) -> None:
    token = sign(RSA, "RS256", claims(), "rsa")
    first = await verifier.verify(token, NOW)
    assert await verifier.verify(token, NOW + 1) is first
    with pytest.raises(InvalidToken, match="expired"):
        await verifier.verify(token, NOW + 330)
    with pytest.raises(InvalidToken, match="not valid yet"):
        await verifier.verify(token, NOW - 41)
    assert await verifier.verify(token, NOW + 2) is first


async def test_rights_come_from_the_claims(verify: Verify) -> None:
    payload = claims(
        aud=["other", AUDIENCE],
        zone="private",
        roles="developer operator",
        models=["tide", "org/large"],
        tiers=["critical"],
    )
    identity = (await verify(sign(RSA, "RS256", payload, "rsa"))).identity
    assert identity.max_zone == "private"
    assert identity.roles == {Role.DEVELOPER, Role.OPERATOR}
    assert identity.models == frozenset({"tide", "org/large"})
    assert identity.tiers == {Tier.CRITICAL}


async def test_empty_lists_give_nothing(verify: Verify) -> None:
    payload = claims(roles=[], models=[], tiers="")
    identity = (await verify(sign(RSA, "RS256", payload, "rsa"))).identity
    assert identity.roles == set()
    assert identity.models == frozenset()
    assert identity.tiers == set()


async def test_no_token_is_unlimited(verify: Verify) -> None:
    payload = claims(roles=["admin"], unlimited=True, tiers=list(Tier), zone="confidential")
    identity = (await verify(sign(RSA, "RS256", payload, "rsa"))).identity
    assert identity.roles == {Role.ADMIN}
    assert not identity.unlimited


async def test_claims_are_found_by_dots_and_by_full_names(jwks: Path) -> None:
    names = config(
        jwks,
        tenant_claim="org.unit.name",
        user_claim="email",
        roles_claim="realm_access.roles",
        zone_claim="https://acme.example/zone",
    )
    verifier = TokenVerifier(names, ZONES)
    payload = claims(tenant=None, sub="auth0|7", email="ada@acme.example")
    payload |= {
        "org": {"unit": {"name": "research"}},
        "realm_access": {"roles": ["batch"]},
        "https://acme.example/zone": "confidential",
    }
    found = await verifier.verify(sign(RSA, "RS256", payload, "rsa"), NOW)
    assert found.identity.tenant == "research"
    assert found.identity.user == "ada@acme.example"
    assert found.identity.max_zone == "confidential"
    assert found.identity.roles == {Role.BATCH}
    assert found.identity.tiers == {Tier.BATCH}
    assert found.subject.endswith("auth0|7")
    for org in [{"unit": "research"}, {"unit": {"name": {}}}, "research", None, []]:
        with pytest.raises(InvalidToken, match=r"org\.unit\.name"):
            await verifier.verify(sign(RSA, "RS256", payload | {"org": org}, "rsa"), NOW)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'"acme"',
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 3500,
        b'{"exp":' + b"9" * 4500 + b"}",
    ],
)
async def test_strange_payloads_are_refused(verify: Verify, payload: bytes) -> None:
    with pytest.raises(InvalidToken):
        await verify(sign(RSA, "RS256", payload, "rsa"))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b'["alg","b64"]',
        b'"alg b64"',
        b"7",
        b"null",
        b"{",
        b"{}",
        b"\xff",
        b"[" * 5000,
        b'{"alg":["RS256"]}',
        b'{"alg":{}}',
        b'{"alg":null}',
    ],
)
async def test_strange_headers_are_no_crash(verify: Verify, header: bytes) -> None:
    with pytest.raises(InvalidToken):
        await verify(f"{b64(header)}.{b64(json.dumps(claims()).encode())}.AAAA")


async def test_long_tokens_are_not_looked_at(verify: Verify) -> None:
    token = sign(RSA, "RS256", claims(padding="p" * 8000), "rsa")
    with pytest.raises(InvalidToken, match="longer than 8192"):
        await verify(token)


async def test_an_encrypted_token_is_refused(verify: Verify) -> None:
    with pytest.raises(InvalidToken):
        await verify("eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA")


def test_junk_is_refused_without_a_crash(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("jwks") / "set"
    path.write_bytes(SET)
    verifier = TokenVerifier(config(path), ZONES)

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=200) | st.from_regex(r"[\w-]{1,40}\.[\w-]{0,40}\.[\w-]{0,40}"))
    def junk(token: str) -> None:
        coroutine = verifier._payload(token)
        with pytest.raises(InvalidToken):
            coroutine.send(None)

    junk()


def test_what_looks_like_a_token() -> None:
    assert looks_like_token(sign(RSA, "RS256", claims()))
    assert looks_like_token("a.b.")
    for other in [
        "",
        "a.b",
        "a.b.c.d",
        "tg-" + "a" * 16,
        "a..c",
        "a.b.c\n",
        "a.b c.d",
        "\u00e4.b.c",
    ]:
        assert not looks_like_token(other)


def test_symmetric_and_unsigned_algorithms_cannot_be_allowed(jwks: Path) -> None:
    assert check_algorithms(ALGORITHMS) == []
    assert check_algorithms(JwtConfig.model_fields["algorithms"].default) == []
    problems = check_algorithms(
        ["RS256", "none", "HS256", "hs512", "NONE", "ES256K", "rs256", "dir"]
    )
    assert len(problems) == 7
    assert "unsigned" in problems[0]
    assert "symmetric" in problems[1]
    assert check_algorithms([]) == ["name at least one algorithm, such as RS256"]
    for name in ["none", "HS256", "ES256K"]:
        with pytest.raises(ValueError, match=name):
            TokenVerifier(config(jwks, algorithms=("RS256", name)), ZONES)


def test_keys_come_from_a_file_or_over_https() -> None:
    for good in [
        "/etc/jwks.json",
        "jwks.json",
        "https://login.example/keys?a=b",
        "https://h:8443/",
    ]:
        assert check_location(good) == []
    for bad in [
        "http://login.example/keys",
        "ftp://login.example/keys",
        "file:///etc/jwks.json",
        "https:///keys",
        "https://user:secret@login.example/",
        "https://login.example:99999/",
        "https://[::1/",
    ]:
        (problem,) = check_location(bad)
        assert "secret" not in problem
