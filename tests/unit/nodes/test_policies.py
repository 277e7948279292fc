"""The policies in Serve's controller, with whatever may stand on the board."""

import time
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from deployments import nodes, plan_board
from deployments.nodes import View
from deployments.plan_board import Posted, Wanted
from deployments.scaling import MOST, PlanPolicy, SpotNodesPolicy

NAME = "pool--spot"


class Board:
    """Stands for the board of an application."""

    def __init__(self, wanted: Wanted | Exception | None) -> None:
        self._wanted = wanted

    def wanted(self, deployment: str) -> Wanted | None:
        if isinstance(self._wanted, Exception):
            raise self._wanted
        return self._wanted if deployment == NAME else None


def context(target: int = 3, metrics: Any = None, name: str = NAME) -> Any:
    return SimpleNamespace(
        app_name="app",
        deployment_name=name,
        target_num_replicas=target,
        aggregated_metrics=metrics,
    )


def decide(
    monkeypatch: pytest.MonkeyPatch, wanted: Wanted | Exception | None, asked: Any
) -> tuple[int, dict[str, Any]]:
    monkeypatch.setattr(plan_board, "board_of", lambda _: Board(wanted))
    return PlanPolicy(1000, 0.5, standby=1)(asked)


def test_a_fresh_plan_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, Wanted(1, settled=True), context(3)) == (1, {})
    assert decide(monkeypatch, Wanted(1, settled=False), context(3)) == (3, {})
    assert decide(monkeypatch, Wanted(5, settled=False), context(3)) == (5, {})


def test_without_a_plan_the_work_counts_upwards_only(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = {"outstanding_tokens": {"r1": 900.0, "r2": 1100.0}}
    assert decide(monkeypatch, None, context(3, busy)) == (5, {})
    assert decide(monkeypatch, None, context(7, busy)) == (7, {})
    assert decide(monkeypatch, None, context(3, {"outstanding_tokens": {"r1": 0.0}})) == (3, {})


def test_a_plan_without_this_deployment_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = context(3, None, name="removed--spot")
    assert decide(monkeypatch, Wanted(9, settled=True), asked) == (3, {})


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        {},
        [],
        "tokens",
        {"outstanding_tokens": None},
        {"outstanding_tokens": [1, 2]},
        {"outstanding_tokens": {"r1": float("nan"), "r2": float("inf"), "r3": -5.0, "r4": "many"}},
        {"outstanding_tokens": {"r1": None}},
    ],
)
def test_metrics_that_make_no_sense_change_nothing(
    monkeypatch: pytest.MonkeyPatch, metrics: Any
) -> None:
    assert decide(monkeypatch, None, context(3, metrics)) == (3, {})


def test_absurd_numbers_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide(monkeypatch, None, context(3, {"outstanding_tokens": {"r": 1e300}}))[0] == MOST
    assert decide(monkeypatch, Wanted(10**12, settled=True), context(3))[0] == MOST
    assert decide(monkeypatch, Wanted(-4, settled=True), context(3))[0] == 3


def test_a_board_that_fails_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(plan_board.log, "warning", lambda text, *_: said.append(text))
    monkeypatch.setattr(plan_board, "board_of", lambda _: Board(RuntimeError("away")))
    policy = PlanPolicy()
    assert [policy(context(3)) for _ in range(3)] == [(3, {})] * 3
    assert len(said) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00garbage",
        msgspec.msgpack.encode({"at": "now", "wanted": {}}),
        msgspec.msgpack.encode({"at": 0.0, "wanted": {NAME: ["many", True]}}),
        msgspec.msgpack.encode([1, 2, 3]),
    ],
)
def test_garbage_on_the_board_is_no_plan(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    board = plan_board.PlanBoard.__new__(plan_board.PlanBoard)
    board._key, board._posted = b"plan:app", Posted(time.time(), {NAME: Wanted(2, settled=True)})

    def stop(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_board, "_internal_kv_get", lambda *_, **__: data)
    monkeypatch.setattr("deployments.plan_board.time.sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        board._follow()
    assert board.wanted(NAME) == Wanted(2, settled=True)
    board._posted = Posted(time.time() - plan_board.STALE_S - 1, {NAME: Wanted(2, settled=True)})
    assert board.wanted(NAME) is None


def test_there_is_a_watcher_for_every_spot_node_that_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spot, home = {"ray.io/market-type": "spot"}, {"ray.io/market-type": "on-demand"}
    view = View(0.0, {"a": spot, "b": spot, "c": home, "d": {}}, {"b": 100.0})
    monkeypatch.setattr(nodes, "node_board", lambda: SimpleNamespace(view=view))
    assert SpotNodesPolicy()(context(7)) == (1, {})


def test_until_somebody_has_looked_watchers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "node_board", lambda: SimpleNamespace(view=None))
    assert SpotNodesPolicy()(context(7)) == (7, {})
