"""The results as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

Report = Mapping[str, Any]

_SPLIT, _WHOLE, _GREY = "#0b7285", "#e8590c", "#868e96"


def draw(name: str, report: Report, path: Path) -> None:
    """Writes a PNG of one measurement."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = _PANELS[name]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(5.5 * len(panels), 4.2), layout="constrained", squeeze=False
    )
    for place, panel in enumerate(panels):
        panel(axes[0][place], report)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _distribution(axes: Axes, values: Sequence[float], label: str, colour: str, style: str) -> None:
    """How many are longer than so many milliseconds: the tail is what is looked at."""
    ordered = sorted(values)
    if not ordered:
        return
    shares = [1 - index / len(ordered) for index in range(len(ordered))]
    axes.step(ordered, shares, where="post", color=colour, linestyle=style, label=label)


def _tails(axes: Axes, title: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("ms")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    axes.axhline(0.01, color="black", linewidth=0.6, linestyle=":")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


def _tails_of(figure: str, title: str) -> Any:
    def panel(axes: Axes, report: Report) -> None:
        for name, of in report["samples"].items():
            colour = _WHOLE if name.startswith("colocated") else _SPLIT
            style = "-" if "long" in name else ":"
            _distribution(axes, of[figure], name, colour, style)
        _tails(axes, title)

    return panel


def _handoff_times(axes: Axes, report: Report) -> None:
    sizes = list(report["times"])
    for place, size in enumerate(sizes):
        of = report["times"][size]
        values = of["handoff_ms_samples"]
        axes.plot([place] * len(values), values, "o", color=_SPLIT, alpha=0.4, markersize=4)
        if values:
            axes.plot(
                [place - 0.2, place + 0.2],
                [of["handoff_ms"]["p50"]] * 2,
                color="black",
                linewidth=1,
            )
    axes.set_xticks(range(len(sizes)), [f"{int(size):,}" for size in sizes])
    axes.set_xlabel("prompt tokens")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.set_title("Hand-off, one at a time; line: median", fontsize=10, loc="left")
    axes.grid(axis="y", alpha=0.3)


def _pauses(axes: Axes, report: Report) -> None:
    for arm, colour in (("killed", _WHOLE), ("drained", _SPLIT)):
        _distribution(axes, report[arm]["pause_ms_samples"], arm, colour, "-")
    _tails(axes, "Pause of a stream whose replica died: share that is longer")


def _small_first_tokens(axes: Axes, report: Report) -> None:
    settings = report["settings"]
    samples = report["small_ttft_ms_samples"]
    axes.plot([at for at, _ in samples], [ms for _, ms in samples], ".", color=_SPLIT, alpha=0.6)
    axes.axvspan(
        settings["calm_s"], settings["calm_s"] + settings["surge_s"], color=_GREY, alpha=0.2
    )
    axes.set_xlabel("s")
    axes.set_ylabel("ms")
    axes.set_ylim(bottom=0)
    axes.set_title(
        "Time to a small request's first token; grey: the surge", fontsize=10, loc="left"
    )
    axes.grid(alpha=0.3)


_PANELS: Mapping[str, Sequence[Any]] = {
    "handoff": (_handoff_times,),
    "interference": (
        _tails_of("itl_ms", "ITL of running streams: share that is longer"),
        _tails_of("ttft_ms", "TTFT of running streams: share that is longer"),
    ),
    "migration": (_pauses,),
    "drill": (_small_first_tokens,),
}
