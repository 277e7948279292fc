import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from app.errors import ConfigError, LedgerUnavailable, StoreUnavailable, TooManyLarge
from app.store.ledger import Fenced
from app.store.tables import spending, usage
from deployments.ledger_messages import ENCODER, TICK
from deployments.ledger_shard import LedgerShard
from deployments.wire import Connection, Kind, StreamServer, connect
from tests.postgres import PostgresServer, make_server
from tests.unit.ledger.stack import (
    ADA,
    ADMIN,
    GatewaySide,
    fleet_config,
    gateway,
    rows,
    settlement,
    shard,
    until,
)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = make_server()
    yield server
    server.close()


async def reserve(side: GatewaySide, request_id: str, zone: str = "confidential") -> None:
    await side.client.reserve(ADA, 10, 0, large=False, zone=zone, request_id=request_id)


async def test_a_store_that_goes_and_comes_back(own_server: PostgresServer, data_dir: Path) -> None:
    url = own_server.url()
    config = fleet_config(url, data_dir, ledger={"timeout_s": 0.5})
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        await reserve(side, "before")
        side.client.settle(settlement("before"))
        assert await side.client.settled(settlement("before"))
        await asyncio.sleep(2.0)  # The lease is over.
        own_server.kill()
        with pytest.raises(LedgerUnavailable):
            await reserve(side, "refused")
        await reserve(side, "served", zone="public")
        side.client.settle(settlement("served"))
        assert not await side.client.settled(settlement("served"))
        with pytest.raises(StoreUnavailable):
            await side.client.call("keys.list", {}, ADMIN)
        own_server.start()
        await until(lambda: not side.client.undelivered)
        await reserve(side, "after")
    found = {row.id for row in await rows(url, select(usage.c.id))}
    assert found == {"before", "served"}


async def test_a_ledger_waits_for_its_store_at_the_start(
    own_server: PostgresServer, data_dir: Path
) -> None:
    url = own_server.url()
    own_server.stop()
    ledger = LedgerShard(fleet_config(url, data_dir), 0)
    starting = asyncio.ensure_future(ledger.start("127.0.0.1"))
    await asyncio.sleep(0.5)
    assert not starting.done()
    own_server.start()
    await starting
    await ledger.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
async def test_a_full_disk_under_the_store(tmp_path: Path, data_dir: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(  # noqa: ASYNC221
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        url = f"sqlite:///{disk}/tidegate.db"
        config = fleet_config(url, data_dir, ledger={"timeout_s": 0.5})
        async with shard(config) as endpoint, gateway(config, endpoint) as side:
            await reserve(side, "before")
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 4096)
            for number in range(200):
                side.client.settle(settlement(f"s{number}"))
            await asyncio.sleep(1.0)
            assert side.client.undelivered
            ballast.unlink()
            await until(lambda: not side.client.undelivered)
        assert len(await rows(url, select(usage))) == 200
    finally:
        subprocess.run(["umount", "-l", disk], check=True)  # noqa: ASYNC221


async def test_the_next_ledger_shuts_the_last_one_out(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    first = LedgerShard(config, 0)
    old = await first.start("127.0.0.1")
    async with gateway(config, old) as side:
        await reserve(side, "s1")
        async with shard(config) as new:
            # Serve lists both for a while.
            side.client.set_members(0, {"old": old, "new": new})
            side.client.settle(settlement("s1"))
            async with asyncio.timeout(2):
                while True:
                    try:
                        first.check()
                    except Fenced:
                        break
                    await asyncio.sleep(0.01)
            await until(lambda: not side.client.undelivered)
            await reserve(side, "s2")
            side.client.set_members(0, {"new": new})
            await reserve(side, "s3")
    await first.close()
    assert len(await rows(store_url, select(usage))) == 1


async def test_a_settlement_that_arrives_often_counts_once(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir, budgets={"tenant_day": 10**9})
    async with (
        shard(config) as endpoint,
        gateway(config, endpoint) as one,
        gateway(config, endpoint, name="gw-2") as two,
    ):
        used = settlement("s1", 10, 700)
        for side in (one, two):
            side.client.settle(used)
            assert await side.client.settled(used)
        one.client.settle(used)
        await until(lambda: not one.client.undelivered)
    assert len(await rows(store_url, select(usage))) == 1
    of_the_day = select(spending.c.micros).where(spending.c.period == "day", spending.c.key == "")
    found = await rows(store_url, of_the_day)
    assert [row.micros for row in found] == [700]


async def test_a_client_that_leaves_while_it_waits_keeps_no_place(
    store_url: str, data_dir: Path
) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        for number in range(20):
            waiting = asyncio.ensure_future(
                side.client.reserve(
                    ADA, 10, 0, large=True, zone="public", request_id=f"gone-{number}"
                )
            )
            await asyncio.sleep(0.0005 * number)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, TooManyLarge):
                await waiting
            # Where it was quicker than we were.
            side.client.release(f"gone-{number}")
        async with asyncio.timeout(5):
            while True:
                try:
                    await side.client.reserve(
                        ADA, 10, 0, large=True, zone="public", request_id=f"stays-{number}"
                    )
                except TooManyLarge:
                    number += 1
                    await asyncio.sleep(0.1)
                else:
                    break


async def test_keys_of_another_master_secret_are_not_served(store_url: str, data_dir: Path) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config):
        pass
    (data_dir / "master.key").unlink()
    ledger = LedgerShard(config, 0)
    with pytest.raises(ConfigError, match="TIDEGATE_MASTER_KEY"):
        await ledger.start("127.0.0.1")
    await ledger.close()


async def test_what_is_no_tick_ends_the_stream_and_nothing_else(
    store_url: str, data_dir: Path
) -> None:
    config = fleet_config(store_url, data_dir)
    async with shard(config) as endpoint, gateway(config, endpoint) as side:
        for kind, body in (
            (Kind.TICK, b"junk"),
            (Kind.TICK, ENCODER.encode(("gw", "1"))),
            (Kind.ADD, b""),
            (Kind.CALL, ENCODER.encode((1, "keys.list", {}, {"tenant": 1}))),
        ):
            gone = asyncio.Event()

            def lost(_: Connection, gone: asyncio.Event = gone) -> None:
                gone.set()

            connection = await connect(endpoint, lambda *frame: None, lost)
            connection.send(kind, [body])
            await asyncio.wait_for(gone.wait(), 2)
        await reserve(side, "s1")


async def test_a_silent_ledger_is_left_to_the_zone_and_asked_again(data_dir: Path) -> None:
    config = fleet_config(f"sqlite:///{data_dir}/none.db", data_dir, ledger={"timeout_s": 0.2})
    heard: list[int] = []

    def frame(connection: Connection, kind: Kind, buffers: list[memoryview]) -> None:
        heard.append(TICK.decode(buffers[0]).sequence)

    server = StreamServer(frame, lambda connection: None)
    endpoint = await server.start("127.0.0.1")
    loop = asyncio.get_running_loop()
    try:
        async with gateway(config) as side:
            side.client.set_members(0, {"mute": endpoint})
            await until(lambda: bool(heard))
            with pytest.raises(LedgerUnavailable):
                await reserve(side, "s1")
            # The same tick again, over another stream: nothing is asked under another number.
            await until(lambda: len(heard) > 1)
            assert set(heard) == {1}
            await asyncio.sleep(0.3)
            begin = loop.time()
            with pytest.raises(LedgerUnavailable):
                await reserve(side, "s2")
            assert loop.time() - begin < 0.3
    finally:
        await server.close()
