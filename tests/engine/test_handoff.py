"""Prefill in a pipeline and decode in tensor parallel: real engines, each in its own processes."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from app.config import Role
from tests.engine.halves import OFFER, Answer, Engine, Stream


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """These engines are not of the stack."""


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[Role, Engine]]:
    with contextlib.ExitStack() as stack:
        engines = {role: Engine(role) for role in (Role.PREFILL, Role.DECODE)}
        for engine in engines.values():
            stack.callback(engine.close)
        yield engines


class Pair:
    """A prefill engine and a decode engine, as a gateway sees them."""

    def __init__(self, prefill: Stream, decode: Stream) -> None:
        self.prefill, self.decode = prefill, decode

    async def meet(self) -> None:
        assert self.prefill.peer is not None
        assert self.decode.peer is not None
        self.prefill.send_peers([self.decode.peer])
        self.decode.send_peers([self.prefill.peer])
        await self.prefill.until_warm({self.decode.peer.engine_id})
        await self.decode.until_warm({self.prefill.peer.engine_id})

    async def read(self, prompt: list[int], **params: Any) -> tuple[str, dict[str, Any]]:
        """Has a prompt computed by prefill; the request's id, and what decode has to be told."""
        request_id, answer = self.prefill.add(prompt, transfer=OFFER, max_tokens=1, **params)
        await answer.whole()
        transfer = answer.outputs[-1].kv_transfer_params
        assert transfer is not None
        return request_id, transfer

    async def hand_over(self, prompt: list[int], **params: Any) -> Answer:
        request_id, transfer = await self.read(prompt)
        return self.decode.add(prompt, request_id, transfer=transfer, **params)[1]


@pytest.fixture
async def pair(engines: dict[Role, Engine]) -> AsyncIterator[Pair]:
    streams = {role: await Stream().open(engine.endpoint) for role, engine in engines.items()}
    pair = Pair(streams[Role.PREFILL], streams[Role.DECODE])
    await asyncio.sleep(0.05)
    await pair.meet()
    yield pair
    for stream in streams.values():
        stream.close()


def prompt(length: int, seed: int = 1) -> list[int]:
    return [3 + (index * 7919 + seed * 104729) % 900 for index in range(length)]


async def test_answers_are_equal(engines: dict[Role, Engine], pair: Pair) -> None:
    before = engines[Role.DECODE].ask()
    prompts = [prompt(length, seed) for seed, length in enumerate((2, 31, 32, 33, 500, 1500))]
    handed = [await pair.hand_over(each) for each in prompts]
    answers = [await answer.whole() for answer in handed]
    between = engines[Role.DECODE].ask()
    alone = [pair.decode.add(each, tenant="other")[1] for each in prompts]
    assert answers == [await answer.whole() for answer in alone]
    assert between["prompt_tokens_computed"] == before["prompt_tokens_computed"]
    assert between["prompt_tokens_transferred"] - before["prompt_tokens_transferred"] == sum(
        map(len, prompts)
    )
    engines[Role.PREFILL].until("requests", 0, 5)
    engines[Role.DECODE].until("requests", 0, 5)


async def test_a_resumed_request_is_handed_over_too(pair: Pair) -> None:
    whole = await pair.decode.add(prompt(200), tenant="whole", ignore_eos=True)[1].whole()
    cut = whole[:7]
    request_id, transfer = await pair.read(prompt(200) + cut)
    answer = pair.decode.add(
        prompt(200), request_id, transfer=transfer, generated=cut, ignore_eos=True
    )[1]
    assert await answer.whole() == whole[7:]


