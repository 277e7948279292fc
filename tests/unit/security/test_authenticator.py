import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.config.tenancy import JwtConfig
from app.errors import (
    InvalidKey,
    InvalidToken,
    KeyExpired,
    KeyRevoked,
    LedgerUnavailable,
    MissingKey,
    Unauthenticated,
)
from app.security.authenticator import Authenticator, authorization_of
from app.security.directory import Delta, Directory, Snapshot, encode
from app.security.identity import Role
from app.security.keys import KeyRecord, admin_record, digest, mint, parse
from app.security.tokens import TokenVerifier
from tests.unit.security.provider import AUDIENCE, ISSUER, NOW, RSA, SET, claims, sign

PEPPER = b"p" * 32
ADMIN_KEY = "correct-horse/battery+staple=16!"


def record(key: str, **changes: object) -> KeyRecord:
    key_id, secret = parse(key) or ("", "")
    plain = KeyRecord(
        id=key_id,
        digest=digest(PEPPER, key_id, secret),
        tenant="acme",
        user="ada",
        roles=(Role.DEVELOPER,),
        zone="public",
    )
    return msgspec.structs.replace(plain, **changes)


def directory_of(*records: KeyRecord, admin_key: str = ADMIN_KEY) -> Directory:
    directory = Directory()
    everything = (*records, admin_record(PEPPER, admin_key, "confidential"))
    directory.apply(encode(Snapshot(PEPPER, 1, everything)))
    return directory


KEY = mint()[1]
DIRECTORY = directory_of(record(KEY))
KEYS = Authenticator(DIRECTORY)


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[TokenVerifier]:
    (tmp_path / "jwks.json").write_bytes(SET)
    config = JwtConfig(issuer=ISSUER, audience=AUDIENCE, jwks=str(tmp_path / "jwks.json"))
    verifier = TokenVerifier(config, ["public", "private"])
    yield verifier
    await verifier.close()


@pytest.mark.parametrize(
    "header", [f"Bearer {KEY}", f"bearer   {KEY}", f" BEARER {KEY}\t"], ids=range(3)
)
def test_a_key_names_its_owner(header: str) -> None:
    identity = KEYS.identify(header, NOW)
    assert (identity.tenant, identity.user, identity.max_zone) == ("acme", "ada", "public")
    assert identity.key == record(KEY).id
    assert identity is KEYS.identify(header, NOW)


@pytest.mark.parametrize(
    "header", [None, "", " ", "Bearer", "Bearer ", "bearer\t", "Basic", KEY], ids=range(8)
)
def test_without_a_key_nobody_is_known(header: str | None) -> None:
    with pytest.raises(MissingKey, match="Authorization: Bearer KEY") as refused:
        KEYS.identify(header, NOW)
    assert KEY not in refused.value.message
    assert refused.value.headers()["www-authenticate"] == 'Bearer realm="tidegate"'


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Token", "Bearer:", "Bearer,", "x-api-key"])
def test_no_other_scheme_is_taken(scheme: str) -> None:
    with pytest.raises(MissingKey, match="no other scheme"):
        KEYS.identify(f"{scheme} {KEY}", NOW)


@pytest.mark.parametrize(
    "credential",
    [
        KEY[:-1],
        KEY + "A",
        KEY[:-1] + ("A" if KEY[-1] != "A" else "B"),
        KEY[:20] + mint()[1][20:],
        mint()[1],
        KEY.upper(),
        f"{KEY}, Bearer {KEY}",
        f"{KEY} {KEY}",
        "admin",
        "tg-admin-" + "A" * 43,
        "\xff" * 63,
        "\0",
        "x" * 8192,
        "x" * 100_000,
        "a.b.c",
    ],
    ids=range(15),
)
def test_wrong_keys_are_refused(credential: str) -> None:
    with pytest.raises(InvalidKey) as refused:
        KEYS.identify(f"Bearer {credential}", NOW)
    if len(credential) > 10:
        assert credential not in refused.value.message


@given(st.text(max_size=100))
def test_junk_is_never_more_than_unauthenticated(text: str) -> None:
    for header in (text, f"Bearer {text}"):
        with pytest.raises(Unauthenticated):
            KEYS.identify(header, NOW)


def test_a_secret_of_one_key_does_not_open_another() -> None:
    other = mint()[1]
    directory = directory_of(record(KEY), record(other, tenant="rich"))
    with pytest.raises(InvalidKey):
        Authenticator(directory).identify(f"Bearer {other[:20]}{KEY[20:]}", NOW)


def test_an_expired_key_says_so_to_its_owner_alone() -> None:
    keys = Authenticator(directory_of(record(KEY, expires_at=NOW)))
    assert keys.identify(f"Bearer {KEY}", NOW - 0.001)
    for now in (NOW, NOW + 1e9):
        with pytest.raises(KeyExpired, match=record(KEY).id):
            keys.identify(f"Bearer {KEY}", now)
    with pytest.raises(InvalidKey):
        keys.identify(f"Bearer {KEY[:20]}{mint()[1][20:]}", NOW)


def test_a_revoked_key_stops_at_once_whatever_the_clock_says() -> None:
    directory = directory_of(record(KEY))
    keys = Authenticator(directory)
    assert keys.identify(f"Bearer {KEY}", NOW)
    revoked = record(KEY, revoked_at=NOW + 1000, expires_at=NOW - 1000)
    directory.apply(encode(Delta(2, (revoked,))))
    for now in (0.0, NOW, NOW + 2000):
        with pytest.raises(KeyRevoked):
            keys.identify(f"Bearer {KEY}", now)
    with pytest.raises(InvalidKey):
        keys.identify(f"Bearer {KEY[:20]}{mint()[1][20:]}", NOW)


