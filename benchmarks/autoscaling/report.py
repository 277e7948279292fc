"""The report: goals first, then where ours loses, then every table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.autoscaling.arms import ARMS, PROPHET_EVERY
from benchmarks.autoscaling.goals import Goal, goals, kept_cells
from benchmarks.autoscaling.grid import TARGET
from benchmarks.autoscaling.losses import losses
from benchmarks.autoscaling.plots import draw
from benchmarks.autoscaling.tables import (
    forecast_rows,
    frozen_rows,
    matched_rows,
    service_rows,
    side_rows,
    tick_rows,
)
from benchmarks.autoscaling.wording import table

Document = Mapping[str, Any]
_SAID = {True: "Met", False: "**Not met**", None: "Not measured"}


def write(out: Path, document: dict[str, Any], pictures: bool = True) -> None:
    """Writes `autoscaling.json`, `autoscaling.md` and the pictures.

    Args:
        out: Directory for the results.
        document: Of `summary.summarise`, with what was borrowed and `about`.
        pictures: Whether to draw.
    """
    out.mkdir(parents=True, exist_ok=True)
    found = goals(document)
    document["goals"] = [{"name": goal.name, "met": goal.met, "said": goal.said} for goal in found]
    document["losses"] = losses(document)
    text = json.dumps(_known(document), indent=1, sort_keys=True, allow_nan=False)
    (out / "autoscaling.json").write_text(text + "\n")
    drawn = draw(out, document) if pictures else []
    (out / "autoscaling.md").write_text(markdown(document, found, drawn))


def markdown(document: Document, found: Sequence[Goal], drawn: Sequence[tuple[str, str]]) -> str:
    """The report.

    Args:
        document: As `write` takes it.
        found: The goals.
        drawn: Pictures: file and title.
    """
    lines = ["# Autoscaling: every policy over two weeks of real demand", ""]
    if document["about"].get("reduced"):
        lines += [_reduced(document["plan"]), ""]
    lines += ["## Goals", ""]
    lines += [f"- {_SAID[goal.met]}. {goal.name}: {goal.said}." for goal in found]
    lines += ["", kept_cells(document)]
    lines += ["", "## Where Tidegate loses", "", losses(document), ""]
    lines += [f"![{title}]({file})" for file, title in drawn[:1]]
    lines += ["", f"## Cost at {TARGET:.0%} attainment", "", *_MATCHED, ""]
    lines += matched_rows(document["main"])
    lines += [f"![{title}]({file})\n" for file, title in drawn[1:]]
    for cell in document["main"]:
        lines += [f"## {cell['title']}", "", *frozen_rows(cell), *service_rows(cell)]
    if document["leads"]:
        lines += ["## Other lead times, tuned for each", "", *side_rows(document["leads"])]
    if document["sides"]:
        lines += ["## Other notices and prices, and what goes wrong", "", *_SIDES, ""]
        lines += side_rows(document["sides"])
    lines += _borrowed(document)
    lines += ["## What was frozen", "", *_frozen(document), "## How to read it", "", *_READING, ""]
    lines += [f"- {name}: {said}" for name, said in document["about"].items() if name != "reduced"]
    return "\n".join(lines) + "\n"


def _reduced(plan: Document) -> str:
    first, last = plan["test_days"][0] + 1, plan["test_days"][1]
    return (
        f"Reduced form: test days {first} to {last}, {plan['alignments']} alignments, fewer "
        "policies and worlds; intervals are rough, and goals hold for what was played alone."
    )


_MATCHED = [
    "Each policy's frontier on the test days, read where it crosses the target: dollars a million",
    "tokens; then what Tidegate's cost is to it, on the same alignments for both, with the 95%",
    "interval. Headrooms were added until the target lay between two of them, or up to the end of",
    "the ladder. ≤: it is above the target at all that were played.",
]
_SIDES = [
    "With what was frozen for the first lead time. A flash crowd doubles demand for half an hour,",
    "metrics are lost for four hours of a morning, and the largest region has no spot capacity for",
    "six hours: each on the second test day.",
]
_READING = [
    "- Headroom multiplies the work that a policy plans for. It was chosen on the days of tuning,",
    f"  by bisection, as the least that keeps {TARGET:.0%} there, with the cheapest setting (in",
    "  brackets); then both were frozen. The first of those days is a warm-up: nobody has a past",
    "  there, static peak aside, which is bought for the peak of those days.",
    "- An alignment is a draw of the spot supply, of start times and of routing that goes with the",
    "  demand; all policies have the same ones. Alignments of tuning are none of the test.",
    "- Intervals are 95%, of 4,000 resamples of whole days and of alignments, the same for both",
    "  sides of a difference. There are few days, so they are rough.",
    "- Behind or ahead beyond noise: the interval of the paired difference excludes zero.",
    "- Costs run from the moment that a node is got to its end. All policies have the same data",
    "  plane: requests of a lost replica go to another one with the tokens they have.",
    "- Shortfall: fewer replicas are ready than the work of the last minute keeps busy. Cold",
    "  waits: requests that found no room while a replica was missing or starting.",
    "- Latencies are medians over alignments of each run's quantile; everything else is a ratio",
    "  of sums over them. GPU-hours are of one run.",
    f"- Dynamo-like with Prophet is fitted each {PROPHET_EVERY * 3} minutes, not each 3: a week of",
    "  those fits takes hours. The oracle with lead time knows demand and supply; its plan is good",
    "  and not proven to be the cheapest, so that a gap to it may be below zero.",
]


def _borrowed(document: Document) -> list[str]:
    lines: list[str] = []
    if document.get("forecast"):
        lines += ["## Forecasts", ""]
        lines += ["Of `make bench-forecast`; in brackets the calibrated last value.", ""]
        lines += forecast_rows(document["forecast"])
    if document.get("tick"):
        lines += ["## A tick of the planner", "", "Of `benchmarks.foresight.tick`.", ""]
        lines += tick_rows(document["tick"])
    return lines


def _frozen(document: Document) -> list[str]:
    rows = [
        (
            f"{one['world']['series']}, {one['world']['lead_s']:g} s: {ARMS[one['arm']].title}",
            f"{one['headroom']:g}",
            one["variant"] or "-",
            "yes" if one["met"] else "**no**: the best attainment",
            str(one["tried"]),
        )
        for one in document["frozen"]
    ]
    head = ("series, lead time, policy", "headroom", "setting", "kept the target", "tried")
    return table(head, rows)


def _known(data: Any) -> Any:
    """The same without numbers that JSON does not have."""
    if isinstance(data, Mapping):
        return {str(name): _known(each) for name, each in data.items()}
    if isinstance(data, list | tuple):
        return [_known(each) for each in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
