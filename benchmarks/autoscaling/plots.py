"""The pictures: frontiers, costs, one week, and what changes with the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.autoscaling.arms import ARMS, MAIN, ORACLE, OURS, STATIC, STRONG, TUNED
from benchmarks.autoscaling.grid import TARGET
from benchmarks.autoscaling.week_plot import draw_week

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = Mapping[str, Any]
COLOURS = {
    OURS: "#0b7285",
    STRONG: "#e8590c",
    TUNED: "#5f3dc4",
    STATIC: "#495057",
    ORACLE: "#2b8a3e",
}
MARKERS = {OURS: "o", STRONG: "s", TUNED: "^", STATIC: "D", ORACLE: "*"}
_OTHER = "#adb5bd"
_LEAST_MISS = 1e-5


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
    lines = -(-len(cells) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(6.4 * columns, 4.6 * lines + 0.8), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for panel, cell in zip(axes.flat, cells, strict=False):
        _frontier(panel, cell)
    for panel in list(axes.flat)[len(cells) :]:
        panel.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * columns, fontsize=9)
    begin, end = document["plan"]["test_days"]
    figure.suptitle(
        f"Cost against SLO attainment, days {begin + 1} to {end}; lower right is better"
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return True


def _frontier(panel: Axes, cell: Document) -> None:
    for arm in MAIN:
        one = cell["matched"].get(arm)
        if one is None:
            continue
        points = sorted(one["points"], key=lambda point: point["headroom"])
        misses = [max(point["misses"], _LEAST_MISS) for point in points]
        costs = [point["cost"] for point in points]
        panel.plot(
            misses, costs, marker=MARKERS[arm], color=COLOURS[arm], label=ARMS[arm].title,
            linewidth=2.2 if arm == OURS else 1.3, markersize=9 if arm == ORACLE else 6,
            zorder=4 if arm == OURS else 3,
        )  # fmt: skip
    top = 1.25 * max(point["cost"] for one in cell["matched"].values() for point in one["points"])
    first = True
    beyond = []
    for arm, one in cell["rows"].items():
        if ARMS[arm].role == "other" and one["cost_per_million"] is not None:
            if one["cost_per_million"] > top:
                beyond.append(
                    f"{arm}: ${one['cost_per_million']:.2f}, {100 * one['attainment']:.2f}%"
                )
                continue
            miss = max(1 - one["attainment"], _LEAST_MISS)
            panel.plot(
                miss, one["cost_per_million"], "x", color=_OTHER, zorder=2,
                label="other policies, as frozen" if first else None,
            )  # fmt: skip
            first = False
            panel.annotate(
                arm, (miss, one["cost_per_million"]), fontsize=6.5, color="#868e96",
                textcoords="offset points", xytext=(4, 3),
            )  # fmt: skip
    panel.axvline(1 - TARGET, color="black", linewidth=0.8, linestyle=":")
    panel.set_xscale("log")
    panel.invert_xaxis()
    ticks = [each for each in (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 1e-4, 1e-5)
             if panel.get_xlim()[1] <= each <= panel.get_xlim()[0]]  # fmt: skip
    panel.set_xticks(ticks, [f"{100 * (1 - each):g}" for each in ticks], fontsize=8)
    panel.minorticks_off()
    panel.set_xlabel("requests within the SLO, % (log scale of misses)")
    panel.set_ylabel("$ a million tokens")
    panel.set_ylim(0, top)
    if beyond:
        said = "above the picture: " + "; ".join(beyond)
        panel.text(0.02, 0.97, said, transform=panel.transAxes, fontsize=7, va="top")
    world = cell["world"]
    panel.set_title(f"{world['series']}, lead time {world['lead_s']:g} s", fontsize=10)
    panel.grid(alpha=0.25)


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
                place, value, color=COLOURS.get(arm, _OTHER), alpha=1.0 if kept else 0.35,
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
    if not document["leads"] and not document["sides"]:
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
    for arm in MAIN:
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
