"""The report as one picture: ratios to ``vllm serve`` by cell, with the goals' bars and aims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.gateway.goals import GOALS, REFERENCE
from benchmarks.gateway.report import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_COLOURS = {"tidegate": "#0b7285", "ray-llm": "#e8590c", "vllm-default": "#868e96"}
_SPARE = ("#5f3dc4", "#2b8a3e", "#a61e4d")


def draw(summary: Summary, path: Path, subtitle: str) -> None:
    """Writes a PNG with three panels: rates, latencies and CPU, each as a ratio to the reference.

    Args:
        summary: of :func:`benchmarks.gateway.report.summarise`.
        path: file to write.
        subtitle: one line on the run.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(11, 12), layout="constrained")
    rates = [(c, "tokens_per_s" if c.startswith("chatty") else "requests_per_s") for c in summary]
    _panel(axes[0], summary, rates, "Rate (tokens/s chatty, else requests/s): higher is better")
    delays: list[tuple[str, str]] = []
    for cell in summary:
        if cell.startswith("chatty"):
            delays += [(cell, "ttft_p50"), (cell, "gap_p95")]
        else:
            delays.append((cell, "ttft_p50" if "stream" in cell else "e2e_p50"))
    _panel(axes[1], summary, delays, "Latency: lower is better")
    cpu = [(cell, "cpu_ms_per_request") for cell in summary]
    _panel(axes[2], summary, cpu, "CPU a request, all processes: lower is better")
    figure.suptitle(f"Tidegate against vllm serve, same engine\n{subtitle}", fontsize=12)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(axes: Axes, summary: Summary, bars: Sequence[tuple[str, str]], title: str) -> None:
    arms = [a for a in dict.fromkeys(a for c in summary.values() for a in c) if a != REFERENCE]
    spare = iter(_SPARE)
    colours = {arm: _COLOURS.get(arm) or next(spare, "#495057") for arm in arms}
    width = 0.8 / max(1, len(arms))
    for index, arm in enumerate(arms):
        for place, (cell, metric) in enumerate(bars):
            figures = summary[cell].get(arm)
            if figures is None:
                continue
            x = place + (index - (len(arms) - 1) / 2) * width
            _bar(axes, x, width, figures, metric, colours[arm])
        axes.bar(0, 0, color=colours[arm], label=arm)
    axes.axhline(1.0, color="black", linewidth=1, label="vllm serve")
    _goal_lines(axes, bars)
    labels = [f"{cell}\n{metric.removesuffix('_per_request')}" for cell, metric in bars]
    axes.set_xticks(range(len(bars)), labels, fontsize=7)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _bar(
    axes: Axes, x: float, width: float, figures: dict[str, Any], metric: str, colour: str
) -> None:
    ratio, (low, high) = figures["ratio"][metric], figures["spread"][metric]
    failed = bool(figures["errors"] or figures["died"])
    if math.isnan(ratio):
        if failed:
            axes.text(x, 0.02, "failed", rotation=90, ha="center", fontsize=7, color="red")
        return
    (drawn,) = axes.bar(x, ratio, width * 0.92, color=colour)
    if failed:  # There were errors, so the bar is no result.
        drawn.set(hatch="xx", edgecolor="red")
    if not math.isnan(low):
        axes.plot([x, x], [low, high], color="black", linewidth=1)
    axes.text(x, ratio / 2, f"{ratio:.2f}", ha="center", fontsize=7, color="white", rotation=90)


def _goal_lines(axes: Axes, bars: Sequence[tuple[str, str]]) -> None:
    named = False
    for goal in GOALS:
        key = (goal.cell, goal.metric)
        if goal.against != REFERENCE or key not in bars:
            continue
        place = list(bars).index(key)
        span = [place - 0.45, place + 0.45]
        axes.plot(span, [goal.bar] * 2, color="red", linewidth=1.6, label="" if named else "bar")
        axes.plot(
            span,
            [goal.aim] * 2,
            color="green",
            linewidth=1.6,
            ls="--",
            label="" if named else "aim",
        )
        named = True
