"""A small valid configuration, and a way to say what is wrong with a changed one."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from app.config import parse_config
from app.errors import ConfigError

Args = dict[str, Any]
Issues = dict[str, str]

_ARGS: Args = {
    "models": [{"name": "demo", "source": "models/demo", "max_model_len": 32768}],
    "weights": {"keys": [{"id": "demo", "public_key": "models/demo.pub"}]},
    "zones": {"public": {"isolation": "medium"}, "private": {"isolation": "high"}},
    "default_zone": "public",
    "pools": [
        {
            "name": "short",
            "model": "demo",
            "zone": "public",
            "size_classes": ["small", "medium"],
            "engine": {"max_model_len": 2048, "max_num_seqs": 8, "kv_cache_memory": "64MiB"},
        },
        {
            "name": "long",
            "model": "demo",
            "zone": "private",
            "size_classes": ["large", "xl"],
            "engine": {"max_model_len": 32768, "kv_cache_memory": "160MiB"},
        },
    ],
}


@pytest.fixture
def args() -> Args:
    """A valid configuration with two pools, to be changed at will."""
    return copy.deepcopy(_ARGS)


@pytest.fixture
def gpu(args: Args) -> Args:
    """The engine section of a GPU pool within `args`; nodes have 8 GPUs."""
    args["pools"][0]["resources"] = {"device": "gpu"}
    engine: Args = args["pools"][0]["engine"]
    return engine


@pytest.fixture
def issues_of() -> Callable[[Args], Issues]:
    """Gives what is wrong with a configuration, message by path."""

    def issues_of(args: Args) -> Issues:
        with pytest.raises(ConfigError) as caught:
            parse_config(args)
        issues = caught.value.issues
        paths = [issue.path for issue in issues]
        assert len(set(paths)) == len(paths)
        return {issue.path: issue.message for issue in issues}

    return issues_of
