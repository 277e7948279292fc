"""Where spot nodes can be had in a replay."""

import numpy as np
import pytest

from app.cli.replaying.supply import generated, read_trace, recorded
from app.errors import TraceInvalid
from autoscaling.plan_terms import Site
from autoscaling.simulator.terms import SpotSupply


def sites(*places: str, most: int = 4) -> dict[Site, int]:
    return {Site("spot", *place.split("/")): most for place in places}


def test_generated_supply_has_each_site_and_is_the_same_again() -> None:
    wanted = sites("r/a", "r/b", "s/a", "t/a", "u/a")
    first, second = generated(wanted, 3, 86_400.0), generated(wanted, 3, 86_400.0)
    assert first.sites == tuple(wanted)
    assert np.array_equal(first.replicas, second.replicas)
    assert first.replicas.min() >= 0
    assert first.replicas.max() <= 4
    columns = {tuple(column) for column in first.replicas.T.tolist()}
    assert len(columns) == len(wanted)
    assert not np.array_equal(first.replicas, generated(wanted, 4, 86_400.0).replicas)


def test_a_region_of_many_availability_zones_has_no_column_twice() -> None:
    wanted = sites(*(f"r/{letter}" for letter in "abcdefghij"))
    found = generated(wanted, 1, 10 * 86_400.0)
    assert len({tuple(column) for column in found.replicas.T.tolist()}) == 10


def test_a_site_holds_no_more_than_it_may() -> None:
    wanted = {Site("spot", "r", "a"): 2, Site("spot", "r", "b"): 50}
    found = generated(wanted, 1, 20 * 86_400.0)
    assert found.replicas.max(axis=0).tolist() == [2, 50]


def test_a_trace_is_begun_at_another_time_at_each_site() -> None:
    rows = np.arange(100, dtype=np.int32)[:, np.newaxis]
    trace = SpotSupply(60.0, (Site("spot"),), rows)
    found = recorded(trace, sites("r/a", "r/b", most=90), 1)
    assert found.replicas[:, 0].tolist() == [min(each, 90) for each in range(100)]
    assert found.replicas[0, 1] != 0
    assert sorted(found.replicas[:, 1].tolist()) == sorted(found.replicas[:, 0].tolist())


def test_a_pool_without_spot_has_no_supply() -> None:
    assert generated({}, 1, 3600.0).sites == ()
    assert recorded(SpotSupply(60.0, (), np.zeros((1, 0), np.int32)), {}, 1).sites == ()


def test_both_forms_of_traces_are_told_apart() -> None:
    bamboo = read_trace("t.csv", ["0.0,3\n", "0.5,3\n", "0.5,1\n", "1.0,1\n"], "hours")
    assert bamboo.replicas[0, 0] == 3
    assert bamboo.replicas[-1, 0] == 1
    lines = ["0,add,a\n", "0,add,b\n", "600000,remove,a\n"]
    spotserve = read_trace("t.txt", lines)
    assert spotserve.replicas[:, 0].tolist() == [2] * 10 + [1]


@pytest.mark.parametrize("lines", [[], ["\n"], ["nonsense\n"]])
def test_a_trace_that_is_none_is_refused(lines: list[str]) -> None:
    with pytest.raises(TraceInvalid, match=r"t\.csv"):
        read_trace("t.csv", lines, "hours")