def test_a_key_that_was_removed_is_like_any_other_wrong_one() -> None:
    directory = directory_of(record(KEY))
    directory.apply(encode(Delta(2, (), (record(KEY).id,))))
    with pytest.raises(InvalidKey):
        Authenticator(directory).identify(f"Bearer {KEY}", NOW)


@pytest.mark.parametrize("key", [ADMIN_KEY, mint()[1], "k" * 512, "a.b.c.d" * 5], ids=range(4))
async def test_the_admin_key_may_be_any_text(key: str, tokens: TokenVerifier) -> None:
    directory = directory_of(record(KEY), admin_key=key)
    for keys in (Authenticator(directory), Authenticator(directory, tokens)):
        identity = await keys.authenticate(f"Bearer {key}", NOW)
        assert identity.roles == {Role.ADMIN}
        assert identity.unlimited
        assert identity.key == "admin"
        with pytest.raises(InvalidKey):
            await keys.authenticate(f"Bearer {key[:-1]}x", NOW)


def test_without_a_directory_nobody_is_let_in_and_nobody_called_wrong() -> None:
    keys = Authenticator(Directory())
    for header in (f"Bearer {KEY}", f"Bearer {ADMIN_KEY}", "Bearer junk"):
        with pytest.raises(LedgerUnavailable, match="try again"):
            keys.identify(header, NOW)
    with pytest.raises(MissingKey):
        keys.identify(None, NOW)


def test_without_an_admin_key_no_text_is_one() -> None:
    directory = Directory()
    directory.apply(encode(Snapshot(PEPPER, 1, (record(KEY),))))
    with pytest.raises(InvalidKey):
        Authenticator(directory).identify("Bearer " + "\0" * 32, NOW)


async def test_a_token_names_its_bearer(tokens: TokenVerifier) -> None:
    keys = Authenticator(DIRECTORY, tokens)
    header = f"Bearer {sign(RSA, 'RS256', claims(), 'rsa')}"
    identity = await keys.authenticate(header, NOW)
    assert (identity.tenant, identity.user) == ("acme", "ada")
    assert identity.key.startswith("jwt-")
    assert len(identity.key) == 36
    assert "ada" not in identity.key
    again = sign(RSA, "RS256", claims(exp=int(NOW) + 60), "rsa")
    assert (await keys.identify_token(f"Bearer {again}", NOW)).key == identity.key
    other = sign(RSA, "RS256", claims(sub="bob"), "rsa")
    assert (await keys.authenticate(f"Bearer {other}", NOW)).key != identity.key
    assert (await keys.authenticate(f"Bearer {KEY}", NOW)).key == record(KEY).id
    with pytest.raises(InvalidToken):
        await keys.authenticate(f"{header}A", NOW)
    with pytest.raises(InvalidToken):
        await keys.identify_token(f"Bearer {KEY}", NOW)


async def test_tokens_are_wrong_keys_where_none_are_taken() -> None:
    header = f"Bearer {sign(RSA, 'RS256', claims(), 'rsa')}"
    with pytest.raises(InvalidKey):
        await KEYS.authenticate(header, NOW)
    with pytest.raises(InvalidKey, match="no tokens"):
        await KEYS.identify_token(header, NOW)


def test_one_authorization_header_is_read() -> None:
    assert authorization_of([]) is None
    assert (
        authorization_of([(b"host", b"a"), (b"authorization", b"Bearer k\xff")]) == "Bearer k\xff"
    )
    with pytest.raises(InvalidKey, match="2 Authorization headers"):
        authorization_of([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer a")])


def test_ten_thousand_wrong_keys_cost_little_and_leave_nothing() -> None:
    known = record(KEY).id
    wrong = [f"Bearer {mint()[1]}" for _ in range(8000)]
    wrong += [f"Bearer tg-{known}-{mint()[1][20:]}" for _ in range(1000)]
    wrong += [f"Bearer {number:x}" * 40 for number in range(1000)]

    def try_all() -> None:
        for header in wrong:
            try:
                KEYS.identify(header, NOW)
            except InvalidKey:
                continue
            raise AssertionError("a wrong key was taken")

    started = time.process_time()
    try_all()
    took = time.process_time() - started
    assert took < 1.0, f"10,000 wrong keys took {took:.2f} s"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        try_all()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 16_384
    assert peak - before < 65_536
    assert len(DIRECTORY) == 2


async def test_ten_thousand_wrong_tokens_leave_nothing(tokens: TokenVerifier) -> None:
    keys = Authenticator(DIRECTORY, tokens)
    good = sign(RSA, "RS256", claims(), "rsa")
    await keys.authenticate(f"Bearer {good}", NOW)
    head, payload, signature = good.split(".")
    started = time.process_time()
    for number in range(10_000):
        forged = f"{head}.{payload}.{number:08d}{signature[8:]}"
        with pytest.raises(InvalidToken):
            await keys.authenticate(f"Bearer {forged}", NOW)
    took = time.process_time() - started
    assert took < 10.0, f"10,000 wrong tokens took {took:.2f} s"
    assert len(tokens._verified) == 1


def test_an_unknown_id_takes_as_long_as_a_known_one() -> None:
    def cost(header: str) -> float:
        best = float("inf")
        for _ in range(30):
            started = time.perf_counter()
            for _ in range(100):
                try:
                    KEYS.identify(header, NOW)
                except InvalidKey:
                    continue
            best = min(best, time.perf_counter() - started)
        return best

    known = cost(f"Bearer {KEY[:20]}{mint()[1][20:]}")
    unknown = cost(f"Bearer {mint()[1]}")
    assert 0.5 < unknown / known < 2
