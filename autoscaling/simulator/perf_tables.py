"""Measured latencies of models on GPUs, as two projects publish them, made into service times.

Both tables have the same columns. splitwise-sim's are milliseconds, its `token_time` being that of
one token; SageServe's are seconds, its `token_time` being that of all the `token_size` tokens after
the first. Nothing in the files says so: it follows from `e2e_time`, and plausibility is checked.

The time between tokens comes from the rows of the one prompt length that has the most batch sizes
(512 tokens in both), prefill times from the rows of one prompt at a time. Repeats are told apart by
nothing, so that the median counts; a longer prompt or a greater batch that was measured as faster
is given the time of the shorter or smaller one. How the time between tokens grows with what a
sequence has behind it is thereby left out: at 8,192 tokens it is a tenth more for llama2-70b.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from statistics import median

import numpy as np

from app.errors import SimulationError, TraceInvalid
from autoscaling.simulator.service_times import CHUNK_TOKENS, ServiceModel

MOST_ROWS = 1_000_000
MOST_TIMES = 2
"""Sequences beyond the greatest batch that was measured, times that: further lines are no guess."""
_TOKEN_S = (0.001, 2.0)
_PROMPT_S = (0.001, 600.0)
_PROMPT_TPS = (10.0, 1e6)
_COLUMNS = (
    "model", "hardware", "prompt_size", "batch_size", "token_size", "prompt_time", "token_time",
    "tensor_parallel",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Row:
    key: tuple[str, str, int]
    prompt: int
    batch: int
    prompt_s: float
    token_s: float


def splitwise(
    lines: Iterable[str],
    *,
    model: str,
    hardware: str,
    tensor_parallel: int,
    kv_tokens: int,
    max_seqs: int,
    most_waiting: int = 32,
    chunk_tokens: int = CHUNK_TOKENS,
) -> ServiceModel:
    """One model of splitwise-sim's table (milliseconds, a token's time).

    Args:
        lines: The table with its header.
        model: Such as `llama2-70b`.
        hardware: Such as `h100-80gb`.
        tensor_parallel: GPUs of a replica.
        kv_tokens: Tokens that the replica's KV cache holds; no table says so.
        max_seqs: Requests that it computes at once, at most.
        most_waiting: Requests that it takes beyond those.
        chunk_tokens: Prompt tokens of a step, at most, while others decode.

    Raises:
        TraceInvalid: A line is none of such a table, or its times are of another unit.
        SimulationError: The table does not have what is asked for, or not enough of it.
    """
    rows = _rows(lines, "splitwise", 1e-3, whole_answer=False)
    times = _times(rows, "splitwise", (model, hardware, tensor_parallel), max_seqs)
    return ServiceModel(*times, kv_tokens, chunk_tokens, most_waiting)


def sageserve(
    lines: Iterable[str],
    *,
    model: str,
    hardware: str,
    tensor_parallel: int,
    kv_tokens: int,
    max_seqs: int,
    most_waiting: int = 32,
    chunk_tokens: int = CHUNK_TOKENS,
) -> ServiceModel:
    """One model of a SageServe table (seconds, the time of all tokens).

    Args:
        lines: The table with its header.
        model: Such as `Llama-3.1-8B`.
        hardware: Such as `a100-80gb`.
        tensor_parallel: GPUs of a replica.
        kv_tokens: Tokens that the replica's KV cache holds; no table says so.
        max_seqs: Requests that it computes at once, at most.
        most_waiting: Requests that it takes beyond those.
        chunk_tokens: Prompt tokens of a step, at most, while others decode.

    Raises:
        TraceInvalid: A line is none of such a table, or its times are of another unit.
        SimulationError: The table does not have what is asked for, or not enough of it.
    """
    rows = _rows(lines, "sageserve", 1.0, whole_answer=True)
    times = _times(rows, "sageserve", (model, hardware, tensor_parallel), max_seqs)
    return ServiceModel(*times, kv_tokens, chunk_tokens, most_waiting)


def _rows(lines: Iterable[str], what: str, unit_s: float, *, whole_answer: bool) -> list[_Row]:
    reader = csv.DictReader(lines)
    missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise TraceInvalid(what, 1, f"the header lacks {', '.join(missing)}")
    rows: list[_Row] = []
    for record in reader:
        if len(rows) == MOST_ROWS:
            raise TraceInvalid(what, reader.line_num, f"there are more than {MOST_ROWS:,} rows")
        rows.append(_row(record, what, reader.line_num, unit_s, whole_answer=whole_answer))
    if not rows:
        raise TraceInvalid(what, 0, "there are no rows")
    return rows


def _row(
    record: dict[str, str], what: str, line: int, unit_s: float, *, whole_answer: bool
) -> _Row:
    def number(name: str, *, whole: bool = False) -> float:
        try:
            value = float(record[name])
        except (TypeError, ValueError):
            value = float("nan")
        if not isfinite(value) or value <= 0 or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise TraceInvalid(what, line, f"{name} must be {kind} above 0, not {record[name]!r}")
        return value

    prompt, batch = int(number("prompt_size", whole=True)), int(number("batch_size", whole=True))
    tokens = number("token_size", whole=True)
    prompt_s = number("prompt_time") * unit_s
    token_s = number("token_time") * unit_s / (tokens if whole_answer else 1)
    said = "seconds, all tokens together" if whole_answer else "milliseconds a token"
    way_out = f"is this a table in other units? {what} has {said}"
    if not _TOKEN_S[0] <= token_s <= _TOKEN_S[1]:
        raise TraceInvalid(
            what, line, f"a token in {token_s:g} s is not within {_TOKEN_S} s; {way_out}"
        )
    read_tps = prompt * batch / prompt_s
    if not _PROMPT_S[0] <= prompt_s <= _PROMPT_S[1] or not (
        _PROMPT_TPS[0] <= read_tps <= _PROMPT_TPS[1]
    ):
        raise TraceInvalid(
            what, line, f"{prompt * batch:,} prompt tokens in {prompt_s:g} s cannot be; {way_out}"
        )
    key = (record["model"], record["hardware"], int(number("tensor_parallel", whole=True)))
    return _Row(key, prompt, batch, prompt_s, token_s)


def _times(
    rows: list[_Row], what: str, key: tuple[str, str, int], max_seqs: int
) -> tuple[tuple[float, ...], tuple[int, ...], tuple[float, ...]]:
    """Step times by sequences, prompt lengths, and the times of those."""
    chosen = [row for row in rows if row.key == key]
    if not chosen:
        there = "; ".join(" ".join(map(str, each)) for each in sorted({row.key for row in rows}))
        wanted = " ".join(map(str, key))
        raise SimulationError(f"{what} has no {wanted} (model, hardware, tensor_parallel): {there}")
    by_prompt: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    reading: dict[int, list[float]] = defaultdict(list)
    for row in chosen:
        by_prompt[row.prompt][row.batch].append(row.token_s)
        if row.batch == 1:
            reading[row.prompt].append(row.prompt_s)
    batches = max(by_prompt.items(), key=lambda item: (len(item[1]), -item[0]))[1]
    sizes = sorted(batches)
    if len(sizes) < 2 or not reading:
        raise SimulationError(f"{what}: {key[0]} was measured with too few batch sizes or prompts")
    if not 1 <= max_seqs <= MOST_TIMES * sizes[-1]:
        raise SimulationError(
            f"{what}: {key[0]} was measured with up to {sizes[-1]:,} sequences, which tells of 1 "
            f"to {MOST_TIMES * sizes[-1]:,}; max_seqs of {max_seqs:,} is not within that"
        )
    steps = _rising([median(batches[size]) for size in sizes])
    lengths = sorted(reading)
    itl = np.interp(np.arange(max_seqs + 1), sizes, steps)
    growth = (steps[-1] - steps[-2]) / (sizes[-1] - sizes[-2])
    itl += np.maximum(0, np.arange(max_seqs + 1) - sizes[-1]) * growth
    return (
        tuple(itl.tolist()),
        tuple(lengths),
        tuple(_rising([median(reading[length]) for length in lengths])),
    )


def _rising(values: list[float]) -> list[float]:
    return list(accumulate(values, max))
