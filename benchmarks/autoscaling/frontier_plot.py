"""The main picture: each policy's frontier around the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.autoscaling.arms import ORACLE, OURS, SKY, STATIC, STRONG, TUNED
from benchmarks.autoscaling.grid import TARGET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]
COLOURS = {
    OURS: "#0b7285",
    STRONG: "#e8590c",
    SKY: "#c2255c",
    TUNED: "#5f3dc4",
    STATIC: "#495057",
    ORACLE: "#2b8a3e",
}
MARKERS = {OURS: "o", STRONG: "s", SKY: "v", TUNED: "^", STATIC: "D", ORACLE: "*"}
OTHER = "#adb5bd"
_LABELS = {
    OURS: "Tidegate",
    STRONG: "Dynamo + SkyServe",
    SKY: "SkyServe",
    TUNED: "Serve, tuned",
    STATIC: "static peak",
    ORACLE: "oracle",
}
"""Short, for the lines; in full in the tables."""
_MOST_MISS, _LEAST_MISS = 0.03, 2e-4
"""Of requests, at the edges of the picture: what matters is around the target."""
_TICKS = (0.03, 0.02, 0.015, 0.01, 0.007, 0.005, 0.003, 0.002, 0.001, 5e-4, 2e-4)
_COSTS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 20.0)
_APART = 0.045
"""Of the picture's height, between two labels."""
_WIDE = 0.22
"""Of its width: as wide as a label may be."""


def draw_frontiers(path: Path, document: Document) -> bool:
    """Cost over misses, a panel for each main world.

    Args:
        path: File to write.
        document: Of the benchmark.
    """
    from matplotlib import pyplot as plt

    cells = [cell for cell in document["main"] if cell["matched"]]
    if not cells:
        return False
    columns = min(2, len(cells))
    rows = -(-len(cells) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(6.8 * columns, 5.2 * rows + 0.4), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for panel, cell in zip(axes.flat, cells, strict=False):
        _panel(panel, cell)
    for panel in list(axes.flat)[len(cells) :]:
        panel.axis("off")
    begin, end = document["plan"]["test_days"]
    figure.suptitle(
        f"Cost against SLO attainment, days {begin + 1} to {end}; lower right is better. "
        "Large marks: as frozen"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def _panel(panel: Axes, cell: Document) -> None:
    ends: list[tuple[float, float, str, str]] = []
    outside: list[str] = []
    shown: list[float] = []
    for arm, one in cell["matched"].items():
        points = sorted(one["points"], key=lambda point: point["headroom"])
        misses = [max(point["misses"], _LEAST_MISS) for point in points]
        costs = [point["cost"] for point in points]
        within = [place for place, miss in enumerate(misses) if miss <= _MOST_MISS]
        if not within:
            outside.append(f"{_LABELS.get(arm, arm)} (up to {100 * (1 - min(misses)):.1f}%)")
            continue
        colour, ours = COLOURS.get(arm, OTHER), arm == OURS
        panel.plot(
            misses, costs, marker=MARKERS.get(arm, "."), color=colour, markersize=4,
            linewidth=2.4 if ours else 1.4 if arm in COLOURS else 0.9, zorder=4 if ours else 3,
        )  # fmt: skip
        frozen = cell["rows"].get(arm, {}).get("headroom")
        for point, miss in zip(points, misses, strict=True):
            if point["headroom"] == frozen and arm in COLOURS:
                panel.plot(miss, point["cost"], MARKERS[arm], color=colour, markersize=9, zorder=5)
        shown += [costs[place] for place in within]
        last = min(within, key=lambda place: misses[place])
        ends.append((misses[last], costs[last], _LABELS.get(arm, arm), colour))
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_xlim(_MOST_MISS, _LEAST_MISS * 0.8)
    if shown:
        low, high = 0.88 * min(shown), 1.15 * max(shown)
        panel.set_ylim(low, high)
        ticks = [each for each in _COSTS if low <= each <= high]
        panel.set_yticks(ticks, [f"{each:g}" for each in ticks], fontsize=8)
    named = [f"{100 * (1 - each):g}" for each in _TICKS]
    panel.set_xticks(_TICKS, [*named[:-1], f"≥ {named[-1]}"], fontsize=8)
    panel.minorticks_off()
    _label(panel, ends)
    panel.axvline(1 - TARGET, color="black", linewidth=1.0, linestyle="--")
    panel.set_xlabel("requests within the SLO, % (log scale of misses)")
    panel.set_ylabel("$ a million tokens (log scale)")
    world = cell["world"]
    title = f"{world['series']}, lead time {world['lead_s']:g} s"
    if outside:
        title += f"\nbelow {100 * (1 - _MOST_MISS):g}%: {', '.join(outside)}"
    panel.set_title(title, fontsize=9)
    panel.grid(alpha=0.25)


def _label(panel: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names lines at their right ends, moved apart where they would meet."""
    low, high = panel.get_ylim()
    placed: list[tuple[float, float]] = []
    for miss, cost, name, colour in sorted(ends, key=lambda end: end[1]):
        across = log(_MOST_MISS / miss) / log(_MOST_MISS / _LEAST_MISS)
        height = log(cost / low) / log(high / low)
        at = height
        for there, taken in placed:
            if colour != OTHER and abs(there - across) < _WIDE and at < taken + _APART:
                at = max(at, taken + _APART)
        if colour != OTHER:
            placed.append((across, at))
        inside = miss > 6e-4
        panel.annotate(
            name, (miss, cost), xytext=(7 if inside else -7, (at - height) * 300 + 2),
            textcoords="offset points", fontsize=6.5 if colour == OTHER else 8,
            color=colour if colour != OTHER else "#868e96",
            ha="left" if inside else "right", va="bottom",
            fontweight="bold" if name == _LABELS[OURS] else "normal", zorder=6,
        )  # fmt: skip
