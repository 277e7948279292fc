"""Many streams for minutes on one arm: whether one stands still, and who made it.

A stall of the gateway, of the engine and of the load generator all look the same to a client. They
are told apart by time: what the engine or the generator stood still is not the gateway's doing.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.gateway.arms import Arm
from benchmarks.gateway.cells import SOAK_CELL, Cell
from benchmarks.gateway.load import run_async, timed_loop
from benchmarks.gateway.processes import cpu_seconds
from benchmarks.gateway.prompts import PromptMaker, request_body, request_bytes
from benchmarks.gateway.stats import quantiles

__all__ = ["Incident", "Silence", "Stall", "incidents", "read_silences", "soak", "unexplained"]

_RAMP_S = 5.0
_LISTED = 200


@dataclass(frozen=True, slots=True)
class Stall:
    """A stream was silent from ``began`` (Unix time, seconds) for ``lasted`` seconds."""

    began: float
    lasted: float


@dataclass(frozen=True, slots=True)
class Incident:
    """Stalls that overlap, of any streams; times as in :class:`Stall`."""

    began: float
    lasted: float
    streams: int
    longest: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Engine or load generator did nothing from ``began`` (Unix time) for ``lasted`` seconds."""

    began: float
    lasted: float


def incidents(stalls: Sequence[Stall]) -> list[Incident]:
    """Overlapping stalls as one incident each, in order of time."""
    merged: list[Incident] = []
    for stall in sorted(stalls, key=lambda s: s.began):
        last = merged[-1] if merged else None
        if last is None or stall.began > last.began + last.lasted:
            merged.append(Incident(stall.began, stall.lasted, 1, stall.lasted))
            continue
        end = max(last.began + last.lasted, stall.began + stall.lasted)
        longest = max(last.longest, stall.lasted)
        merged[-1] = Incident(last.began, end - last.began, last.streams + 1, longest)
    return merged


def unexplained(
    stalls: Sequence[Stall], silences: Sequence[Silence], limit_s: float
) -> list[Stall]:
    """Stalls that would be over the limit even without others' silences inside them.

    Args:
        stalls: what the clients saw.
        silences: of the engine and of the load generator; they may overlap.
        limit_s: the longest gap that is no stall.
    """
    # As one, or a moment in two silences would be taken off twice.
    merged = incidents([Stall(s.began, s.lasted) for s in silences])
    left = []
    for stall in stalls:
        shared = sum(
            max(
                0.0,
                min(stall.began + stall.lasted, gap.began + gap.lasted)
                - max(stall.began, gap.began),
            )
            for gap in merged
        )
        if stall.lasted - shared > limit_s:
            left.append(stall)
    return left


def read_silences(path: Path) -> list[Silence]:
    """Reads the engine's silences: one JSON object a line, ``{"began": ..., "lasted": ...}``.

    Raises:
        ValueError: a line has another shape.
    """
    gaps = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            entry = json.loads(line)
            gaps.append(Silence(float(entry["began"]), float(entry["lasted"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is no engine gap: {error!r}") from error
    return gaps


def _requests(arm: Arm, maker: PromptMaker, seed: str, cell: Cell) -> Iterator[bytes]:
    rng = random.Random(seed)
    host, port = arm.target.host, arm.target.port
    while True:
        # Uneven lengths, so that the streams do not end and begin again in step.
        length = rng.randint(cell.output_tokens // 2, cell.output_tokens)
        text, _ = maker.text(cell.prompt_tokens, rng)
        body = request_body(replace(cell, output_tokens=length), text, "completions")
        yield request_bytes(host, port, "completions", body, arm.headers)


def soak(
    arm: Arm,
    maker: PromptMaker,
    seconds: float = 120.0,
    streams: int = SOAK_CELL.concurrency,
    stall_s: float = 0.25,
    engine_gaps: Path | None = None,
) -> Mapping[str, Any]:
    """Keeps ``streams`` streams open for so long and lists the stalls.

    Args:
        arm: up and ready.
        maker: of the prompts.
        seconds: how long new requests are sent.
        streams: how many are open at once.
        stall_s: a gap longer than this is a stall.
        engine_gaps: file the engine writes its own silences to (see :func:`read_silences`).

    Returns:
        Counts, quantiles of gaps and of TTFT (ms), ``incidents``, ``stalls`` (the longest 200),
        ``own_pauses`` (of the load generator) and ``unexplained``: stalls that neither it nor, if
        its record is given, the engine made.
    """
    cell = replace(SOAK_CELL, concurrency=streams)
    pids = arm.pids()
    cpu = cpu_seconds(pids)
    # perf_counter has no epoch of its own.
    epoch = time.time() - time.perf_counter()
    requests = _requests(arm, maker, "soak", cell)
    began = time.perf_counter()
    log = run_async(
        timed_loop(arm.target, requests, streams, True, seconds, ramp_s=_RAMP_S, stall_s=stall_s)
    )
    took = time.perf_counter() - began
    stalls = [Stall(epoch + start, gap) for start, gap, _ in log.stalls]
    errors = [r for r in log.records if r.error]
    good = [r for r in log.records if not r.error]
    own = [Silence(epoch + start, late) for start, late in log.pauses]
    engine = read_silences(engine_gaps) if engine_gaps is not None else []
    left = unexplained(stalls, [*own, *engine], stall_s)
    return {
        "arm": arm.name,
        "streams": streams,
        "seconds": took,
        "stall_ms": stall_s * 1000,
        "requests": len(log.records),
        "errors": len(errors),
        "error_kinds": sorted({r.error for r in errors})[:5],
        "tokens_per_s": sum(r.tokens for r in good) / took,
        "gap_ms": quantiles(list(log.gaps), 1000.0) | {"max": max(log.gaps, default=0.0) * 1000},
        "ttft_ms": quantiles([r.first - r.started for r in good], 1000.0),
        "cpu_s": cpu_seconds(arm.pids()) - cpu,
        "stall_count": len(stalls),
        "incidents": [asdict(i) for i in incidents(stalls)],
        "stalls": [asdict(s) for s in sorted(stalls, key=lambda s: -s.lasted)[:_LISTED]],
        "own_pauses": [asdict(s) for s in own],
        "engine_gaps_known": engine_gaps is not None,
        "unexplained_count": len(left),
        "unexplained": [asdict(s) for s in left[:_LISTED]],
    }
