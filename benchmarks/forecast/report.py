"""The results as JSON, Markdown and a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.forecast.measures import COVERED, verdicts
from benchmarks.forecast.replay import CALIBRATED, OURS, PLAIN

NOTES = {
    "last value": ("14.0/17.6/25.2", "8.9/12.4/15.1"),
    "seasonal naive (24 h)": ("49.9/50.8/49.2", "18.2/23.6/20.4"),
    "Kalman with Dynamo's defaults": ("15.7/21.6/33.1", "9.7/14.4/18.6"),
    "AutoETS": ("14.0/17.9/24.6", "8.6/12.4/15.2"),
    "MSTL(144) + ETS": ("16.1/20.1/27.2", "9.6/13.4/13.7"),
    "plain Prophet, full history": ("31.0/32.3/33.5", "16.1/19.0/18.3"),
    "Prophet + decayed recent residual": ("14.8/18.6/25.9", "8.5/11.8/13.5"),
    "median of five": ("13.7/17.5/24.3", "8.4/12.0/14.3"),
}
"""WAPE measured before this code was there, m-large and m-small, at 10, 30 and 60 minutes."""
_TITLES = {
    OURS: "**Tidegate**",
    "prophet": "Prophet + decayed residual",
    "ets": "AutoETS",
    "theta": "Theta",
    "seasonal_naive 86400 s": "seasonal naive (24 h)",
    "seasonal_naive 604800 s": "seasonal naive (7 days)",
}
_COLUMNS = {
    "wape": ("WAPE %", "{:.1f}"),
    "bias": ("bias %", "{:+.1f}"),
    "mase": ("MASE", "{:.2f}"),
    "pinball_0.5": ("pinball 0.5", "{:.2f}"),
    "pinball_0.9": ("0.9", "{:.2f}"),
    "pinball_0.95": ("0.95", "{:.2f}"),
    "covered": ("P90 covers %", "{:.1f}"),
    "width": ("width %", "{:.1f}"),
}


def write(out: Path, document: Mapping[str, Any]) -> None:
    """Writes `forecast.json`, `forecast.md` and `forecast.png`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "forecast.json").write_text(json.dumps(document, indent=1) + "\n")
    (out / "forecast.md").write_text(markdown(document))
    draw(out / "forecast.png", document["hourly"])


def markdown(document: Mapping[str, Any]) -> str:
    lines = ["# Forecasts of two weeks of real demand", ""]
    lines += [f"- {key}: {value}" for key, value in document["about"].items()]
    lines += ["", "## Goals, with an origin each hour", ""]
    lines += [*_goals(document["hourly"]), "", "## The same goals, with an origin each bin", ""]
    lines += [*_goals(document["all"]), "", "## WAPE %, 10/30/60 minutes", ""]
    lines += [*_wapes(document["hourly"]), ""]
    for title, key in (("an origin each hour", "hourly"), ("an origin each bin", "all")):
        for series, cells in document[key].items():
            for minutes, cell in cells.items():
                lines += [f"## {series}, {minutes} minutes, {title} ({cell['origins']})", ""]
                lines += [*_table(cell), "", *_against(cell), ""]
    lines += ["## Time", "", "| what | median | longest | how many |", "|---|---:|---:|---:|"]
    for name, one in document["times"].items():
        cells = [f"{1e3 * one['median_s']:.2f} ms", f"{1e3 * one['longest_s']:.1f} ms"]
        lines.append(f"| {name} | {' | '.join(cells)} | {one['count']} |")
    lines += ["", *_READING]
    return "\n".join(lines) + "\n"


_READING = [
    "Pinball losses, bias and width are in percent of mean demand; width is P90 less P50. MASE is",
    "against the plain last value at the same origins, whose quantiles are all the last value.",
    "Every other model has the calibration that Tidegate has. Intervals are 95%, from 10,000",
    "resamples of whole test days (7), the same for both sides. A cell is behind beyond noise if",
    "such an interval of a difference in WAPE or pinball loss is wholly above 0. The longest times",
    "are those of first fits, which load a library, and of other work on the machine.",
]


