"""From the records of one load to one sample: the figures of an arm, in a cell, in a round."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from benchmarks.gateway.cells import Cell
from benchmarks.gateway.client import Log, Record
from benchmarks.gateway.stats import quantiles

__all__ = ["METRICS", "problems", "sample_metrics"]

# Metric -> unit. Streams only: ttft, gap (between reads with content) and tpot (mean time a token
# after the first, per request).
METRICS: dict[str, str] = {
    "requests_per_s": "1/s",
    "tokens_per_s": "1/s",
    **{f"ttft_{q}": "ms" for q in ("p50", "p95", "p99")},
    **{f"gap_{q}": "ms" for q in ("p50", "p95", "p99")},
    **{f"tpot_{q}": "ms" for q in ("p50", "p95", "p99")},
    **{f"e2e_{q}": "ms" for q in ("p50", "p95", "p99")},
    "cpu_ms_per_request": "ms",
}
_MS = 1000.0
_KINDS_OF_ERROR = 5


def problems(cell: Cell, records: list[Record]) -> Counter[str]:
    """What went wrong, counted: errors, and answers with another number of tokens than asked."""
    found: Counter[str] = Counter()
    for record in records:
        if record.error:
            found[record.error] += 1
        elif record.tokens != cell.output_tokens:
            found[f"{record.tokens} tokens in place of {cell.output_tokens}"] += 1
    return found


def sample_metrics(cell: Cell, log: Log, cpu_s: float) -> dict[str, Any]:
    """Figures of one load.

    Only requests without a problem count, the time is that of all.

    Args:
        cell: what was asked.
        log: what came back.
        cpu_s: CPU seconds of the arm's processes during the load.

    Returns:
        ``metrics`` (see :data:`METRICS`, NaN where not told), ``requests``, ``errors`` (their
        number), ``error_kinds`` (the most frequent), ``seconds``, ``reads_per_token`` and
        ``stalls`` (gaps over 250 ms).
    """
    records = log.records
    wrong = problems(cell, records)
    good = [r for r in records if not r.error and r.tokens == cell.output_tokens]
    seconds = (
        max(r.ended for r in records) - min(r.started for r in records) if records else math.nan
    )
    metrics: dict[str, float] = dict.fromkeys(METRICS, math.nan)
    if good:
        tokens = sum(r.tokens for r in good)
        metrics["requests_per_s"] = len(good) / seconds
        metrics["tokens_per_s"] = tokens / seconds
        metrics["cpu_ms_per_request"] = cpu_s * _MS / len(good)
        _put(metrics, "e2e", [r.ended - r.started for r in good])
        if cell.stream:
            _put(metrics, "ttft", [r.first - r.started for r in good])
            _put(metrics, "gap", list(log.gaps))
            if cell.output_tokens > 1:
                rest = cell.output_tokens - 1
                _put(metrics, "tpot", [(r.ended - r.first) / rest for r in good])
    return {
        "metrics": metrics,
        "requests": len(records),
        "errors": sum(wrong.values()),
        "error_kinds": dict(wrong.most_common(_KINDS_OF_ERROR)),
        "seconds": seconds,
        "reads_per_token": _reads_per_token(cell, log, good),
        "stalls": len(log.stalls),
    }


def _put(metrics: dict[str, float], name: str, values: list[float]) -> None:
    for q, value in quantiles(values, _MS).items():
        metrics[f"{name}_{q}"] = value


def _reads_per_token(cell: Cell, log: Log, good: list[Record]) -> float:
    if not cell.stream or not good:
        return math.nan
    return (len(log.gaps) + len(good)) / sum(r.tokens for r in good)
