"""What is the same in every cell: the model, its speed, what is promised, prices, and seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from autoscaling.simulator.terms import Slo

DAY_S = 86_400.0
_ROOT = Path(__file__).resolve().parents[2]
_CODE = (
    "autoscaling/*.py",
    "autoscaling/demand/*.py",
    "autoscaling/forecast/*.py",
    "autoscaling/placement/*.py",
    "autoscaling/simulator/**/*.py",
    "benchmarks/autoscaling/arms.py",
    "benchmarks/autoscaling/demand_store.py",
    "benchmarks/autoscaling/injections.py",
    "benchmarks/autoscaling/one_run.py",
    "benchmarks/autoscaling/setup.py",
)
"""What a run's figures come from."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The constants. Sources are in the report."""

    model: str = "llama2-70b"
    hardware: str = "a100-80gb"
    tensor_parallel: int = 4
    """GPUs of a replica."""
    max_seqs: int = 64
    kv_tokens: int = 450_000
    """What 4 x 80 GB hold beside 140 GB of weights, at 320 KiB a token and 90% use."""
    most_waiting: int = 16
    """Requests that a replica takes beyond those it computes."""
    chunk_tokens: int = 512
    """Prompt tokens of a step while others decode: longer ones would break the promised ITL."""
    most_tokens: int = 8192
    """Prompt and output of a request, at most: as far as the latency data goes."""
    slo: Slo = field(default_factory=lambda: Slo(ttft_s=10.0, itl_s=0.2))
    lengths: tuple[tuple[str, str], ...] = (("m-large", "azure-conv"), ("m-small", "mooncake"))
    """Whose lengths go with whose arrivals."""
    peak_replicas: int = 20
    """That the busiest ten minutes of days 1 to 7 keep busy: demand is scaled to it."""
    price: float = 16.0
    """Dollars an hour of one replica on demand: $4 a GPU. Ratios do not depend on it."""
    zone_most: int = 16
    """Replicas that one availability zone holds on spot nodes when it has all it ever has."""
    most: int = 120
    """Most replicas in all."""
    seed: int = 20
    demand_seed: int = 7


SETUP = Setup()


def terms_of(setup: Setup, days: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """All that a run follows from beside its cell, as plain data: constants, days and code.

    Args:
        setup: The constants.
        days: First and last day of each span.
    """
    spans = {name: list(span) for name, span in days.items()}
    return {"setup": asdict(setup), "days": spans, "code": code_digest()}


def code_digest() -> str:
    """Changes with the code that a run's figures come from."""
    digest = hashlib.blake2b(digest_size=8)
    files = sorted({file for pattern in _CODE for file in _ROOT.glob(pattern)})
    for file in files:
        digest.update(file.relative_to(_ROOT).as_posix().encode() + b"\0")
        digest.update(file.read_bytes() + b"\0")
    return digest.hexdigest()