def _goals(results: Mapping[str, Any]) -> list[str]:
    rows = {
        f"{series}, {minutes} min": verdicts(cell)
        for series, cells in results.items()
        for minutes, cell in cells.items()
    }
    names = list(next(iter(rows.values())))
    lines = [f"| cell | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for row, goals in rows.items():
        lines.append(
            f"| {row} | {' | '.join('yes' if met else '**NO**' for met in goals.values())} |"
        )
    return lines


def _wapes(results: Mapping[str, Any]) -> list[str]:
    lines = ["| model | m-large | m-small |", "|---|---|---|"]
    models = list(next(iter(results["m-large"].values()))["models"])
    for model in models:
        cells = [
            "/".join(f"{cell['models'][model]['wape']:.1f}" for cell in results[series].values())
            for series in ("m-large", "m-small")
        ]
        lines.append(f"| {_TITLES.get(model, model)} | {cells[0]} | {cells[1]} |")
    lines += [f"| notes: {name} | {large} | {small} |" for name, (large, small) in NOTES.items()]
    return lines


def _table(cell: Mapping[str, Any]) -> list[str]:
    lines = [f"| model | {' | '.join(title for title, _ in _COLUMNS.values())} |"]
    lines.append("|---|" + "---:|" * len(_COLUMNS))
    for name, model in cell["models"].items():
        shown = [form.format(model[key]) for key, (_, form) in _COLUMNS.items()]
        lines.append(f"| {_TITLES.get(name, name)} | {' | '.join(shown)} |")
    return lines


def _against(cell: Mapping[str, Any]) -> list[str]:
    low, high = cell["models"][OURS]["covered_interval"]
    lines = [f"P90's coverage: {low:.1f} to {high:.1f}%. Tidegate less the last value:", ""]
    keys = list(cell["against"][PLAIN])
    lines += [f"| against | {' | '.join(keys)} |", "|---|" + "---|" * len(keys)]
    for name in (PLAIN, CALIBRATED):
        shown = []
        for one in cell["against"][name].values():
            low, high = one["interval"]
            shown.append(f"{one['difference']:+.2f} ({low:+.2f} to {high:+.2f})")
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return lines


def draw(path: Path, results: Mapping[str, Any]) -> None:
    """Pinball loss at 0.9 and coverage of P90, by cell."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    cells = [
        (series, minutes, cell) for series, of in results.items() for minutes, cell in of.items()
    ]
    names = [f"{series}\n{minutes} min" for series, minutes, _ in cells]
    arms = {PLAIN: "#ced4da", CALIBRATED: "#868e96", "prophet": "#e8590c", "ets": "#5f3dc4"}
    arms |= {OURS: "#0b7285"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
    for place, (name, colour) in enumerate(arms.items()):
        where = [index + (place - 2) * 0.16 for index in range(len(cells))]
        losses = [cell["models"][name]["pinball_0.9"] for _, _, cell in cells]
        left.bar(where, losses, 0.16, color=colour, label=_TITLES.get(name, name).strip("*"))
        if name != PLAIN:
            covered = [cell["models"][name]["covered"] for _, _, cell in cells]
            right.plot(where, covered, "o", color=colour)
    for index, (_, _, cell) in enumerate(cells):
        low, high = cell["models"][OURS]["covered_interval"]
        right.plot([index + 0.32] * 2, [low, high], color=arms[OURS])
    right.axhspan(*COVERED, color="#0b7285", alpha=0.12)
    left.set_ylabel("pinball loss at 0.9, % of mean demand")
    right.set_ylabel("share of demand within P90, %")
    for axes in (left, right):
        axes.set_xticks(range(len(cells)), names, fontsize=8)
    left.legend(fontsize=8)
    figure.suptitle("Forecasts of ServeGen's demand, days 8 to 14, an origin each hour")
    figure.savefig(path, dpi=120)
    plt.close(figure)
