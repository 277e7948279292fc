"""The metadata service over real HTTP, from a fake that keeps to the protocol and one that lies."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from autoscaling.notices import Seen
from deployments import notices
from deployments.notices import ENDPOINT_VARIABLE, MetadataService, MetadataUnavailable, notice
from tests.metadata_service import ACTION, REBALANCE, TOKEN, MetadataServer


@pytest.fixture
def server() -> Iterator[MetadataServer]:
    with MetadataServer() as server:
        yield server


@pytest.fixture
async def service(
    server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[MetadataService]:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    service = MetadataService(server.url)
    yield service
    await service.close()


async def test_without_a_notice_there_is_none(
    server: MetadataServer, service: MetadataService
) -> None:
    assert await service.look() == Seen()
    assert await service.look() == Seen()
    assert server.asked[TOKEN] == 1


async def test_a_notice_is_read_with_its_time(
    server: MetadataServer, service: MetadataService
) -> None:
    at = server.preempt(120)
    seen = await service.look()
    assert seen.action == "terminate"
    assert seen.at == pytest.approx(at, abs=1.0)
    server.withdraw()
    assert await service.look() == Seen()


async def test_a_recommendation_is_read(server: MetadataServer, service: MetadataService) -> None:
    server.recommend()
    assert await service.look() == Seen(rebalance=True)


async def test_a_token_that_has_expired_is_renewed(
    server: MetadataServer, service: MetadataService
) -> None:
    await service.look()
    server.forget_tokens()
    assert await service.look() == Seen()
    assert server.asked[TOKEN] == 2


async def test_the_environment_says_where_it_is(
    server: MetadataServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT_VARIABLE, server.url)
    service = MetadataService("http://127.0.0.1:1")
    assert await service.look() == Seen()
    await service.close()


async def test_a_service_that_hangs_fails_in_time(
    server: MetadataServer, service: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "TIMEOUT_S", 0.1)
    server.hangs = True
    async with asyncio.timeout(5):
        with pytest.raises(MetadataUnavailable):
            await service.look()


async def test_a_service_that_fails_is_no_notice(
    server: MetadataServer, service: MetadataService
) -> None:
    await service.look()
    server.status = 500
    with pytest.raises(MetadataUnavailable, match="500"):
        await service.look()


async def test_nobody_is_followed_elsewhere(
    server: MetadataServer, service: MetadataService
) -> None:
    with MetadataServer() as other:
        other.preempt()
        server.redirect = other.url + ACTION
        with pytest.raises(MetadataUnavailable):
            await service.look()
        assert not other.asked


async def test_a_service_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENDPOINT_VARIABLE, raising=False)
    service = MetadataService("http://127.0.0.1:1")
    with pytest.raises(MetadataUnavailable, match="ConnectError"):
        await service.look()
    await service.close()


async def test_an_endless_answer_is_cut_off(
    server: MetadataServer, service: MetadataService
) -> None:
    server.documents[ACTION] = b" " * 1_000_000
    with pytest.raises(MetadataUnavailable, match="more than 4096 bytes"):
        await service.look()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"terminate"',
        b"{}",
        b'{"action": 1}',
        b'{"action": ["terminate"]}',
        b'{"action": "dance", "time": "2026-01-01T00:00:00Z"}',
        b"[" * 4000,
    ],
)
async def test_garbage_is_no_notice(
    body: bytes, server: MetadataServer, service: MetadataService
) -> None:
    server.documents[ACTION] = body
    with pytest.raises(MetadataUnavailable):
        await service.look()
    server.withdraw()
    server.documents[REBALANCE] = body
    if body != b"{}" and not body.startswith(b'{"'):
        with pytest.raises(MetadataUnavailable):
            await service.look()


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("2026-01-01T00:00:00Z", 1767225600.0),
        ("2026-01-01T01:00:00+01:00", 1767225600.0),
        ("2026-01-01T00:00:00", 1767225600.0),
        ("soon", None),
        (12, None),
        (None, None),
        ("9999-12-31T23:59:59-23:59", None),
    ],
)
def test_times_of_notices(time: object, at: float | None) -> None:
    seen = notice(json.dumps({"action": "stop", "time": time}).encode())
    assert seen.action == "stop"
    if seen.at is not None and at is None:
        assert seen.at > 2e11
    else:
        assert seen.at == at