async def test_no_kv_cache_comes_from_another_zone(pair: Pair) -> None:
    request_id, transfer = await pair.read(prompt(40))
    for other in ("private--halves--0", "public--other--0", "halves"):
        forged = transfer | {"remote_engine_id": other}
        answer = pair.decode.add(prompt(40), f"{request_id}{other}", transfer=forged)[1]
        await answer.done.wait()
        assert answer.refusal is not None
        assert answer.refusal.code == "zone_mismatch"
    assert {alert.code for alert in pair.decode.alerts} == {"zone_mismatch"}
    odd = pair.decode.add(prompt(40), f"{request_id}-odd", transfer=transfer | {"more": 1})[1]
    await odd.done.wait()
    assert odd.refusal is not None
    assert odd.refusal.code == "internal_error"
    handed = pair.decode.add(prompt(40), request_id, transfer=transfer)[1]
    assert len(await handed.whole()) == 16


async def test_nobody_comes_for_a_kv_cache(engines: dict[Role, Engine], pair: Pair) -> None:
    before = engines[Role.PREFILL].ask()["kv_leases_lapsed"]
    await pair.read(prompt(100))
    assert engines[Role.PREFILL].ask()["requests"] == 1
    counts = await asyncio.to_thread(engines[Role.PREFILL].until, "requests", 0, 20)
    assert counts["kv_leases_lapsed"] == before + 1
    assert counts["kv_usage"] == 0


async def test_aborted_while_it_waits(engines: dict[Role, Engine], pair: Pair) -> None:
    prefill, decode = engines[Role.PREFILL], engines[Role.DECODE]
    request_id, transfer = await pair.read(prompt(300))
    prefill.signal(signal.SIGSTOP)
    try:
        pair.decode.add(prompt(300), request_id, transfer=transfer)
        while not decode.ask()["kv_usage"]:
            await asyncio.sleep(0.05)
        pair.decode.abort(request_id)
        while decode.ask()["live"]:
            await asyncio.sleep(0.05)
        # Prefill may still write into them.
        assert decode.ask()["kv_usage"] > 0
    finally:
        prefill.signal(signal.SIGCONT)
    counts = await asyncio.to_thread(decode.until, "requests", 0, 25)
    assert counts["kv_usage"] == 0
    await asyncio.to_thread(prefill.until, "requests", 0, 25)


async def test_prefill_dies_before_its_kv_cache_is_fetched(
    engines: dict[Role, Engine], pair: Pair
) -> None:
    prefill, decode = engines[Role.PREFILL], engines[Role.DECODE]
    before = decode.ask()["handoffs_lapsed"]
    request_id, transfer = await pair.read(prompt(300))
    prefill.signal(signal.SIGKILL)
    answer = pair.decode.add(prompt(300), request_id, transfer=transfer)[1]
    await asyncio.wait_for(answer.done.wait(), 30)
    assert answer.refusal is not None
    assert answer.refusal.code == "handoff_failed"
    assert pair.prefill.lost.is_set()
    again = await pair.decode.add(prompt(300), f"1~{request_id}")[1].whole()
    assert again == await pair.decode.add(prompt(300), tenant="other")[1].whole()
    counts = await asyncio.to_thread(decode.until, "requests", 0, 30)
    assert counts["handoffs_lapsed"] == before + 1
    assert counts["kv_usage"] == 0
    pair.decode.send_peers([])
    await pair.decode.until_warm(set())


async def test_a_draining_engine_says_so(engines: dict[Role, Engine]) -> None:
    decode = engines[Role.DECODE]
    before, after = await Stream().open(decode.endpoint), Stream()
    try:
        running = before.add(prompt(50), max_tokens=200, ignore_eos=True)[1]
        while not running.outputs:
            await asyncio.sleep(0.02)
        decode.ask("drain 60")
        refused = before.add(prompt(50))[1]
        await refused.done.wait()
        assert refused.refusal is not None
        assert refused.refusal.code == "no_capacity"
        assert before.leaving is not None
        assert before.leaving.deadline_s == 60
        await after.open(decode.endpoint)
        assert len(await running.whole(60)) == 200
        assert after.leaving is not None
        assert after.leaving.deadline_s < 60
    finally:
        before.close()
        after.close()
