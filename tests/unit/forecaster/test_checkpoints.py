import asyncio
import time
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from deployments import forecaster_checkpoints as checkpoints
from deployments.forecaster_checkpoints import Checkpoints, Part, packed, unpacked


class Planner:
    def __init__(self, groups: int = 0) -> None:
        self.parts: dict[str, Any] = {"fleet": {"leads": [1, 2.5]}}
        self.parts |= {f"group/{number:04}": {"demand": bytes(8)} for number in range(groups)}
        self.restored: dict[str, Any] = {}

    def states(self) -> list[str]:
        return list(self.parts)

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = self.parts[name]
        return state

    def restore(self, name: str, state: Mapping[str, Any]) -> list[str]:
        if "boom" in state:
            raise KeyError("boom")
        self.restored[name] = state
        return ["planner: too old"] if "old" in state else []


class Ledger:
    def __init__(self, away: int = 0) -> None:
        self.rows: dict[str, tuple[float, bytes]] = {}
        self.away = away
        self.saves: list[list[str]] = []
        self.forgot: list[float] = []

    def _here(self) -> None:
        if self.away > 0:
            self.away -= 1
            raise ConnectionError("the ledger is away")

    async def save_forecasts(self, parts: list[Part]) -> None:
        self._here()
        self.saves.append([name for name, _, _ in parts])
        self.rows |= {name: (at, body) for name, at, body in parts}

    async def load_forecasts(self, after: str) -> list[Part]:
        self._here()
        behind = sorted(name for name in self.rows if name > after)
        return [(name, *self.rows[name]) for name in behind[:3]]

    async def forget_forecasts(self, before: float) -> int:
        self.forgot.append(before)
        return 0


async def test_what_was_stored_comes_back_in_the_next_life() -> None:
    ledger, old, new = Ledger(), Planner(groups=7), Planner()
    stored = Checkpoints(old, ledger)
    for second in range(0, 120, 5):
        await stored.save(float(second), 1e9 + second)
    await Checkpoints(new, ledger).load()
    assert new.restored == old.parts
    assert ledger.rows["fleet"][0] >= 1e9 + 60


async def test_parts_take_turns_and_no_round_is_long() -> None:
    ledger, planner = Ledger(), Planner(groups=600)
    stored = Checkpoints(planner, ledger)
    saved: dict[str, list[float]] = {}
    for second in range(0, 1800, 5):
        count = await stored.save(float(second), 1e9)
        for name in ledger.saves[-1] if count else ():
            saved.setdefault(name, []).append(second)
    assert max(len(names) for names in ledger.saves) <= 1 + 11
    assert len(saved["fleet"]) == 30
    for name in planner.states()[1:]:
        times = saved[name]
        assert 5 <= len(times) <= 6
        assert min(b - a for a, b in pairwise(times)) >= 300
    assert ledger.forgot == [1e9 - checkpoints.KEPT_S]


async def test_what_could_not_be_stored_is_stored_later() -> None:
    ledger, planner = Ledger(away=2), Planner(groups=1)
    stored = Checkpoints(planner, ledger)
    assert [await stored.save(float(second), 1e9) for second in (0, 5, 10, 15)] == [0, 0, 2, 0]


async def test_a_part_that_cannot_be_stored_keeps_none_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "_MOST_BODY", 100)
    ledger, planner = Ledger(), Planner(groups=1)
    planner.parts["group/0000"] = {"demand": object()}
    planner.parts["group/large"] = {"demand": [str(number) for number in range(1000)]}
    stored = Checkpoints(planner, ledger)
    for second in range(0, 600, 5):
        await stored.save(float(second), 1e9)
    assert set(ledger.rows) == {"fleet"}


async def test_rows_that_are_of_no_use_are_left_out() -> None:
    ledger, planner = Ledger(), Planner()
    ledger.rows = {
        "a": (1.0, packed({"good": 1})),
        "b": (1.0, b"no zlib"),
        "c": (1.0, packed({"boom": 1})),
        "d": (1.0, zlib.compress(b"\xc1")),
        "e": (1.0, zlib.compress(msgspec.msgpack.encode({"format": 99, "state": {}}))),
        "f": (1.0, zlib.compress(msgspec.msgpack.encode([1, 2]))),
        "g": (1.0, packed({"good": 2})[:-6]),
        "h": (1.0, packed({"old": 1})),
    }
    await Checkpoints(planner, ledger).load()
    assert planner.restored == {"a": {"good": 1}, "h": {"old": 1}}


def test_a_row_that_unpacks_to_too_much_is_refused() -> None:
    bomb = zlib.compress(bytes(64 * 2**20), 9)
    assert len(bomb) < 2**20
    with pytest.raises(ValueError, match="has more than 16,777,216 bytes"):
        unpacked(bomb)


async def test_a_store_that_comes_back_in_time_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "_RETRY_S", 0.01)
    ledger, planner = Ledger(), Planner()
    ledger.rows = {"a": (1.0, packed({"good": 1}))}
    ledger.away = 3
    await Checkpoints(planner, ledger).load()
    assert planner.restored == {"a": {"good": 1}}


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_a_store_it_begins_without(hangs: bool) -> None:
    class Away(Ledger):
        async def load_forecasts(self, after: str) -> list[Part]:
            if hangs:
                await asyncio.Event().wait()
            raise ConnectionError

    planner = Planner()
    began = time.monotonic()
    await Checkpoints(planner, Away()).load(limit_s=0.2)
    assert time.monotonic() - began < 2
    assert planner.restored == {}
