"""What a cluster under test is started with: its configuration, environment and folder."""

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from tokenizers import Tokenizer

from deployments.environment import second_cluster_environment, serve_environment

ROOT = Path(__file__).parents[2]
MODEL = "demo"
SMALL_POOL = "public-small"


def base_config() -> dict[str, Any]:
    """The repository's own configuration, on a free port."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    config["http_options"]["port"] = free_port()
    return config


def keep_in(config: dict[str, Any], folder: Path) -> None:
    """Has the service keep its store and its secrets in a folder."""
    config["applications"][0]["args"]["store"] = {
        "url": f"sqlite:///{folder}/tidegate.db",
        "data_dir": str(folder / "data"),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cluster_environment(folder: Path) -> dict[str, str]:
    """The environment of a whole cluster that shares nothing with others on this machine."""
    # Engines are to find what their deployments set, not what other tests in this process need.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VLLM_", "OMP_", "RAY_", "PYTEST_"))
    }
    # Ray's token is of this cluster alone, and Ray's notes on its clusters lie in its own folder.
    own = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(folder)}
    with mock.patch.object(tempfile, "tempdir", str(folder)):
        return inherited | serve_environment() | second_cluster_environment() | own


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path leaves room for Ray's sockets in it."""
    with tempfile.TemporaryDirectory(prefix="tg-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def with_markets(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with four engines: the small pool in both markets, without `private`."""
    smaller = deepcopy(dict(config))
    args = smaller["applications"][0]["args"]
    args["pools"] = [pool for pool in args["pools"] if pool["zone"] != "private"]
    del args["zones"]["private"]
    del args["classifier"]["zone_markers"]["private"]
    for pool in args["pools"]:
        if pool["name"] == "public-small":
            pool["markets"] = {"on-demand": {}, "spot": {}}
    return smaller


def one_pool(config: Mapping[str, Any], markets: Mapping[str, Any], **pool: Any) -> dict[str, Any]:
    """The configuration with the small pool alone, in some markets, and no guards in its way."""
    smaller = deepcopy(dict(config))
    args = smaller["applications"][0]["args"]
    [small] = [each for each in args["pools"] if each["name"] == SMALL_POOL]
    args["pools"] = [small | {"markets": dict(markets)} | pool]
    args["zones"] = {"public": args["zones"]["public"]}
    args["size_classes_required"] = ["small", "medium"]
    args["classifier"] = {"enabled": False}
    args["guards"] = {}
    return smaller


def foresight(config: Mapping[str, Any], metadata: str, period_s: float) -> dict[str, Any]:
    """One pool in both markets, with a replica on standby, whose demand repeats.

    Each replica is planned to carry 27 output tokens a second: far less than it does here, since
    what is looked at is when capacity comes.

    Args:
        config: the repository's own.
        metadata: URL of the metadata service.
        period_s: after how long demand repeats.
    """
    markets = {
        "on-demand": {"min_replicas": 1, "max_replicas": 2, "standby_replicas": 1},
        "spot": {"min_replicas": 1, "max_replicas": 1},
    }
    capacity = {"prefill_tokens_per_s": 10000.0, "decode_tokens_per_s": 30.0}
    alone = one_pool(config, markets, capacity=capacity)
    args = alone["applications"][0]["args"]
    args["recycling"] = {"enabled": False}
    args["scaling"] = {
        # The work outstanding never asks for a third replica by itself.
        "target_load": 1.0,
        "up_delay_s": 2.0,
        "down_delay_s": 4.0,
        # After a few periods higher quantiles are still wide.
        "forecast": {"step_s": 10, "seasons_s": [period_s], "quantile": 0.5},
        "lead_time": {"cold_s": 12.0, "cached_s": 12.0, "standby_s": 3.0},
        # On a node that is minutes old nobody relies for 99 of 100 leads.
        "spot": {"epsilon": 0.2, "metadata_endpoint": metadata, "poll_s": 0.5},
    }
    return alone


def prompt_of(tokens: int) -> str:
    """A text of about so many tokens, in words."""
    tokenizer = Tokenizer.from_file(str(ROOT / "models/demo/tokenizer.json"))
    line = "The tide comes in and the gate is shut; the tide goes out and the gate is opened. "
    each = len(tokenizer.encode(line * 50, add_special_tokens=False).ids) / 50
    return line * round(tokens / each)
