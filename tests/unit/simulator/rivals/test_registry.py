from typing import Any

import numpy as np
import pytest

from autoscaling.simulator.rivals.registry import NAMES, rivals
from autoscaling.simulator.terms import Floats
from tests.unit.simulator.rivals.seeing import STEP_S, Fleet, past, supply, terms


def given(name: str) -> dict[str, Any]:
    if name.startswith("oracle"):
        rows = [(3 if step % 60 else 0, 4, 2) for step in range(200)]
        return {"work": [8.0] * 200, "step_s": STEP_S, "supply": supply(rows)}
    if "arima" in name:
        return {"fit": last_again}
    if "prophet" in name:
        return {"fit": flat}
    return {}


def last_again(values: Floats) -> Any:
    return lambda later: float(later[-1])


def flat(values: Floats, step_s: float, count: int) -> Floats:
    return np.full(count, values.mean())


def total(name: str, headroom: float) -> tuple[float, list[dict[Any, int]]]:
    rows = [(3 if step % 60 else 0, 4, 2) for step in range(200)]
    policy = rivals(name, headroom=headroom, **given(name))
    fleet = Fleet(policy, terms(), supply(rows)).begin(8, past([8.0] * 12))
    asked = []
    for _ in range(200):
        # As a fleet of ready replicas would look: some requests each, and the more the fewer.
        ready = max(1, fleet.ready)
        asked.append(
            dict(
                fleet.go(
                    rate=8.0,
                    running=80,
                    kv_use=min(1.0, 4.0 / ready),
                    finished=80,
                    itl_s=0.02 + 0.4 / ready,
                    ttft_s=0.5,
                )
            )
        )
    return sum(fleet.seconds.values()), asked


@pytest.mark.parametrize("name", NAMES)
def test_each_rival_stays_within_bounds_and_is_repeated(name: str) -> None:
    what = terms()
    _, asked = total(name, 1.0)
    for each in asked:
        assert set(each) <= set(what.prices)
        assert all(type(count) is int and count >= 0 for count in each.values())
        assert what.least <= sum(each.values()) <= 2 * what.most
    assert asked == total(name, 1.0)[1]


@pytest.mark.parametrize("name", NAMES)
def test_more_headroom_is_more_replicas(name: str) -> None:
    assert total(name, 2.0)[0] > total(name, 1.0)[0]


def test_rivals_are_told_apart() -> None:
    called = [rivals(name, **given(name)).name for name in NAMES]
    assert len(set(called)) == len(NAMES)
    own = {name for name in called if not name.endswith("-like")}
    assert own == {"static-peak", "oracle-future", "oracle-instant"}


def test_an_unknown_rival_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no rival 'knative'; there are .*skyserve"):
        rivals("knative")


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rival skyserve: .*luck"):
        rivals("skyserve", luck=7)


@pytest.mark.parametrize("headroom", [0.0, -1.0, float("nan"), 1e6])
@pytest.mark.parametrize("name", NAMES)
def test_a_headroom_that_makes_no_sense_is_refused(name: str, headroom: float) -> None:
    with pytest.raises(ValueError, match="headroom"):
        rivals(name, headroom=headroom, **given(name))
