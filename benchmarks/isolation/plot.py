"""The results as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["draw_noisy", "draw_timing"]

_COLOURS = {
    "alone": "#868e96",
    "shared": "#5f3dc4",
    "noisy": "#0b7285",
    "noisy-waiting": "#c2255c",
    "noisy-fcfs": "#e8590c",
}


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def draw_noisy(report: Mapping[str, Any], path: Path) -> None:
    """Distribution of B's time to the first token, and what each tenant was served."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for arm, values in report["ttft_ms_samples"].items():
        ordered = sorted(values)
        shares = [(index + 1) / len(ordered) for index in range(len(ordered))]
        left.plot(ordered, shares, color=_COLOURS[arm], label=arm)
    left.set_xscale("log")
    left.set_xlabel("time to B's first token, ms")
    left.set_ylabel("share of requests")
    left.axhline(0.99, color="black", linewidth=0.6, linestyle=":")
    left.legend()
    for place, (arm, served) in enumerate(report["served_weighted_tokens"].items()):
        total = sum(served.values())
        bars = [index + (place - 0.5) * 0.4 for index in range(len(served))]
        jain = report["jain"][arm]
        right.bar(
            bars,
            [value / total for value in served.values()],
            0.4,
            color=_COLOURS["noisy" if arm == "fair" else "noisy-fcfs"],
            label=f"{arm}: Jain {jain:.3f}",
        )
    right.set_xticks(range(4), ["A, ten times", "B", "C", "D"])
    right.set_ylabel("share of weighted tokens served, all backlogged")
    right.legend()
    figure.suptitle("A noisy neighbour: fair queue against order of arrival")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def draw_timing(report: Mapping[str, Any], path: Path) -> None:
    """AUC of each arm, with its interval."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(8, 3.2), layout="constrained")
    arms = report["arms"]
    for place, (name, arm) in enumerate(arms.items()):
        low, high = arm["interval"]
        colour = "#0b7285" if name != "salts off" else "#e8590c"
        axes.plot([low, high], [place, place], color=colour, linewidth=3)
        axes.plot(arm["auc"], place, "o", color=colour)
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(arms)), list(arms))
    axes.invert_yaxis()
    axes.set_xlim(0.4, 1.02)
    axes.set_xlabel("AUC of the attack (0.5 is guessing), 95% interval")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
