import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from app.config.tenancy import JwtConfig
from app.errors import InvalidToken, Overloaded, StoreUnavailable
from app.security import jwks
from app.security.jwks import KeySource
from app.security.public_keys import read_keys
from app.security.tokens import TokenVerifier
from tests.unit.security.provider import (
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    NOW,
    OTHER_RSA,
    RSA,
    SET,
    Provider,
    b64,
    claims,
    key_set,
    public,
    serve,
    sign,
)

REFRESH_S = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    async with serve(tmp_path) as provider:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        yield provider


@pytest.fixture
async def verifier(provider: Provider, clock: Clock) -> AsyncIterator[TokenVerifier]:
    config = JwtConfig(
        issuer=ISSUER, audience=AUDIENCE, jwks=provider.url, jwks_refresh_s=REFRESH_S
    )
    verifier = TokenVerifier(config, ["public"], clock=clock)
    yield verifier
    await verifier.close()


@pytest.fixture
async def source(provider: Provider, clock: Clock) -> AsyncIterator[KeySource]:
    source = KeySource(provider.url, REFRESH_S, clock=clock)
    yield source
    await source.close()


def token(key: RSAKey = RSA, kid: str = "rsa") -> str:
    return sign(key, "RS256", claims(), kid)


async def settle(provider: Provider, asked: int) -> None:
    async with asyncio.timeout(5):
        while provider.asked < asked:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)


async def test_keys_are_fetched_once_for_many_tokens(
    provider: Provider, verifier: TokenVerifier
) -> None:
    provider.delay_s = 0.05
    assert len(await asyncio.gather(*(verifier.verify(token(), NOW) for _ in range(50)))) == 50
    assert await verifier.verify(sign(EC, "ES256", claims(), "ec"), NOW)
    assert provider.asked == 1


