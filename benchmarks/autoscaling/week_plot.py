"""The test days as they went: what was needed, and what ran in which market."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.arms import ARMS, OURS, STRONG

_DAY_S = 86_400.0


def draw_week(path: Path, document: Mapping[str, Any]) -> bool:
    """Ours above the strong baseline, a column for each series.

    Args:
        path: File to write.
        document: Of the benchmark.
    """
    from matplotlib import pyplot as plt

    cells: dict[str, Mapping[str, Any]] = {}
    for cell in document["main"]:
        if OURS in cell["week"] and STRONG in cell["week"]:
            cells.setdefault(cell["world"]["series"], cell)
    if not cells:
        return False
    figure, axes = plt.subplots(
        2, len(cells), figsize=(7.5 * len(cells), 6.4), layout="constrained", squeeze=False,
        sharex=True, sharey="col",
    )  # fmt: skip
    for column, (series, cell) in enumerate(cells.items()):
        for line, arm in enumerate((OURS, STRONG)):
            panel, week = axes[line][column], cell["week"][arm]
            days = [1 + at / _DAY_S for at in week["at_s"]]
            panel.stackplot(
                days, week["on_demand"], week["spot"], colors=("#f59f00", "#74c0fc"),
                labels=("ready on demand", "ready on spot"), step="post",
            )  # fmt: skip
            panel.step(
                days, week["needed"], where="post", color="black", linewidth=0.9,
                label="kept busy by demand",
            )  # fmt: skip
            one = cell["rows"][arm]
            panel.set_title(
                f"{ARMS[arm].title}\n{series}, lead time {cell['world']['lead_s']:g} s; over all "
                f"alignments ${one['cost_per_million']:.3f} a million tokens, "
                f"{100 * one['attainment']:.2f}% within the SLO",
                fontsize=9,
            )
            panel.set_ylabel("replicas")
            panel.margins(x=0)
        axes[1][column].set_xlabel("day of the demand")
        axes[1][column].xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
