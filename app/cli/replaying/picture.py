"""One pool's replay as a picture: demand, replicas by market, and what waited."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.cli.replaying.options import BIN_S
from app.cli.replaying.run import PoolReplay, Run
from app.cli.replaying.told import heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ON_DEMAND, _SPOT, _STARTING, _WORK, _QUEUE = "#0b7285", "#66c2a5", "#ced4da", "#212529", "#c92a2a"
_MOST_POINTS = 1_440


def draw(name: str, pool: PoolReplay, start: float, path: Path) -> None:
    """Writes a PNG: a column for each policy, over the same axes.

    Args:
        name: The pool's name.
        pool: What came of it.
        start: Unix time of second 0 of the demand.
        path: Where to.

    Raises:
        OSError: It cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    with mpl.rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(
            2,
            len(pool.runs),
            figsize=(max(7.0, 5.4 * len(pool.runs)), 4.8),
            layout="constrained",
            squeeze=False,
            sharex=True,
            sharey="row",
            gridspec_kw={"height_ratios": (3, 1)},
        )
        for column, (policy, run) in enumerate(pool.runs.items()):
            _replicas(axes[0][column], pool, run, policy, start)
            _queue(axes[1][column], run, start)
        axes[0][0].set_ylabel("replicas")
        axes[1][0].set_ylabel("requests\nwaiting")
        # Room above for the legend: the axes are shared, so that either one tells how high.
        axes[0][0].set_ylim(0, 1.25 * axes[0][0].get_ylim()[1])
        axes[1][0].set_ylim(0, max(1.0, axes[1][0].get_ylim()[1]))
        axes[0][-1].legend(loc="upper right", fontsize=7, ncols=2, framealpha=0.9)
        figure.suptitle(f"{name}: demand and capacity (UTC)", x=0.01, ha="left", fontsize=10)
        figure.savefig(path, dpi=130)
        plt.close(figure)


def _replicas(axes: "Axes", pool: PoolReplay, run: Run, policy: str, start: float) -> None:
    points, outcome = run.points, run.outcome
    at = _times(points["at_s"], start)
    on_demand, spot = np.array(points["on_demand"]), np.array(points["spot"])
    top = on_demand + spot
    coming = top + np.array(points["coming"])
    axes.fill_between(at, top, coming, step="post", color=_STARTING, lw=0, label="starting")
    if any(site.market == "spot" for site in pool.case.scenario.prices):
        axes.fill_between(at, on_demand, top, step="post", color=_SPOT, lw=0, label="spot")
    axes.fill_between(at, 0, on_demand, step="post", color=_ON_DEMAND, lw=0, label="on-demand")
    work = _coarse(pool.case.needed)
    every_s = BIN_S * len(pool.case.needed) / len(work)
    begin_s = pool.case.scenario.begin_s
    bins = _times([begin_s + every_s * number for number in range(len(work))], start)
    axes.step(bins, work, where="post", color=_WORK, lw=0.8, label="busy with demand")
    axes.set_title(
        f"{heading(policy, run)}: ${outcome.dollars:,.2f}, {outcome.attainment:.2%} within the SLO",
        loc="left",
        fontsize=9,
    )


def _queue(axes: "Axes", run: Run, start: float) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    at = _times(run.points["at_s"], start)
    axes.fill_between(at, 0, run.points["waiting"], step="post", color=_QUEUE, lw=0)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _coarse(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Sequence[float]:
    """Means of as many bins as leave no more points than can be seen."""
    size = max(1, -(-len(values) // _MOST_POINTS))
    whole = len(values) // size * size
    means: list[float] = values[:whole].reshape(-1, size).mean(axis=1).tolist()
    return means


def _times(seconds: Sequence[float], start: float) -> list[datetime]:
    origin = datetime.fromtimestamp(start, UTC)
    return [origin + timedelta(seconds=each) for each in seconds]
