"""From samples to a report: medians over rounds, ratios, goals; as JSON and as Markdown.

Pure functions: the same samples give the same report, so a published one can be drawn anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.gateway.goals import GOALS, REFERENCE, RIVAL, Goal, Outcome, judge
from benchmarks.gateway.samples import METRICS
from benchmarks.gateway.stats import paired_spread, ratio_of_medians

__all__ = ["Summary", "dump", "failures", "outcomes", "summarise", "to_markdown"]

Sample = Mapping[str, Any]
Summary = dict[str, dict[str, dict[str, Any]]]

_SUBJECT = "tidegate"
_TABLE: tuple[tuple[str, str], ...] = (
    ("requests_per_s", "requests/s"),
    ("tokens_per_s", "tokens/s"),
    ("ttft", "TTFT ms"),
    ("gap", "ITL ms"),
    ("e2e", "end to end ms"),
    ("cpu_ms_per_request", "CPU ms/request"),
)


def _values(samples: Sequence[Sample], arm: str, cell: str, metric: str) -> list[float]:
    taken = sorted(
        (s for s in samples if s["arm"] == arm and s["cell"] == cell), key=lambda s: s["round"]
    )
    return [_number(s["metrics"].get(metric)) for s in taken]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _median(values: Sequence[float]) -> float:
    told = [v for v in values if not math.isnan(v)]
    return median(told) if told else math.nan


def _order(samples: Sequence[Sample], key: str) -> list[str]:
    return list(dict.fromkeys(str(s[key]) for s in samples))


def summarise(samples: Sequence[Sample], reference: str = REFERENCE) -> Summary:
    """Cell -> arm -> its figures.

    Returns:
        For each arm ``median`` (metric -> median over rounds), ``ratio`` (metric -> ratio of
        medians to the reference), ``spread`` (metric -> least and largest ratio within a round),
        ``errors`` and ``requests`` (sums), ``died``.
    """
    summary: Summary = {}
    known = (reference, _SUBJECT, RIVAL)
    for cell in _order(samples, "cell"):
        arms = _order([s for s in samples if s["cell"] == cell], "arm")
        # Turns were taken, so the order of the samples says nothing.
        arms.sort(key=lambda arm: known.index(arm) if arm in known else len(known))
        summary[cell] = {}
        for arm in arms:
            own = [s for s in samples if s["arm"] == arm and s["cell"] == cell]
            figures: dict[str, Any] = {
                "median": {},
                "ratio": {},
                "spread": {},
                "errors": sum(int(s["errors"]) for s in own),
                "requests": sum(int(s["requests"]) for s in own),
                "died": any(s.get("died") for s in own),
                "rounds": len(own),
            }
            for metric in METRICS:
                values = _values(samples, arm, cell, metric)
                base = _values(samples, reference, cell, metric)
                figures["median"][metric] = _median(values)
                figures["ratio"][metric] = ratio_of_medians(values, base)
                if len(values) == len(base):
                    figures["spread"][metric] = list(paired_spread(values, base))
                else:
                    figures["spread"][metric] = [math.nan, math.nan]
            summary[cell][arm] = figures
    return summary


def outcomes(
    samples: Sequence[Sample], goals: Sequence[Goal] = GOALS, subject: str = _SUBJECT
) -> list[Outcome]:
    """Every goal, judged; a cell without samples is "not measured"."""
    found = []
    for goal in goals:
        own = _values(samples, subject, goal.cell, goal.metric)
        base = _values(samples, goal.against, goal.cell, goal.metric)
        bad = sum(
            int(s["errors"]) + bool(s.get("died"))
            for s in samples
            if s["cell"] == goal.cell and s["arm"] in (subject, goal.against)
        )
        found.append(judge(goal, ratio_of_medians(own, base), bad))
    return found


def failures(samples: Sequence[Sample]) -> list[str]:
    """One line for each kind of failure in each sample."""
    lines = []
    for s in samples:
        where = f"{s['arm']} {s['cell']} round {s['round']}"
        if s.get("died"):
            lines.append(f"{where}: the arm is dead")
        for kind, count in s["error_kinds"].items():
            lines.append(f"{where}: {count} of {s['requests']} requests: {kind}")
    return lines


def _plain(value: Any) -> Any:
    """NaN becomes null, figures get five digits: JSON that any reader takes."""
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def dump(meta: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    """The whole run as JSON: ``meta``, ``goals``, ``failures``, ``summary``, ``samples``."""
    document = {
        "meta": meta,
        "goals": [
            {"goal": o.goal.title, "ratio": o.ratio, "verdict": o.verdict}
            for o in outcomes(samples)
        ],
        "failures": failures(samples),
        "summary": summarise(samples),
        "samples": list(samples),
    }
    return json.dumps(_plain(document), indent=1, allow_nan=False) + "\n"


def _figure(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _cell_text(figures: Mapping[str, Any], metric: str) -> str:
    if metric in METRICS:
        return _figure(figures["median"][metric])
    parts = [_figure(figures["median"][f"{metric}_{q}"]) for q in ("p50", "p95", "p99")]
    return "-" if set(parts) == {"-"} else " / ".join(parts)


def _ratio_text(figures: Mapping[str, Any], metric: str) -> str:
    ratio, (low, high) = figures["ratio"][metric], figures["spread"][metric]
    if math.isnan(ratio):
        return "-"
    return f"{ratio:.2f}" if math.isnan(low) else f"{ratio:.2f} ({low:.2f} to {high:.2f})"


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def to_markdown(meta: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    """The report to read: goals, failures, ratios, figures, and how they were taken."""
    summary = summarise(samples)
    lines = ["# Gateway benchmark", "", *_intro(meta, samples), "", "## Goals", ""]
    lines += _rows(
        ("goal", "measured", "verdict"),
        [
            (o.goal.title, "-" if math.isnan(o.ratio) else f"{o.ratio:.2f}", o.verdict)
            for o in outcomes(samples)
        ],
    )
    failed = failures(samples)
    lines += ["", "## Failures", "", *([f"- {line}" for line in failed] or ["None."])]
    for arm, why in meta.get("arms_not_run", {}).items():
        lines.append(f"- {arm} was not run: {' '.join(str(why).split())[:500]}")
    lines += ["", f"## Ratios to `{REFERENCE}`", ""]
    lines.append("Ratio of medians over rounds (least to largest within a round).")
    keys = ("requests_per_s", "tokens_per_s", "ttft_p50", "gap_p95", "e2e_p50", "e2e_p99")
    lines += ["", *_rows(("cell", "arm", *keys, "cpu"), _ratio_rows(summary, keys))]
    lines += ["", "## Figures", "", "Medians over rounds; latencies as p50 / p95 / p99.", ""]
    rows = [
        (cell, arm, *(_cell_text(f, metric) for metric, _ in _TABLE), f"{f['errors']}")
        for cell, arms in summary.items()
        for arm, f in arms.items()
    ]
    lines += _rows(("cell", "arm", *(title for _, title in _TABLE), "errors"), rows)
    return "\n".join(lines) + "\n"


def _ratio_rows(summary: Summary, keys: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (cell, arm, *(_ratio_text(f, k) for k in keys), _ratio_text(f, "cpu_ms_per_request"))
        for cell, arms in summary.items()
        for arm, f in arms.items()
        if arm != REFERENCE
    ]


def _intro(meta: Mapping[str, Any], samples: Sequence[Sample]) -> list[str]:
    """What was compared, on what, and what may have disturbed it."""
    lines = [f"- {key}: {value}" for key, value in meta.get("about", {}).items()]
    for arm, cores in meta.get("idle_cpu", {}).items():
        lines.append(f"- {arm} idle: {cores * 100:.1f} % of a core")
    foreign = [_number(s.get("foreign_cpu")) for s in samples]
    told = [f for f in foreign if not math.isnan(f)]
    if told:
        lines.append(
            f"- foreign load while measuring: median {median(told):.2f} cores, most {max(told):.2f}"
        )
    return lines
