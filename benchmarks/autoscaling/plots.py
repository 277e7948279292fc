"""The pictures: costs of all policies, and what changes with the world; the others by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.autoscaling.arms import ARMS, SIDE
from benchmarks.autoscaling.frontier_plot import COLOURS, MARKERS, OTHER, draw_frontiers
from benchmarks.autoscaling.grid import TARGET
from benchmarks.autoscaling.week_plot import draw_week

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]


def draw(out: Path, document: Document) -> list[tuple[str, str]]:
    """Draws everything that there is data for.

    Args:
        out: Directory for the pictures.
        document: Of the benchmark.

    Returns:
        File and title of each, the main one first.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    drawn = []
    for name, title, make in (
        ("autoscaling.png", "cost against SLO attainment", draw_frontiers),
        ("autoscaling-cost.png", "cost by policy", draw_costs),
        ("autoscaling-week.png", "test days under two policies", draw_week),
        ("autoscaling-worlds.png", "sensitivity", draw_worlds),
    ):
        if make(out / name, document):
            drawn.append((name, title))
    return drawn


def draw_costs(path: Path, document: Document) -> bool:
    """Cost of every policy as frozen, with intervals and attainment.

    Args:
        path: File to write.
        document: Of the benchmark.
    """
    from matplotlib import pyplot as plt

    cells = document["main"]
    if not cells:
        return False
    arms = [arm for arm in ARMS if any(arm in cell["rows"] for cell in cells)]
    figure, axes = plt.subplots(
        1, len(cells), figsize=(3.6 * len(cells) + 2.6, 0.36 * len(arms) + 1.6),
        layout="constrained", squeeze=False, sharey=True,
    )  # fmt: skip
    for panel, cell in zip(axes.flat, cells, strict=True):
        for place, arm in enumerate(arms):
            one = cell["rows"].get(arm)
            if one is None or one["cost_per_million"] is None:
                continue
            value, low, high = one["intervals"]["cost_per_million"]
            kept = one["attainment"] >= TARGET
            panel.barh(
                place, value, color=COLOURS.get(arm, OTHER), alpha=1.0 if kept else 0.35,
                hatch=None if kept else "//", edgecolor="white",
            )  # fmt: skip
            if low is not None and high is not None:
                panel.plot([low, high], [place, place], color="black", linewidth=1.2)
            panel.text(
                (high or value) * 1.02, place, f"{100 * one['attainment']:.1f}%", va="center",
                fontsize=7,
            )  # fmt: skip
        panel.set_title(f"{cell['world']['series']}, {cell['world']['lead_s']:g} s", fontsize=10)
        panel.set_xlabel("$ a million tokens")
        panel.margins(x=0.18)
    axes.flat[0].set_yticks(range(len(arms)), [ARMS[arm].title for arm in arms], fontsize=8)
    axes.flat[0].invert_yaxis()
    figure.suptitle(
        f"Cost as frozen after tuning, with 95% intervals; at each bar its attainment "
        f"(hatched: below {TARGET:.0%})",
        fontsize=10,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


_AXES: Sequence[tuple[str, str, float]] = (
    ("lead_s", "lead time, s", 1.0),
    ("notice_s", "notice of a preemption, s", 1.0),
    ("discount", "discount of spot, %", 100.0),
)


def draw_worlds(path: Path, document: Document) -> bool:
    """Cost and attainment of the main policies by lead time, notice and discount.

    Args:
        path: File to write.
        document: Of the benchmark.
    """
    from matplotlib import pyplot as plt

    plain = [
        cell
        for cell in (*document["main"], *document["leads"], *document["sides"])
        if not cell["world"]["injection"]
    ]
    series = list(dict.fromkeys(cell["world"]["series"] for cell in plain))
    if len({tuple(cell["world"].values()) for cell in plain}) <= len(series):
        return False
    figure, axes = plt.subplots(
        2 * len(series), len(_AXES), figsize=(4.2 * len(_AXES), 5.2 * len(series)),
        layout="constrained", squeeze=False, sharex="col",
    )  # fmt: skip
    home = document["main"][0]["world"]
    for line, name in enumerate(series):
        for column, (field, label, factor) in enumerate(_AXES):
            held = [other for other, _, _ in _AXES if other != field]
            row = [
                cell
                for cell in plain
                if cell["world"]["series"] == name
                and all(cell["world"][other] == home[other] for other in held)
            ]
            row.sort(key=lambda cell: cell["world"][field])
            where = [factor * cell["world"][field] for cell in row]
            _lines(axes[2 * line][column], where, row, "cost_per_million", 1.0)
            _lines(axes[2 * line + 1][column], where, row, "attainment", 100.0)
            axes[2 * line + 1][column].axhline(100 * TARGET, color="black", lw=0.8, ls=":")
            axes[2 * line][column].set_title(f"{name}: {label}", fontsize=10)
            axes[2 * line][column].set_ylim(bottom=0)
            axes[2 * line + 1][column].set_xlabel(label)
        axes[2 * line][0].set_ylabel("$ a million tokens")
        axes[2 * line + 1][0].set_ylabel("requests within the SLO, %")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True


def _lines(
    panel: Axes, where: Sequence[float], cells: Sequence[Document], name: str, factor: float
) -> None:
    for arm in SIDE:
        known = [
            (at, factor * cell["rows"][arm][name])
            for at, cell in zip(where, cells, strict=True)
            if arm in cell["rows"] and cell["rows"][arm][name] is not None
        ]
        panel.plot(
            [at for at, _ in known], [value for _, value in known], marker=MARKERS[arm],
            color=COLOURS[arm], label=ARMS[arm].title, markersize=5, linewidth=1.4,
        )  # fmt: skip
    panel.grid(alpha=0.25)
    panel.set_xticks(sorted(set(where)))
    panel.tick_params(labelsize=8)
