"""A plan as a picture: the frontier, the steps of isolation, and hosted APIs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.planning.tables import money, tokens

if TYPE_CHECKING:
    from autoscaling.optimizer.advice import Advice
    from autoscaling.optimizer.hosted import HostedComparison

_COLOURS = ("#9aa0a6", "#1a73e8", "#12a4a4", "#e8710a", "#b3261e")


def draw(advice: "Advice", file: Path) -> None:
    """Writes the picture.

    Args:
        advice: What was worked out.
        file: A PNG.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 1 + (len(advice.hosted) + 1) // 2
    figure = Figure(figsize=(13, 4.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 2)
    _frontier(figure.add_subplot(grid[0, 0]), advice)
    _steps(figure.add_subplot(grid[0, 1]), advice)
    for index, each in enumerate(advice.hosted):
        _hosted(figure.add_subplot(grid[1 + index // 2, index % 2]), each)
    figure.suptitle(
        f"The cheapest fleet as asked: {money(advice.plan.dollars_month)} a month, "
        f"${advice.plan.dollars_per_million:.2f} a million tokens",
        fontsize=13,
        fontweight="bold",
        parse_math=False,
    )
    # Without the date the same plan is the same file.
    figure.savefig(file, dpi=110, metadata={"Software": None})


def _frontier(axes: Any, advice: "Advice") -> None:
    for cost, colour in zip(advice.steps, _COLOURS, strict=True):
        points = [
            point
            for point in advice.frontier.points
            if point.step == cost.step and point.dollars_h is not None
        ]
        if not points:
            continue
        at = [point.latency for point in points]
        dollars = [point.dollars_h * 0.73 for point in points if point.dollars_h is not None]
        axes.step(at, dollars, where="post", color=colour, linewidth=2, label=cost.step.name)
        best = [index for index, point in enumerate(points) if point.best]
        axes.plot(
            [at[index] for index in best],
            [dollars[index] for index in best],
            "o",
            color=colour,
            markersize=6,
        )
    axes.axvline(1.0, color="black", linewidth=1, linestyle=":")
    axes.annotate(
        "as promised",
        (1.0, 0.02),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="bottom",
        fontsize=8,
    )
    axes.set_ylim(bottom=0)
    axes.set_title("Cost by latency and isolation (dots: the frontier)", fontsize=11)
    axes.set_xlabel("latency allowed, as a multiple of what each stream is promised")
    axes.set_ylabel("thousand dollars a month")
    axes.legend(title="isolation", fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)


def _steps(axes: Any, advice: "Advice") -> None:
    names = [cost.step.name for cost in advice.steps]
    heights = [cost.plan.dollars_month / 1000 if cost.plan else 0.0 for cost in advice.steps]
    axes.bar(names, heights, color=_COLOURS, width=0.62)
    for index, (cost, height) in enumerate(zip(advice.steps, heights, strict=True)):
        words = "no such fleet" if cost.plan is None else money(height * 1000)
        if cost.more is not None:
            words += f"\n+{money(max(0.0, cost.more))}"
        axes.annotate(
            words, (index, height), ha="center", va="bottom", fontsize=9, parse_math=False
        )
    axes.set_ylim(0, max(heights) * 1.15 or 1)
    axes.set_title("What each step of isolation costs, at the promised latency", fontsize=11)
    axes.set_ylabel("thousand dollars a month")
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)


def _hosted(axes: Any, found: "HostedComparison") -> None:
    at = [volume.tokens for volume in found.curve]
    own = [volume.own / volume.tokens * 1e6 for volume in found.curve]
    hosted = [volume.hosted / volume.tokens * 1e6 for volume in found.curve]
    axes.plot(at, own, color=_COLOURS[1], linewidth=2, marker=".", label="own fleet")
    axes.plot(at, hosted, color=_COLOURS[3], linewidth=2, label="hosted API")
    axes.axvline(found.now.tokens, color="black", linewidth=1, linestyle=":")
    axes.annotate(
        f"this demand: {tokens(found.now.tokens)}",
        (found.now.tokens, 0.97),
        xycoords=("data", "axes fraction"),
        rotation=90,
        ha="right",
        va="top",
        fontsize=8,
    )
    if found.break_even:
        axes.axvline(found.break_even, color=_COLOURS[4], linewidth=1.5, linestyle="--")
        axes.annotate(
            f"break-even: {tokens(found.break_even)}",
            (found.break_even, 0.97),
            xycoords=("data", "axes fraction"),
            rotation=90,
            ha="right",
            va="top",
            fontsize=8,
            color=_COLOURS[4],
        )
    axes.set_xscale("log")
    if min(own + hosted) > 0:
        axes.set_yscale("log")
    axes.set_title(f"{found.model}: own fleet or hosted API", fontsize=11)
    axes.xaxis.set_major_formatter(lambda value, _: tokens(value))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("tokens a month")
    axes.set_ylabel("dollars a million tokens")
    axes.legend(fontsize=9, loc="lower left")
    axes.grid(alpha=0.25, which="both")
