import math
from typing import Any

import msgspec
import pytest

from autoscaling.demand.history import DemandHistory
from autoscaling.demand.terms import Message, Sample, Work

T0 = 1_800_000_000.0


def steadily(history: DemandHistory, name: str, start: float, end: float, rate: float) -> None:
    for number in range(int(end - start)):
        sample = Sample(arrived=Work(rate))
        history.take(Message(name, number + 1, 1.0, {"a": sample}), start + number + 1)


def stored(history: DemandHistory) -> dict[str, Any]:
    state: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(history.state("a")))
    return state


@pytest.fixture
def old() -> DemandHistory:
    history = DemandHistory(["a"])
    steadily(history, "g", T0, T0 + 1200, 10.0)
    return history


def seen(history: DemandHistory, step: float, wall: float) -> list[float]:
    return [float(value) for value in history.series("a", "prefill", step, wall).values]


def test_what_was_stored_comes_back_and_the_time_between_is_a_gap(old: DemandHistory) -> None:
    history = DemandHistory(["a"])
    history.restore("a", stored(old))
    assert seen(history, 600.0, T0 + 1200) == pytest.approx([10.0, 10.0])
    steadily(history, "h", T0 + 1800, T0 + 3000, 20.0)
    values = seen(history, 600.0, T0 + 3000)
    assert values == pytest.approx([10.0, 10.0, math.nan, 20.0, 20.0], nan_ok=True)


def test_what_came_before_the_old_was_read_is_added(old: DemandHistory) -> None:
    history = DemandHistory(["a"])
    steadily(history, "h", T0 + 1200, T0 + 1210, 30.0)
    history.restore("a", stored(old))
    assert seen(history, 10.0, T0 + 1210)[-3:] == pytest.approx([10.0, 10.0, 30.0])


def test_a_bin_that_two_lives_have_listened_to_counts_in_proportion(old: DemandHistory) -> None:
    steadily(old, "g2", T0 + 1200, T0 + 1380, 10.0)
    history = DemandHistory(["a"])
    history.restore("a", stored(old))
    steadily(history, "h", T0 + 1620, T0 + 1800, 10.0)
    assert seen(history, 600.0, T0 + 1800)[-1] == pytest.approx(10.0)
    again = DemandHistory(["a"])
    again.restore("a", stored(history))
    assert seen(again, 600.0, T0 + 1800) == pytest.approx([10.0] * 3)


def test_what_was_stored_before_the_clock_was_set_back_is_cut(old: DemandHistory) -> None:
    history = DemandHistory(["a"])
    history.restore("a", stored(old))
    steadily(history, "h", T0 + 610, T0 + 620, 5.0)
    values = seen(history, 10.0, T0 + 620)
    assert values[-1] <= 10.0
    assert values[:-1] == pytest.approx([10.0] * 61)
    steadily(history, "i", T0 + 620, T0 + 1200, 5.0)
    assert seen(history, 10.0, T0 + 1200)[70:] == pytest.approx([5.0] * 50)


def test_a_group_without_demand_has_nothing_to_store(old: DemandHistory) -> None:
    history = DemandHistory(["a"])
    assert history.state("a") == {}
    history.restore("a", {})
    assert history.nbytes == 0


def test_what_is_no_history_is_refused_and_changes_nothing(old: DemandHistory) -> None:
    good = stored(old)
    history = DemandHistory(["a"])
    bad: list[Any] = [
        {"format": 2},
        good | {"format": 0},
        good | {"reached": "now"},
        good | {"reached": -1},
        good | {"reached": True},
        good | {"values": b"short"},
        good | {"values": good["values"][:-4] + b"\x00\x00\xc0\x7f"},
        good | {"covered": None},
    ]
    for state in bad:
        with pytest.raises(ValueError, match=r"."):
            history.restore("a", state)
    with pytest.raises(ValueError, match="there is no group 'z'"):
        history.restore("z", good)
    assert history.nbytes == 0
    assert len(good["values"]) + len(good["covered"]) == 86_400
