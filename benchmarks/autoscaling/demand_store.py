"""Demand of a series, generated once and shared by all runs as memory-mapped files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from app.errors import SimulationError
from autoscaling.plan_terms import Capacity
from autoscaling.simulator.demand.lengths import Lengths, azure, mooncake
from autoscaling.simulator.demand.servegen import ServeGenWorkload, client_rates
from autoscaling.simulator.demand.windows import WINDOW_S, Stored
from autoscaling.simulator.engine_profile import profile
from autoscaling.simulator.perf_tables import splitwise
from autoscaling.simulator.service_times import ServiceModel
from autoscaling.simulator.terms import Requests
from benchmarks.autoscaling.setup import DAY_S, Setup

_COLUMNS = ("arrival_s", "prompt", "output")
_LENGTHS: dict[str, tuple[str, Callable[..., Lengths]]] = {
    "azure-conv": ("azure2023/AzureLLMInferenceTrace_conv.csv", azure),
    "azure-code": ("azure2023/AzureLLMInferenceTrace_code.csv", azure),
    "mooncake": ("mooncake/conversation_trace.jsonl", mooncake),
}
_TUNE_DAYS = 7
_PROFILE_SEED = 5


def service_model(traces: Path, setup: Setup) -> ServiceModel:
    """How fast a replica is, from the shared latency tables.

    Args:
        traces: Directory of the shared traces.
        setup: The constants.
    """
    file = traces / "perf-models/splitwise_perf_model.csv"
    with file.open() as lines:
        return splitwise(
            lines,
            model=setup.model,
            hardware=setup.hardware,
            tensor_parallel=setup.tensor_parallel,
            kv_tokens=setup.kv_tokens,
            max_seqs=setup.max_seqs,
            most_waiting=setup.most_waiting,
            chunk_tokens=setup.chunk_tokens,
        )


def lengths_of(traces: Path, setup: Setup, series: str) -> Lengths:
    """The lengths that go with a series.

    Args:
        traces: Directory of the shared traces.
        setup: The constants.
        series: Whose.
    """
    name, parse = _LENGTHS[dict(setup.lengths)[series]]
    with (traces / name).open() as lines:
        return parse(lines, name).within(setup.most_tokens)


def prepare(traces: Path, work: Path, setup: Setup, series: str) -> dict[str, Any]:
    """Generates a series unless it is there, and says what it is.

    Args:
        traces: Directory of the shared traces.
        work: Where to keep it.
        setup: The constants.
        series: Whose.

    Raises:
        SimulationError: The traces are not there.
    """
    home = _home(work, setup, series)
    facts = home / "facts.json"
    if not facts.is_file():
        home.mkdir(parents=True, exist_ok=True)
        found = _generate(traces, home, setup, series)
        partial = facts.with_suffix(".partial")
        partial.write_text(json.dumps(found, indent=1) + "\n")
        # Last of all, so that what is there is whole.
        partial.replace(facts)
    known: dict[str, Any] = json.loads(facts.read_text())
    return known


def load(work: Path, setup: Setup, series: str) -> tuple[Stored, dict[str, Any]]:
    """Demand that `prepare` has generated, and its facts.

    Args:
        work: Where it is kept.
        setup: The constants.
        series: Whose.
    """
    home = _home(work, setup, series)
    facts: dict[str, Any] = json.loads((home / "facts.json").read_text())
    parts = [np.load(home / f"{name}.npy", mmap_mode="r") for name in _COLUMNS]
    stored = Stored(
        Requests(*parts), WINDOW_S, windows=facts["windows"], gap_windows=facts["gap_windows"]
    )
    return stored, facts


def capacity_of(facts: dict[str, Any]) -> Capacity:
    """What one replica carries within the SLO.

    Args:
        facts: Of the series.
    """
    return Capacity(facts["prefill_tps"], facts["decode_tps"], measured=True, reason="profile")


def _home(work: Path, setup: Setup, series: str) -> Path:
    # Not of the price and the like: demand does not follow from them.
    terms = asdict(setup)
    for name in ("price", "zone_most", "most", "seed"):
        del terms[name]
    text = json.dumps([series, terms], sort_keys=True)
    return work / f"{series}-{hashlib.blake2b(text.encode(), digest_size=6).hexdigest()}"


def _generate(traces: Path, home: Path, setup: Setup, series: str) -> dict[str, Any]:
    folder = traces / "servegen" / f"language-{series}"
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not files:
        raise SimulationError(
            f"{folder}: there are no tables of clients; say where the traces are with --traces"
        )
    clients = []
    for file in files:
        with file.open() as lines:
            clients.append(client_rates(lines, file.name))
    lengths = lengths_of(traces, setup, series)
    model = service_model(traces, setup)
    capacity = profile(
        model, lengths.prompt, lengths.output, setup.slo, attainment=0.99, seed=_PROFILE_SEED
    )
    whole = ServeGenWorkload(clients, lengths, setup.demand_seed)
    a_request = (
        lengths.mean_prompt / capacity.prefill_tps + lengths.mean_output / capacity.decode_tps
    )
    tuning = whole.expected()[: int(_TUNE_DAYS * DAY_S / WINDOW_S)]
    scale = setup.peak_replicas / (float(tuning.max()) * a_request)
    scaled = ServeGenWorkload(clients, lengths, setup.demand_seed, scale)
    parts = [scaled.window(index) for index in range(scaled.windows)]
    for name in _COLUMNS:
        np.save(home / f"{name}.npy", np.concatenate([getattr(part, name) for part in parts]))
    expected = scaled.expected()
    return {
        "series": series,
        "clients": len(clients),
        "lengths": dict(setup.lengths)[series],
        "mean_prompt": lengths.mean_prompt,
        "mean_output": lengths.mean_output,
        "prefill_tps": capacity.prefill_tps,
        "decode_tps": capacity.decode_tps,
        "requests_per_s_a_replica": 1 / a_request,
        "scale": scale,
        "requests": sum(len(part) for part in parts),
        "windows": scaled.windows,
        "gap_windows": sorted(scaled.gap_windows),
        "busiest_replicas": float(expected.max()) * a_request,
        "mean_replicas": float(expected.mean()) * a_request,
    }