async def test_a_server_without_a_trusted_certificate_is_not_believed(
    provider: Provider, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(StoreUnavailable, match="cannot be read"):
        await verifier.verify(token(), NOW)
    assert provider.asked == 0


async def test_a_new_key_is_found_by_its_id(
    provider: Provider, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(token(), NOW)
    provider.body = key_set(public(RSA, "rsa"), public(OTHER_RSA, "new"))
    with pytest.raises(InvalidToken, match="does not publish"):
        await verifier.verify(token(OTHER_RSA, "new"), NOW)
    clock.now += 10
    assert await verifier.verify(token(OTHER_RSA, "new"), NOW)
    assert provider.asked == 2


async def test_unknown_key_ids_ask_at_most_every_ten_seconds(
    provider: Provider, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(token(), NOW)
    for second in range(25):
        clock.now += 1
        for number in range(20):
            with pytest.raises(InvalidToken):
                await verifier.verify(token(OTHER_RSA, f"{second}-{number}"), NOW)
    assert provider.asked == 3


async def test_old_keys_are_used_while_new_ones_come(
    provider: Provider, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(token(), NOW)
    provider.delay_s = 0.3
    clock.now += REFRESH_S
    async with asyncio.timeout(0.2):
        await verifier.verify(token(), NOW)
    await settle(provider, 2)


async def test_after_a_long_silence_the_keys_are_read_first(
    provider: Provider, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(token(), NOW)
    provider.body = key_set(public(OTHER_RSA, "new"))
    clock.now += 2 * REFRESH_S
    with pytest.raises(InvalidToken, match="does not publish"):
        await verifier.verify(token(), NOW)


async def test_a_withdrawn_key_takes_remembered_tokens_with_it(
    provider: Provider, verifier: TokenVerifier, clock: Clock
) -> None:
    await verifier.verify(token(), NOW)
    provider.body = key_set(public(OTHER_RSA, "new"))
    clock.now += REFRESH_S
    await verifier.verify(token(), NOW)
    await settle(provider, 2)
    with pytest.raises(InvalidToken, match="does not publish"):
        await verifier.verify(token(), NOW)
    assert len(verifier._verified) == 0


FAULTS: list[dict[str, Any]] = [
    {"status": "500 Internal Server Error"},
    {"status": "404 Not Found"},
    {"status": "302 Found", "headers": ["location: https://127.0.0.1:1/"]},
    {"status": "204 No Content", "body": b""},
    {"body": b""},
    {"body": b"<html>sign in</html>"},
    {"body": b"[]"},
    {"body": b'{"keys": {}}'},
    {"body": b'{"keys": []}'},
    {"body": b"[" * 100_000},
    {"body": b" " * (jwks.MOST_BYTES + 1)},
    {"body": key_set(*[public(RSA, str(n)) for n in range(101)])},
    {"headers": ["content-encoding: gzip"]},
    {"headers": ["broken"]},
]


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
async def test_the_last_good_set_is_kept(
    provider: Provider, verifier: TokenVerifier, clock: Clock, fault: dict[str, Any]
) -> None:
    await verifier.verify(token(), NOW)
    for name, value in fault.items():
        setattr(provider, name, value)
    clock.now += 2 * REFRESH_S
    assert await verifier.verify(token(), NOW)
    assert provider.asked == 2
    # While the provider is ill, it is asked again every 10 seconds, and nobody waits for that.
    for _ in range(5):
        assert await verifier.verify(token(), NOW)
    assert provider.asked == 2
    clock.now += 10
    assert await verifier.verify(token(), NOW)
    await settle(provider, 3)


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
async def test_without_any_keys_no_token_is_taken(
    provider: Provider, verifier: TokenVerifier, clock: Clock, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(provider, name, value)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="try again"):
            await verifier.verify(token(), NOW)
    assert provider.asked == 1
    provider.status, provider.body, provider.headers = "200 OK", SET, []
    clock.now += 1
    assert await verifier.verify(token(), NOW)


async def test_a_provider_that_does_not_answer_is_given_up(
    provider: Provider, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_S", 0.1)
    provider.delay_s = 3
    async with asyncio.timeout(1):
        with pytest.raises(StoreUnavailable):
            await verifier.verify(token(), NOW)


async def test_a_client_that_leaves_does_not_end_the_reading(
    provider: Provider, source: KeySource
) -> None:
    provider.delay_s = 0.1
    leaving = asyncio.create_task(source.refresh())
    staying = asyncio.create_task(source.refresh())
    await asyncio.sleep(0.02)
    leaving.cancel()
    await staying
    assert leaving.cancelled()
    assert provider.asked == 1
    assert len(await source.keys("RS256", "rsa")) == 1


async def test_few_requests_wait_for_the_provider(
    provider: Provider, source: KeySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_MOST_WAITING", 5)
    provider.delay_s = 0.1
    answers = await asyncio.gather(*(source.refresh() for _ in range(20)), return_exceptions=True)
    assert sum(answer is None for answer in answers) == 5
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 15


async def test_closing_ends_a_reading(provider: Provider, clock: Clock) -> None:
    source = KeySource(provider.url, REFRESH_S, clock=clock)
    provider.delay_s = 3
    waiting = asyncio.create_task(source.refresh())
    await asyncio.sleep(0.1)
    async with asyncio.timeout(1):
        await source.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_file_is_read_again(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "set"
    path.write_bytes(SET)
    source = KeySource(str(path), REFRESH_S, clock=clock)
    await source.refresh()
    assert source.generation == 1
    path.write_bytes(key_set(public(OTHER_RSA, "new")))
    clock.now += 2 * REFRESH_S
    await source.refresh()
    assert source.generation == 2
    assert await source.keys("RS256", "new")
    path.unlink()
    clock.now += 2 * REFRESH_S
    await source.refresh()
    assert await source.keys("RS256", "new")
    await source.close()


async def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_bytes(SET + b" " * jwks.MOST_BYTES)
    with pytest.raises(StoreUnavailable):
        await KeySource(str(path), REFRESH_S).refresh()


def small_rsa() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    return {"kty": "RSA", "n": b64(numbers.n.to_bytes(128)), "e": "AQAB"}


UNUSABLE: list[Any] = [
    None,
    "key",
    {},
    {"kty": "RSA"},
    {"kty": "EC", "crv": "P-256"},
    {"kty": ["RSA"], "n": "AQAB", "e": "AQAB"},
    public(RSA, use="enc"),
    public(RSA, key_ops=["encrypt"]),
    public(RSA, key_ops="verify"),
    public(RSA, kid=None) | {"kid": 7},
    public(RSA, alg=7),
    public(RSA) | {"n": "!!!"},
    public(RSA) | {"n": 5},
    public(RSA) | {"e": "AQ"},
    {"kty": "RSA", "n": "A" * 100_000, "e": "AQAB"},
    {"kty": "RSA", "n": b64(b"\xff" * 1025), "e": "AQAB"},
    small_rsa(),
    public(EC) | {"x": b64(bytes(32))},
    public(EC) | {"crv": "P-384"},
    public(ED) | {"crv": "X25519"},
    public(ED) | {"x": "AAAA"},
    public(ECKey.generate_key("secp256k1")),
    public(OKPKey.generate_key("Ed448")),
    OctKey.generate_key(256).as_dict(),
]


@pytest.mark.parametrize("entry", UNUSABLE, ids=range(len(UNUSABLE)))
def test_unusable_keys_are_passed_over(entry: Any) -> None:
    keys = read_keys(json.dumps({"keys": [entry, public(ED, "ed")]}).encode())
    assert [key.id for key in keys] == ["ed"]
    with pytest.raises(ValueError, match="no public key"):
        read_keys(json.dumps({"keys": [entry]}).encode())


def test_the_private_part_of_a_careless_set_is_left_alone() -> None:
    content = json.dumps({"keys": [RSA.as_dict(private=True), EC.as_dict(private=True)]})
    assert [key.key.is_private for key in read_keys(content.encode())] == [False, False]


async def test_a_key_may_be_for_one_algorithm_alone(tmp_path: Path) -> None:
    path = tmp_path / "set"
    path.write_bytes(key_set(public(RSA, "a", alg="PS256"), public(ED, "b", alg="EdDSA")))
    source = KeySource(str(path), REFRESH_S)
    await source.refresh()
    assert not source._find("RS256", "a")
    assert source._find("PS256", "a")
    assert source._find("Ed25519", "b")
