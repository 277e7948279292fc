"""Choosing cells, sizing them, taking turns."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.gateway.arms import Arm
from benchmarks.gateway.cells import CELLS, QUICK_CELLS, select_cells
from benchmarks.gateway.engine import EngineSettings
from benchmarks.gateway.fleet import ARMS, arm_classes
from benchmarks.gateway.ray_arms import one_pool
from benchmarks.gateway.run import requests_for, rotation

SETTINGS = EngineSettings(Path("model"))


class _Stub(Arm):
    def __init__(self, name: str) -> None:
        self.name = name

    def command(self) -> list[str]:
        return []


def test_cells_by_name_kind_or_all() -> None:
    assert [c.name for c in select_cells(["chatty", "short@1"])] == [
        "short@1",
        "chatty@1",
        "chatty@8",
        "chatty@16",
        "chatty@32",
    ]
    assert select_cells([]) == CELLS
    assert len(select_cells(QUICK_CELLS)) == len(QUICK_CELLS)


def test_an_unknown_cell_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'short@2'.*short@32"):
        select_cells(["short@2"])


def test_an_unknown_arm_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'vlm'.*vllm"):
        arm_classes(["vlm"])


def test_requests_come_in_whole_waves() -> None:
    assert requests_for(rate=100.0, seconds=4.0, concurrency=32) == 416
    assert requests_for(rate=0.5, seconds=4.0, concurrency=8) == 32
    assert requests_for(rate=0.0, seconds=4.0, concurrency=1) == 4


def test_each_arm_is_first_in_turn() -> None:
    arms = [_Stub(name) for name in "abc"]
    assert [rotation(arms, turn)[0].name for turn in range(4)] == ["a", "b", "c", "a"]
    assert [arm.name for arm in rotation(arms, 1)] == ["b", "c", "a"]


def test_all_arms_get_the_same_engine() -> None:
    flags = SETTINGS.vllm_flags()
    assert flags[flags.index("--max-num-seqs") + 1] == "128"
    assert "--enforce-eager" in flags
    ours = SETTINGS.tidegate()
    assert ours["kv_cache_memory"] == "512MiB"
    shared = SETTINGS.vllm_kwargs()
    assert {k: v for k, v in shared.items() if k in ours} == {
        k: v for k, v in ours.items() if k in shared
    }


def test_one_pool_serves_every_class_and_only_keys_are_switched_off() -> None:
    args: dict[str, Any] = {
        "models": [
            {"name": "m", "source": "x", "max_model_len": 32768},
            {"name": "other", "source": "y"},
        ],
        "zones": {"public": {"isolation": "medium"}, "private": {"isolation": "high"}},
        "default_zone": "public",
        "pools": [
            {"name": "p", "model": "other", "zone": "private", "size_classes": ["small"]},
            {
                "name": "q",
                "model": "m",
                "zone": "public",
                "size_classes": ["small"],
                "max_outstanding_tokens": 1,
                "markets": {"spot": {}},
                "resources": {"cpus": 0.25},
            },
        ],
        "classifier": {"replicas": 1, "zone_markers": {"public": ["a"], "private": ["b", "c"]}},
        "access": {"max_zone": "private"},
    }
    reduced = one_pool(args, SETTINGS)
    (pool,) = reduced["pools"]
    assert pool["size_classes"] == ["small", "medium", "large", "xl"]
    assert pool["engine"] == SETTINGS.tidegate()
    assert pool["markets"] == {"on-demand": {"min_replicas": 1, "max_replicas": 1}}
    assert "max_outstanding_tokens" not in pool
    assert reduced["classifier"] == {"replicas": 1, "zone_markers": {"public": ["a", "b", "c"]}}
    assert reduced["models"] == [{"name": "demo", "source": "model", "max_model_len": 32768}]
    assert list(reduced["zones"]) == ["public"]
    assert reduced["access"] == {"keys": "off"}
    assert args["pools"][1]["markets"] == {"spot": {}}


def test_arms_are_listed_by_their_own_names() -> None:
    assert {"vllm", "tidegate", "ray-llm"} <= set(ARMS)
